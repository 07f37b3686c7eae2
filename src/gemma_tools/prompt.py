"""A rendered prompt: special tokens, the text between them, and what an engine and a parser need to know about it.

Renderers write one string. In it special tokens are unchanged, and every text has gone through `quote`, so a `<` in the string
can only begin a special token. This makes forging impossible: text and special tokens are distinguished by how they were
written, not by what they look like.
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
"""The special tokens that are placeholders for one image or one audio clip: those of Gemma 3, 3n and 4."""
MEDIA_GAPS = MappingProxyType(dict.fromkeys(("<start_of_image>", "<image_soft_token>", "<audio_soft_token>"), "\n\n"))
"""The text that the processors of Gemma 3 and 3n put before and after an image or audio; Gemma 4's add none."""

WORD_JOINER = "\u2060"
"""Inserted after the first character of a special token in text, so that no tokenizer reads it as the token."""

_QUOTED = re.compile("\x00([01])")


def quote(text: str) -> str:
    """`text` as a renderer writes it between special tokens: without any `<`. `unquote` reverses it."""
    if "\x00" in text:
        text = text.replace("\x00", "\x000")
    return text.replace("<", "\x001") if "<" in text else text


def unquote(text: str) -> str:
    """The text that `quote` got."""
    return _QUOTED.sub(lambda m: "<" if m[1] == "1" else "\x00", text) if "\x00" in text else text


@dataclass(frozen=True, slots=True)
class Segment:
    """A special token, or all the text between two of them, unchanged.

    The header of a model's turn (`model` and a line break) is a segment of its own.
    """

    text: str
    control: bool
    role: str = ""
    """Whose turn it is in: "system", "developer", "user", "assistant" or "tool"; empty outside of turns, or if unknown.

    A result has the role "tool" in the model's turn; in a user's turn it has the role of the user.
    """
    generated: bool = False
    """Whether the model writes it, not the renderer: text, thoughts, calls, and the token that ends its part."""

    def ids(self, tokenizer: Tokenizer) -> list[int]:
        """Its token ids: the id of a special token, or the ids of the text, whatever the text contains.

        Raises:
            UnknownName: the vocabulary lacks the special token; the message names it.
        """
        return [tokenizer.id(self.text)] if self.control else tokenizer.encode(self.text)


@dataclass(frozen=True, slots=True)
class TurnTokens:
    """The special tokens that mark the roles in the prompts of one family."""

    start: str
    end: str
    call_end: str = ""
    response: tuple[str, str] = ("", "")
    """The tokens that open and close a result in the model's turn."""
    thought: tuple[str, str] = ("", "")
    """The tokens that open and close a thought."""
    plain: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Replacements for special tokens if a turn may contain only text; tokens without one are left out there."""

    def segments(self, pieces: Sequence[str]) -> Iterator[Segment]:
        """The segments of a prompt that was split at its special tokens: text and special token alternate, text comes last."""
        role = previous = ""
        said = False  # whether the model has written anything since the last header or result
        given = False  # whether this is an empty thought with which a prompt begins the model's reply
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
                generated = generated and said  # after an unanswered result, the renderer ends the turn
            elif control == self.response[0]:
                # After its calls the model stops with this token. It does not write the start tokens of more results.
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
    """Converts token ids to segments, chunk by chunk."""

    def feed(self, ids: Iterable[int], /) -> list[Segment]:
        """The special tokens in `ids`, and the text between them up to the last complete character."""

    def close(self) -> list[Segment]:
        """The rest: an incomplete character, as U+FFFD."""


class Tokenizer(Protocol):
    """The tokenizer methods that prompts and engines need; `gemma_tools.tokens.GemmaTokenizer` is one."""

    @property
    def controls(self) -> frozenset[str]:
        """The texts of its special tokens."""

    def id(self, token: str, /) -> int:
        """The id of a special token. Raises UnknownName if there is no such token."""

    def encode(self, text: str, /) -> list[int]:
        """The ids of `text`, never those of a special token, whatever the text contains."""

    def decoder(self) -> Decoder:
        """A decoder for one generation."""


class TextGuard:
    """Breaks special tokens in the text of a generation, as `Prompt.guard` breaks them, so that only real tokens are left.

    It takes segments and returns text. The end of a text that may become a special token waits for the next segment.
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
        """The text that was held back."""
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
    """What an engine must continue. `text` is for an engine that takes only a string."""

    marked: str
    """The renderer's string: special tokens unchanged, text quoted."""
    controls: tuple[str, ...]
    """Every special token of the format."""
    opens: Literal["content", "reasoning"] = "content"
    """What the model's first character belongs to: content or reasoning."""
    prefill: str = ""
    """The end of the prompt that counts as the model's output: the parser reads it first."""
    stop: tuple[str, ...] = ()
    """The special tokens that end the model's turn."""
    warnings: tuple[str, ...] = ()
    """What the request asked for and this format cannot express, one sentence each."""
    media: Sequence[Mapping[str, Any]] = field(default=(), compare=False)
    """The image and audio parts, in the order of their placeholders."""
    turns: TurnTokens | None = None
    """The tokens that mark the roles; None if the roles cannot be known."""
    known: tuple[str, Sequence[int]] = field(default=("", ()), compare=False, repr=False)
    """A beginning of `marked` whose token ids are already known: earlier output of the model, with its original ids."""

    @property
    def losses(self) -> tuple[str, ...]:
        """The old name of `warnings`, before 0.1.0. It will be removed in the release after that."""
        return self.warnings

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Special tokens and text in order; made on first use. Joined, they are the prompt without the guard."""
        pieces = self._pieces()
        if self.turns:
            return tuple(self.turns.segments(pieces))
        return tuple(Segment(unquote(piece), bool(i % 2)) for i, piece in enumerate(pieces) if piece)

    @cached_property
    def text(self) -> str:
        """The joined segments, with each special token in text broken by U+2060 after its first character."""
        if "\x00" not in self.marked:
            return self.marked
        return "".join(piece if i % 2 else self.guard(unquote(piece)) for i, piece in enumerate(self._pieces()))

    @property
    def without_bos(self) -> str:
        """`text` without its BOS, for an engine that adds one to every prompt."""
        return self.text.removeprefix(BOS)

    def token_ids(self, tokenizer: Tokenizer) -> list[int]:
        """The prompt as token ids: special tokens as their ids, all text unchanged and without the guard.

        No text can become a special token, whatever it contains. If no text contains one, these are the ids of `text`. For the
        part that is `known`, the known ids are used.

        Raises:
            UnknownName: the vocabulary lacks a special token of this prompt; the message names it.
        """
        known, begun = self.known
        ids = list(begun)
        for i, piece in enumerate(_spellings(self.controls).split(self.marked[len(known) :])):
            if i % 2:
                ids.append(tokenizer.id(piece))
            elif piece:  # all text between two special tokens at once, a header and the text after it
                ids += tokenizer.encode(unquote(piece))
        return ids

    @cached_property
    def control_tokens(self) -> frozenset[str]:
        """The special tokens that are in the prompt."""
        return frozenset(self._pieces()[1::2])

    def control_ids(self, tokenizer: Tokenizer) -> dict[str, int]:
        """The ids of the format's special tokens, as far as the vocabulary has them."""
        return {control: tokenizer.id(control) for control in self.controls if control in tokenizer.controls}

    @cached_property
    def guarded(self) -> frozenset[str]:
        """The special tokens in text that were broken in `text`."""
        if "\x00" not in self.marked:
            return frozenset()
        pattern = _spellings(self.controls)
        return frozenset(found for text in self._pieces()[::2] for found in pattern.findall(unquote(text)))

    def begun(self, text: str) -> Prompt:
        """This prompt with `text` as the beginning of the model's output; special tokens in it are real tokens."""
        pieces = _spellings(self.controls).split(text)
        marked = "".join(piece if i % 2 else quote(piece) for i, piece in enumerate(pieces))
        return replace(self, marked=self.marked + marked, prefill=self.prefill + text)

    def continued(self, text: str) -> Prompt:
        """This prompt with `text` added: output that the model has already written."""
        return replace(self, marked=self.marked + quote(text))

    def _pieces(self) -> list[str]:
        """Quoted text and special tokens alternate; text comes first and last, and may be empty."""
        return _spellings(self.controls).split(self.marked)

    @property
    def plain(self) -> bool:
        """No text contains a `<`: even a tokenizer that knows more tokens than the format finds none in it."""
        return "\x00" not in self.marked

    def guard(self, text: str) -> str:
        """`text` with each special token in it broken by U+2060 after its first character."""
        return _guard(text, self.controls)

    def _repr_html_(self) -> str:
        from gemma_tools.display import card, pre, segments

        return card(pre(segments(self.segments)))
