"""A rendered prompt: control tokens, the text between them, and what an engine and a parser need to know of it.

Renderers write one string in which control tokens stand as they are and every text has gone through `quote`, so that a
`<` in the string can only begin a control token. That is what makes forging impossible: text and control are told apart by
how they were written, not by what they look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, Literal, Protocol

BOS = "<bos>"
"""The token that begins every prompt of every Gemma."""
MEDIA_CONTROLS = frozenset({"<start_of_image>", "<image_soft_token>", "<audio_soft_token>", "<|image|>", "<|audio|>"})
"""The control tokens that stand for one image or one sound each: those of Gemma 3, 3n and 4."""
MEDIA_GAPS = MappingProxyType(dict.fromkeys(("<start_of_image>", "<image_soft_token>", "<audio_soft_token>"), "\n\n"))
"""The text that the processors of Gemma 3 and 3n put before and after an image or an audio file; Gemma 4's puts none there."""

WORD_JOINER = "\u2060"
"""Put behind the first character of a control spelling in text, so that no tokenizer takes it for the token."""

_QUOTED = re.compile("\x00([01])")


def quote(text: str) -> str:
    """`text` as a renderer writes it between control tokens: without any `<`. `unquote` is the way back."""
    if "\x00" in text:
        text = text.replace("\x00", "\x000")
    return text.replace("<", "\x001") if "<" in text else text


def unquote(text: str) -> str:
    """The text that `quote` was given."""
    return _QUOTED.sub(lambda m: "<" if m[1] == "1" else "\x00", text) if "\x00" in text else text


@dataclass(frozen=True, slots=True)
class Segment:
    """A control token, or all the text between two of them, exactly as it was given.

    The header of a model's turn (`model` and a line break) is a segment of its own.
    """

    text: str
    control: bool
    role: str = ""
    """Whose turn it is in: "system", "developer", "user", "assistant" or "tool"; empty outside of turns, or where nobody knows.

    A result is of the role "tool" where it stands in the model's turn; in a user's turn it is the user's.
    """
    generated: bool = False
    """Whether the model writes it, and not the renderer: text, thoughts, calls, and the token that ends what it says."""

    def ids(self, tokenizer: Tokenizer) -> list[int]:
        """Its token ids: a control token's own, or those of its text, whatever that spells.

        Raises:
            UnknownName: the vocabulary lacks the control token; the message names it.
        """
        return [tokenizer.id(self.text)] if self.control else tokenizer.encode(self.text)


@dataclass(frozen=True, slots=True)
class TurnTokens:
    """The control tokens that show who speaks in the prompts of one family."""

    start: str
    end: str
    call_end: str = ""
    response: tuple[str, str] = ("", "")
    """What opens and closes a result in the model's turn."""
    thought: tuple[str, str] = ("", "")
    """What opens and closes a thought."""
    plain: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """What stands for a control token where a turn may hold text alone; those that are not here are left out there."""

    def segments(self, pieces: Sequence[str]) -> Iterator[Segment]:
        """The segments of a prompt that was split at its control tokens: text and control token in turn, text last."""
        role = previous = ""
        said = False  # whether the model has said anything since the last header or result
        given = False  # whether this is a thought without text, with which a prompt begins the model's reply
        for text, control, following in zip(pieces[::2], (*pieces[1::2], ""), (*pieces[2::2], ""), strict=True):
            if previous == self.start and role == "assistant":
                header, line_break, text = text.partition("\n")
                yield Segment(header + line_break, False, role)
            if text:
                speaks = role == "assistant" and not given
                said = said or speaks
                yield Segment(unquote(text), False, role, speaks)
            if not control:
                break
            generated = role == "assistant" and not given
            if control == self.start:
                name = following.partition("\n")[0]
                role, said, given, generated = "assistant" if name == "model" else name, True, False, False
            elif control == self.end:
                generated = generated and said  # after a result that was not answered, the renderer ends the turn
            elif control == self.response[0]:
                # The model stops with it after its calls. The openers of more results are not its own.
                generated = generated and not text and previous == self.call_end
                role = "tool" if role == "assistant" else role
            elif control in MEDIA_CONTROLS:
                generated = False
            elif control + following == self.thought[0]:
                given, generated = True, False
            said = said or generated
            yield Segment(control, True, role, generated)
            if control == self.end:
                role = ""
            elif control == self.response[1] and role == "tool":
                role, said = "assistant", False
            elif control == self.thought[1]:
                given = False
            previous = control


class Decoder(Protocol):
    """Token ids to segments, piece by piece."""

    def feed(self, ids: Iterable[int], /) -> list[Segment]:
        """The control tokens in `ids`, and the text between them as far as its characters are whole."""

    def close(self) -> list[Segment]:
        """What is left: a character that never became whole, as U+FFFD."""


class Tokenizer(Protocol):
    """What prompts and engines need of a tokenizer; `gemma_tools.tokens.GemmaTokenizer` is one."""

    @property
    def controls(self) -> frozenset[str]:
        """The spellings of its special tokens."""

    def id(self, token: str, /) -> int:
        """The id of a special token. Raises UnknownName where there is none of that spelling."""

    def encode(self, text: str, /) -> list[int]:
        """The ids of `text`, none of them that of a special token, whatever the text spells."""

    def decoder(self) -> Decoder:
        """A decoder for one generation."""


class TextGuard:
    """Breaks control spellings in the text of a generation, as `Prompt.guard` breaks them, so that only tokens are left.

    It is fed segments and gives text; the end of a text that may yet become a spelling waits for what follows.
    """

    def __init__(self, spellings: Iterable[str]) -> None:
        self._spellings = tuple(spellings)
        self._held = ""

    def feed(self, segments: Iterable[Segment]) -> str:
        """The text of `segments` as far as it is certain."""
        out: list[str] = []
        for segment in segments:
            if segment.control:
                out += (self.close(), segment.text)
                continue
            text = self._held + segment.text
            start = text.rfind("<")
            held = len(text) if start < 0 or not self._begins(text[start:]) else start
            self._held = text[held:]
            out.append(_guard(text[:held], self._spellings))
        return "".join(out)

    def close(self) -> str:
        """What was held back."""
        held, self._held = self._held, ""
        return held

    def _begins(self, end: str) -> bool:
        return any(len(end) < len(spelling) and spelling.startswith(end) for spelling in self._spellings)


def _guard(text: str, spellings: tuple[str, ...]) -> str:
    return _spellings(spellings).sub(lambda m: m[0][0] + WORD_JOINER + m[0][1:], text)


@cache
def _spellings(controls: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("(" + "|".join(map(re.escape, sorted(controls, key=len, reverse=True))) + ")")


@dataclass(frozen=True)
class Prompt:
    """What an engine is asked to continue. `text` is what an engine that takes only a string is sent."""

    marked: str
    """The renderer's string: control tokens as they are, text quoted."""
    controls: tuple[str, ...]
    """Every control spelling of the format."""
    opens: Literal["content", "reasoning"] = "content"
    """What the model's first character belongs to."""
    prefill: str = ""
    """The end of the prompt that counts as the model's output: it is fed to the parser first."""
    stop: tuple[str, ...] = ()
    """The control tokens that end the model's turn."""
    warnings: tuple[str, ...] = ()
    """What the request asked for and this format cannot say, one sentence each."""
    media: Sequence[Mapping[str, Any]] = field(default=(), compare=False)
    """The image and audio parts, in the order of their placeholders."""
    turns: TurnTokens | None = None
    """What shows who speaks; None where nobody can tell."""
    known: tuple[str, Sequence[int]] = field(default=("", ()), compare=False, repr=False)
    """A beginning of `marked` whose token ids are known already: what the model wrote earlier, as it wrote it."""

    @property
    def losses(self) -> tuple[str, ...]:
        """The name of `warnings` before 0.1.0. It goes with the release after that."""
        return self.warnings

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Control tokens and text in order; made on first use. Joined, they are the prompt without the guard."""
        pieces = self._pieces()
        if self.turns:
            return tuple(self.turns.segments(pieces))
        return tuple(Segment(unquote(piece), bool(i % 2)) for i, piece in enumerate(pieces) if piece)

    @cached_property
    def text(self) -> str:
        """The segments joined, each control spelling inside text broken by U+2060 after its first character."""
        if "\x00" not in self.marked:
            return self.marked
        return "".join(piece if i % 2 else self.guard(unquote(piece)) for i, piece in enumerate(self._pieces()))

    @property
    def without_bos(self) -> str:
        """`text` without its BOS, for an engine that puts one before every prompt."""
        return self.text.removeprefix(BOS)

    def token_ids(self, tokenizer: Tokenizer) -> list[int]:
        """The prompt as token ids: control tokens by their own ids, all text as it was given, without the guard.

        No text can become a control token, whatever it spells. Where no text spells one, these are the ids of `text`. Of what
        is `known` the ids are those that are known.

        Raises:
            UnknownName: the vocabulary lacks a control token of this prompt; the message names it.
        """
        known, begun = self.known
        ids = list(begun)
        for i, piece in enumerate(_spellings(self.controls).split(self.marked[len(known) :])):
            if i % 2:
                ids.append(tokenizer.id(piece))
            elif piece:  # all text between two control tokens at once, a header and what follows
                ids += tokenizer.encode(unquote(piece))
        return ids

    @cached_property
    def control_tokens(self) -> frozenset[str]:
        """The control tokens that are in the prompt."""
        return frozenset(self._pieces()[1::2])

    def control_ids(self, tokenizer: Tokenizer) -> dict[str, int]:
        """The ids of the format's control tokens, those that the vocabulary has."""
        return {control: tokenizer.id(control) for control in self.controls if control in tokenizer.controls}

    @cached_property
    def guarded(self) -> frozenset[str]:
        """The control spellings that were broken in `text`."""
        if "\x00" not in self.marked:
            return frozenset()
        pattern = _spellings(self.controls)
        return frozenset(found for text in self._pieces()[::2] for found in pattern.findall(unquote(text)))

    def begun(self, text: str) -> Prompt:
        """This prompt with `text` as the beginning of the model's own output; control spellings in it are control."""
        pieces = _spellings(self.controls).split(text)
        marked = "".join(piece if i % 2 else quote(piece) for i, piece in enumerate(pieces))
        return replace(self, marked=self.marked + marked, prefill=self.prefill + text)

    def continued(self, text: str) -> Prompt:
        """This prompt with `text` after it: said by the model already, and no part of what it writes now."""
        return replace(self, marked=self.marked + quote(text))

    def _pieces(self) -> list[str]:
        """Text, quoted, and control tokens in turn; text comes first and last, and may be empty."""
        return _spellings(self.controls).split(self.marked)

    @property
    def plain(self) -> bool:
        """No text holds a `<`: not even a tokenizer that knows more tokens than the format can find one in it."""
        return "\x00" not in self.marked

    def guard(self, text: str) -> str:
        """`text` with each control spelling in it broken by U+2060 after its first character."""
        return _guard(text, self.controls)

    def _repr_html_(self) -> str:
        from gemma_tools.display import card, pre, segments

        return card(pre(segments(self.segments)))
