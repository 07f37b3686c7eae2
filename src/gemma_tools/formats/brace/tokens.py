"""What one family's brace notation is made of: its control tokens, and the patterns that readers look for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

WORD: Final = r"[A-Za-z_][A-Za-z0-9_]*"
"""A key that needs no second look."""
NUMERAL: Final = r"-?(?:0|[1-9][0-9]{0,4000})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
"""A number in JSON's spelling. Python reads integers of at most 4300 digits."""


@dataclass(frozen=True)
class Dialect:
    """The control tokens of one family's brace notation."""

    controls: tuple[str, ...]
    start: str
    end: str
    delimiter: str
    turn_start: str
    stop: tuple[str, ...]
    """What ends the model's turn: turn end, end of text, start of a tool's response."""
    literal_delimiter: str
    """What a delimiter inside a string that goes on stands for."""
    channel: tuple[str, str] | None = None
    """Opener and closer of the thought channel."""
    fillers: tuple[str, ...] = ("<pad>", "<bos>")
    """Tokens of the vocabulary that engines let through now and then and that mean nothing."""

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Every spelling that is never text."""
        return tuple(sorted({*self.controls, *self.fillers, "<eos>"}, key=len, reverse=True))

    @cached_property
    def longest(self) -> int:
        """The length of the longest spelling, in characters."""
        return len(self.tokens[0])

    @cached_property
    def token(self) -> re.Pattern[str]:
        """Any of `tokens`."""
        return re.compile("|".join(map(re.escape, self.tokens)))

    @cached_property
    def plain_pair(self) -> re.Pattern[str]:
        """A plain key with a plain value, and the comma behind it if another plain key follows."""
        quote = re.escape(self.delimiter)
        return re.compile(rf"({WORD}):(?:{quote}([^<]*){quote}|({NUMERAL}|true|false|null))(?:,(?={WORD}:)|(?=\}}))")

    @cached_property
    def plain_item(self) -> re.Pattern[str]:
        """A plain value in a list, and the comma behind it if another plain value follows."""
        quote = re.escape(self.delimiter)
        return re.compile(rf"(?:{quote}([^<]*){quote}|({NUMERAL}|true|false|null))(?:,(?={quote}|[-0-9tfn])|(?=\]))")

    @cached_property
    def in_bare(self) -> re.Pattern[str]:
        """What may end a value written without delimiters."""
        return re.compile(r"[,{}\[\]()]|" + "|".join(map(re.escape, self.tokens)))

    @cached_property
    def envelope_end(self) -> re.Pattern[str]:
        """Where a call that cannot be read ends: behind its end tag, or before what comes instead."""
        others = sorted({self.start, *self.stop}, key=len, reverse=True)
        return re.compile(f"{re.escape(self.end)}|(?={'|'.join(map(re.escape, others))})")

    def is_begun(self, text: str, pos: int) -> bool:
        """Whether what stands from `pos` to the end of `text` could become a token."""
        return len(text) - pos < self.longest and any(token.startswith(text[pos:]) for token in self.tokens)
