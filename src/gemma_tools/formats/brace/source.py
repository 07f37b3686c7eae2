"""The model's output in the brace notation, and the state of one call while it is read."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from gemma_tools.formats.brace.tokens import Dialect
from gemma_tools.formats.lookahead import SPACE, Lookahead, end_of
from gemma_tools.formats.reading import Buffer, Reading, ReplyBuilder
from gemma_tools.prompt import WORD_JOINER
from gemma_tools.reply import ProblemKind

CLOSERS: Final = re.compile(r"[\s}\])]*+")
"""Closing brackets, and white space between them."""


class Cut(Exception):
    """The text ended inside a call."""


class Unreadable(Exception):
    """The text at `pos` cannot be read as part of a call."""

    def __init__(self, pos: int, message: str) -> None:
        super().__init__(message)
        self.pos = pos


class Source(Lookahead):
    """The model's output, and the options for reading it."""

    __slots__ = ("dialect", "strict")

    def __init__(self, buffer: Buffer, dialect: Dialect, *, strict: bool, guarded: Collection[str] = ()) -> None:
        super().__init__(buffer, guarded)
        self.dialect = dialect
        self.strict = strict

    def look(self, pos: int) -> tuple[int, str | None]:
        """Where the white space at `pos` ends, and what is there: a special token or a character.

        "" is the end of the text, None means that more text is needed.
        """
        buffer = self.buffer
        text = buffer.text
        at = end_of(SPACE, text, pos)
        if at == len(text):
            return at, "" if buffer.ended else None
        if text[at] != "<":
            return at, text[at]
        token = self.dialect.token.match(text, at)
        if token:
            return at, token[0]
        return at, "<" if buffer.ended or not self.dialect.is_begun(text, at) else None

    def ahead(self, pos: int) -> Reading[tuple[int, str]]:
        """`look`, until it is known."""
        while True:
            pos, what = self.look(pos)
            if what is not None:
                return pos, what
            yield

    def before_broken(self, start: int, end: int) -> int:
        """`end`, or the beginning of a broken special token across it: reading a call may have stopped inside one."""
        text = self.buffer.text
        at = text.rfind("<" + WORD_JOINER, start, end + 1)
        across = at >= 0 and any(text.startswith(spelling, at) and at + len(spelling) > end for spelling in self.broken)
        return at if across else end


class Call:
    """One call while it is read. A live call is emitted while it is read; another one is held back until it is complete.

    JSON text for its arguments is added to `out`.
    """

    __slots__ = ("_builder", "_live", "_refused", "_repairs", "name", "out", "start")

    def __init__(
        self, builder: ReplyBuilder, name: str, start: int, *, live: bool, refused: Collection[str] | None = ()
    ) -> None:
        self.name = name
        self.start = start
        self.out: list[str] = []
        self._builder = builder
        self._live = live
        self._refused = refused
        self._repairs: dict[ProblemKind, tuple[str, int, int]] = {}
        if live:
            builder.start_call(name)
            self.out = builder.pieces

    def repair(self, kind: ProblemKind, message: str, start: int, end: int) -> None:
        """Report a difference from the exact notation, once per call.

        Raises:
            Unreadable: this repair is refused (all are, if `refused` is None).
        """
        if self._refused is None or kind in self._refused:
            raise Unreadable(start, message)
        if kind not in self._repairs:
            self._repairs[kind] = (message, start, end)
            if self._live:
                self._builder.problem(kind, message, start, end, index=self._builder.last_index)

    def finish(self, end: int) -> bool:
        """Complete the call, which ends at `end`; False if it is repeated too often."""
        builder = self._builder
        if not self._live:
            index = builder.start_call(self.name)
            for kind, (message, start, stop) in self._repairs.items():
                builder.problem(kind, message, start, stop, index=index)
            builder.pieces += self.out
        return builder.end_call(self.start, end)
