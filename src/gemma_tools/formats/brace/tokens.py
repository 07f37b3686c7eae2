"""What one family's brace notation is made of: its special tokens, and the patterns that readers look for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from gemma_tools.formats.frames import NOT_PLAIN, NUMBER, Entries

WORD: Final = r"[A-Za-z_][A-Za-z0-9_]*+"
"""A key that needs no second look."""
NUMERAL: Final = r"-?(?:0|[1-9][0-9]{0,4000}+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
"""A number in JSON's spelling. Python reads integers of at most 4300 digits."""
VALUE_STARTS: Final = "<{[\"'`-0123456789tfn"
"""What a value in the exact notation, or in JSON, may begin with."""
_DELIMITERS: Final = ("<escape>", '<|"|>', "<ctrl46>")
"""The string delimiters of all the families that write the notation."""


@dataclass(frozen=True, eq=False)
class Dialect:
    """The special tokens of one family's brace notation. There is one of each family, so that looking it up is quick."""

    controls: tuple[str, ...]
    start: str
    end: str
    delimiter: str
    turn_start: str
    stop: tuple[str, ...]
    """What ends the model's turn: turn end, end of text, start of a tool's response."""
    literal_delimiter: str
    """What a delimiter inside a string that continues stands for."""
    declaration: tuple[str, str]
    """What stands around a tool's declaration in the prompt, and now and then around a call."""
    channel: tuple[str, str] | None = None
    """Opener and closer of the thought channel."""
    either: str = ""
    """A spelling that models write for the opener and for the closer."""
    fillers: tuple[str, ...] = ("<pad>", "<bos>")
    """Tokens of the vocabulary that engines let through now and then and that mean nothing."""

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Every spelling that is never text."""
        return tuple(sorted({*self.controls, *self.fillers, "<eos>"}, key=lambda spelling: (-len(spelling), spelling)))

    @cached_property
    def longest(self) -> int:
        """The length of the longest spelling, in characters."""
        return len(self.tokens[0])

    @cached_property
    def token(self) -> re.Pattern[str]:
        """Any of `tokens`."""
        return re.compile("|".join(map(re.escape, self.tokens)))

    @cached_property
    def text_tokens(self) -> tuple[str, ...]:
        """Every spelling that is a special token in running text."""
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
        """The plain entries of objects and of lists: with a plain key and value, before another plain entry or the end."""
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
        """Where a call that cannot be read ends: after its end tag, or before what comes instead."""
        others = sorted({self.start, *self.stop}, key=len, reverse=True)
        return re.compile(f"{re.escape(self.end)}|(?={'|'.join(map(re.escape, others))})")

    @cached_property
    def after_turn(self) -> re.Pattern[str]:
        """What may follow the last call of a turn and says nothing."""
        return re.compile(rf"(?:\s++|{'|'.join(map(re.escape, (self.end, *self.stop, *self.fillers)))})*+")

    @cached_property
    def begun(self) -> frozenset[str]:
        """Every beginning of `tokens`, the empty and the whole one, too."""
        return frozenset(token[:size] for token in self.tokens for size in range(len(token) + 1))

    def is_begun(self, text: str, pos: int) -> bool:
        """Whether what stands from `pos` to the end of `text` could become a token."""
        return len(text) - pos < self.longest and text[pos:] in self.begun
