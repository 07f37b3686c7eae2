"""Looks ahead in what a model wrote, however the text is cut.

A look goes on where it ended when more text comes, and holds no text while it waits: see `formats.reading`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final

from gemma_tools.formats.reading import Buffer, Reading
from gemma_tools.prompt import WORD_JOINER

SPACE: Final = re.compile(r"\s*+")


def end_of(run: re.Pattern[str], text: str, *span: int) -> int:
    """Where the run at the beginning of `span` ends; `run` matches nothing, too."""
    found = run.match(text, *span)
    assert found is not None
    return found.end()


@lru_cache(maxsize=64)
def _broken_spellings(guarded: frozenset[str]) -> Mapping[str, str]:
    return {spelling[0] + WORD_JOINER + spelling[1:]: spelling for spelling in sorted(guarded)}


_NONE: Final[Mapping[str, str]] = {}


class Lookahead:
    """Looks ahead in a buffer. What needs more text than there is waits for it.

    `broken` are the special tokens that the prompt broke, as the model saw them there, and what they are whole.
    """

    __slots__ = ("broken", "buffer")

    def __init__(self, buffer: Buffer, guarded: Collection[str] = ()) -> None:
        self.buffer = buffer
        self.broken = _broken_spellings(frozenset(guarded)) if guarded else _NONE

    def unbreak(self, text: str) -> str:
        """`text` with the broken special tokens in it made whole."""
        if self.broken and WORD_JOINER in text:
            for broken, spelling in self.broken.items():
                text = text.replace(broken, spelling)
        return text

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

    def find(self, pos: int, pattern: re.Pattern[str], longest: int = 0) -> Reading[tuple[int, str]]:
        """Where `pattern`, which matches at most `longest` characters or one, is found next, and what; else the end and ""."""
        buffer = self.buffer
        while True:
            at, found = _search(pattern, buffer.text, pos)
            if found or buffer.ended:
                return at, found
            pos = max(pos, at - longest)
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


def _search(pattern: re.Pattern[str], text: str, pos: int) -> tuple[int, str]:
    found = pattern.search(text, pos)
    return (found.start(), found[0]) if found else (len(text), "")


def _may_become(begun: str, spellings: tuple[str, ...]) -> bool:
    return any(spelling.startswith(begun) for spelling in spellings)
