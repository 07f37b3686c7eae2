"""A conversation as messages, for endpoints that write the prompt themselves; and a rendered prompt as such messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal, TypeAlias

from gemma_tools.errors import InvalidRequest
from gemma_tools.prompt import MEDIA_CONTROLS, Prompt, TurnTokens

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
TurnPart: TypeAlias = str | Mapping[str, Any]
"""Text, or a loaded image or audio clip from `gemma_tools.media.load_media`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCall:
    """A call that the model made in an earlier turn."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTurn:
    """One message. `call_id` and `name` belong to the call that a message of the role "tool" answers."""

    role: Role
    parts: tuple[TurnPart, ...] = ()
    calls: tuple[TurnCall, ...] = ()
    reasoning: str = ""
    call_id: str = ""
    name: str = ""

    @property
    def text(self) -> str:
        """The text, without media."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def media(self) -> tuple[Mapping[str, Any], ...]:
        """The images and audio."""
        return tuple(part for part in self.parts if not isinstance(part, str))


_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "user",
}
_GAP: Final = "\n\n"


def turns_of(prompt: Prompt) -> tuple[ChatTurn, ...]:
    """The content of `prompt` as messages, with only text and media.

    Special tokens are replaced by `TurnTokens.plain`, texts between quotation marks are escaped as in JSON, and special tokens
    in text are broken as in `Prompt.text`. Tool results in the model's turn become a user message. Consecutive texts of one
    side are one message. The model's open turn at the end, and thoughts, are left out.

    Raises:
        InvalidRequest: the roles are not known.
    """
    if prompt.turns is None:
        message = "a chat endpoint needs messages, but the roles in this prompt are unknown"
        raise InvalidRequest(message, param="prompt", code="unsupported_value")
    turns: list[tuple[Role, list[TurnPart]]] = []
    for role, part in _said(prompt, prompt.turns):
        if turns and turns[-1][0] == role:
            turns[-1][1].append(part)
        else:
            turns.append((role, [part]))
    return tuple(ChatTurn(role=role, parts=parts) for role, said in turns if (parts := _trimmed(said)))


def folded(turns: tuple[ChatTurn, ...]) -> tuple[ChatTurn, ...]:
    """`turns` without a system message: its text begins the first user message, as in Gemma 3's own template."""
    system = _GAP.join(turn.text for turn in turns if turn.role == "system")
    rest = [turn for turn in turns if turn.role != "system"]
    place = next((place for place, turn in enumerate(rest) if turn.role == "user"), None)
    if not system:
        return tuple(rest)
    if place is None:
        return (ChatTurn(role="user", parts=(system,)), *rest)
    first = rest[place]
    rest[place] = ChatTurn(role="user", parts=_trimmed([system + _GAP, *first.parts]))
    return tuple(rest)


def _said(prompt: Prompt, tokens: TurnTokens) -> Iterator[tuple[Role, TurnPart]]:
    """The role of each text or media part; a blank line where a turn follows one of the same side."""
    media = iter(prompt.media)
    header = quoted = thought = False
    for segment in prompt.segments:
        role = _ROLES.get(segment.role)
        if segment.control:
            header = segment.text == tokens.start
            if header and role:
                yield role, _GAP
            if tokens.thought[0].startswith(segment.text):
                thought = True
            elif segment.text == tokens.thought[1]:
                thought = False
        skipped = role is None or thought or (role == "assistant" and not segment.generated)
        if not segment.control:
            text = segment.text
            if header and role != "assistant":  # the model's header is a separate segment
                text = text.partition("\n")[2]
            header = False
            if role and not skipped:
                text = prompt.guard(text)
                yield role, json.dumps(text, ensure_ascii=False)[1:-1] if quoted else text
        elif role and not skipped:
            if segment.text in MEDIA_CONTROLS and (medium := next(media, None)) is not None:
                yield role, medium
                continue
            spelled = tokens.plain.get(segment.text, "")
            quoted ^= spelled == '"'
            yield role, spelled


def _trimmed(parts: list[TurnPart]) -> tuple[TurnPart, ...]:
    """`parts` with neighbouring texts joined, and without white space at the ends."""
    joined: list[TurnPart] = []
    for textual, run in groupby(parts, lambda part: isinstance(part, str)):
        said = list(run)
        joined += ["".join(map(str, said))] if textual else said
    if joined and isinstance(joined[0], str):
        joined[0] = joined[0].lstrip()
    if joined and isinstance(joined[-1], str):
        joined[-1] = joined[-1].rstrip()
    return tuple(part for part in joined if part)
