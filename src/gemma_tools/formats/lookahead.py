"""Looks ahead in what a model wrote, however the text is cut.

A look goes on where it ended when more text comes, and holds no text while it waits: see `formats.reading`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from sys import maxsize
from typing import Final

from gemma_tools.formats.reading import Buffer, Reading

SPACE: Final = re.compile(r"\s*+")


def end_of(run: re.Pattern[str], text: str, pos: int = 0, end: int = maxsize) -> int:
    """Where the run at `pos` ends, before `end`; `run` matches nothing, too."""
    found = run.match(text, pos, end)
    assert found is not None
    return found.end()


class Lookahead:
    """Looks ahead in a buffer. What needs more text than there is waits for it."""

    __slots__ = ("buffer",)

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer

    def run(self, pos: int, pattern: re.Pattern[str]) -> Reading[int]:
        """Where the run at `pos` ends, however long it is; `pattern` matches a part of a run, too."""
        buffer = self.buffer
        while True:
            pos = end_of(pattern, buffer.text, pos)
            if pos < len(buffer.text) or buffer.ended:
                return pos
            yield

    def run_up_to(self, start: int, pattern: re.Pattern[str], limit: int) -> Reading[int]:
        """Where the run at `start` ends, at most `limit` characters on."""
        buffer = self.buffer
        while True:
            end = end_of(pattern, buffer.text, start, start + limit)
            if end < len(buffer.text) or end - start == limit or buffer.ended:
                return end
            yield

    def have(self, end: int) -> Reading[None]:
        """Wait until the text reaches `end`, or has ended."""
        while len(self.buffer.text) < end and not self.buffer.ended:
            yield

    def spelling(self, pos: int, spellings: Collection[str]) -> Reading[str]:
        """Which of `spellings` stands at `pos`; none is ""."""
        buffer, wanted = self.buffer, tuple(spellings)
        while not buffer.text.startswith(wanted, pos):
            missing = pos + max(map(len, wanted), default=0) - len(buffer.text)
            if buffer.ended or missing <= 0 or not _may_become(buffer.text[pos:], wanted):
                return ""
            yield
        return next(spelling for spelling in wanted if buffer.text.startswith(spelling, pos))


def _may_become(begun: str, spellings: tuple[str, ...]) -> bool:
    return any(spelling.startswith(begun) for spelling in spellings)
