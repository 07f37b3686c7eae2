"""The parts of one family's brace notation: its special tokens, and the patterns of its readers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from gemma_tools.formats.frames import NOT_PLAIN, NUMBER, Entries

WORD: Final = r"[A-Za-z_][A-Za-z0-9_]*+"
"""A simple key."""
NUMERAL: Final = r"-?(?:0|[1-9][0-9]{0,4000}+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
"""A valid JSON number. Python reads integers of at most 4300 digits."""
VALUE_STARTS: Final = "<{[\"'`-0123456789tfn"
"""What a value in the exact notation, or in JSON, may begin with."""
_DELIMITERS: Final = ("<escape>", '<|"|>', "<ctrl46>")
"""The string delimiters of all the families that write the notation."""


@dataclass(frozen=True, eq=False)
class Dialect:
    """The special tokens of one family's brace notation. There is one object per family, so lookups are fast."""

    controls: tuple[str, ...]
    start: str
    end: str
    delimiter: str
    turn_start: str
    stop: tuple[str, ...]
    """The tokens that end the model's turn: turn end, end of text, start of a tool's response."""
    literal_delimiter: str
    """The meaning of a delimiter inside a string that continues."""
    declaration: tuple[str, str]
    """The tokens around a tool's declaration in the prompt, and sometimes around a call."""
    channel: tuple[str, str] | None = None
    """The tokens that open and close the thought channel."""
    either: str = ""
    """A wrong form that models write for the opening and closing token."""
    fillers: tuple[str, ...] = ("<pad>", "<bos>")
    """Tokens of the vocabulary that engines sometimes let through and that have no meaning."""

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Every token that is never text."""
        return tuple(sorted({*self.controls, *self.fillers, "<eos>"}, key=lambda spelling: (-len(spelling), spelling)))

    @cached_property
    def longest(self) -> int:
        """The length of the longest token, in characters."""
        return len(self.tokens[0])

    @cached_property
    def token(self) -> re.Pattern[str]:
        """Any of `tokens`."""
        return re.compile("|".join(map(re.escape, self.tokens)))

    @cached_property
    def text_tokens(self) -> tuple[str, ...]:
        """Every token that is a special token in running text."""
        return (*self.tokens, self.either) if self.either else self.tokens

    @cached_property
    def text_token(self) -> re.Pattern[str]:
        """Any of `text_tokens`."""
        return re.compile("|".join(map(re.escape, self.text_tokens)))

    @cached_property
    def foreign(self) -> tuple[str, ...]:
        """The string delimiters of other families."""
        return tuple(spelling for spelling in _DELIMITERS if spelling != self.delimiter)

    @cached_property
    def entries(self) -> Entries:
        """The simple entries of objects and of lists: with a simple key and value, before another such entry or the end."""
        quote, starts = re.escape(self.delimiter), re.escape(VALUE_STARTS)
        value = rf"(?:{quote}(?:([^<{NOT_PLAIN}]*+){quote}|([^<]*+){quote})|({NUMBER})|(true|false|null))"
        # A delimiter after the last bracket would show that the brackets are text.
        closed = rf"(?=[}}\]]{{0,16}}+(?:,|{re.escape(self.end)}))"
        pair = rf"()({WORD}):(?:{value}(,(?={WORD}:[{starts}])|\}}{closed})|([\[{{]))"
        item = rf"()()(?:{value}(,(?={quote}|[-0-9tfn])|\]{closed})|([\[{{]))"
        return {"{": re.compile(pair), "[": re.compile(item)}

    @cached_property
    def in_bare(self) -> re.Pattern[str]:
        """What may end a value written without delimiters."""
        return re.compile(r"[,{}\[\]()]|" + "|".join(map(re.escape, self.tokens)))

    @cached_property
    def envelope_end(self) -> re.Pattern[str]:
        """Where an unreadable call ends: after its end tag, or before what replaces it."""
        others = sorted({self.start, *self.stop}, key=len, reverse=True)
        return re.compile(f"{re.escape(self.end)}|(?={'|'.join(map(re.escape, others))})")

    @cached_property
    def after_turn(self) -> re.Pattern[str]:
        """What may follow the last call of a turn without a meaning."""
        return re.compile(rf"(?:\s++|{'|'.join(map(re.escape, (self.end, *self.stop, *self.fillers)))})*+")

    @cached_property
    def begun(self) -> frozenset[str]:
        """Every beginning of `tokens`, including the empty and the whole one."""
        return frozenset(token[:size] for token in self.tokens for size in range(len(token) + 1))

    def is_begun(self, text: str, pos: int) -> bool:
        """Whether the text from `pos` to its end could become a token."""
        return len(text) - pos < self.longest and text[pos:] in self.begun
