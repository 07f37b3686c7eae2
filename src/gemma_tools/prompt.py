"""A rendered prompt: control tokens, the text between them, and what an engine and a parser need to know of it.

Renderers write one string in which control tokens stand as they are and every text has gone through `quote`, so that a
`<` in the string can only begin a control token. That is what makes forging impossible: text and control are told apart by
how they were written, not by what they look like.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Literal, Protocol

BOS = "<bos>"
"""The token that begins every prompt of every Gemma."""
MEDIA_CONTROLS = frozenset({"<start_of_image>", "<image_soft_token>", "<audio_soft_token>", "<|image|>", "<|audio|>"})
"""The control tokens that stand for one image or one sound each: those of Gemma 3, 3n and 4."""

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
    """A control token, or all the text between two of them, exactly as it was given."""

    text: str
    control: bool


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
    losses: tuple[str, ...] = ()
    """What the request asked for and this format cannot say, one sentence each."""
    media: Sequence[Mapping[str, Any]] = field(default=(), compare=False)
    """The image and audio parts, in the order of their placeholders."""

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Control tokens and text in order; made on first use. Joined, they are the prompt without the guard."""
        return tuple(self._split())

    @cached_property
    def text(self) -> str:
        """The segments joined, each control spelling inside text broken by U+2060 after its first character."""
        if "\x00" not in self.marked:
            return self.marked
        return "".join(s.text if s.control else self.guard(s.text) for s in self.segments)

    @property
    def without_bos(self) -> str:
        """`text` without its BOS, for an engine that puts one before every prompt."""
        return self.text.removeprefix(BOS)

    def token_ids(self, tokenizer: Tokenizer) -> list[int]:
        """The prompt as token ids: control tokens by their own ids, all text as it was given, without the guard.

        No text can become a control token, whatever it spells. Where no text spells one, these are the ids of `text`.

        Raises:
            UnknownName: the vocabulary lacks a control token of this prompt; the message names it.
        """
        ids: list[int] = []
        for segment in self.segments:
            if segment.control:
                ids.append(tokenizer.id(segment.text))
            else:
                ids += tokenizer.encode(segment.text)
        return ids

    @cached_property
    def guarded(self) -> frozenset[str]:
        """The control spellings that were broken in `text`."""
        if "\x00" not in self.marked:
            return frozenset()
        pattern = _spellings(self.controls)
        return frozenset(found for s in self.segments if not s.control for found in pattern.findall(s.text))

    def begun(self, text: str) -> Prompt:
        """This prompt with `text` as the beginning of the model's own output; control spellings in it are control."""
        pieces = _spellings(self.controls).split(text)
        marked = "".join(piece if i % 2 else quote(piece) for i, piece in enumerate(pieces))
        return replace(self, marked=self.marked + marked, prefill=self.prefill + text)

    def _split(self) -> Iterator[Segment]:
        for i, piece in enumerate(_spellings(self.controls).split(self.marked)):
            if piece:
                yield Segment(piece, True) if i % 2 else Segment(unquote(piece), False)

    @property
    def plain(self) -> bool:
        """No text holds a `<`: not even a tokenizer that knows more tokens than the format can find one in it."""
        return "\x00" not in self.marked

    def guard(self, text: str) -> str:
        """`text` with each control spelling in it broken by U+2060 after its first character."""
        return _spellings(self.controls).sub(lambda m: m[0][0] + WORD_JOINER + m[0][1:], text)

    def _repr_html_(self) -> str:
        spans = (
            f'<span style="color:{"#b5179e" if s.control else "inherit"};'
            f'{"font-weight:600" if s.control else "background:rgba(76,201,240,.15)"}">{html.escape(s.text)}</span>'
            for s in self.segments
        )
        return f'<pre style="white-space:pre-wrap">{"".join(spans)}</pre>'
