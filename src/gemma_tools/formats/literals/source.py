"""The text that a reader of literals looks ahead in, piece by piece."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final

from gemma_tools.formats.reading import Buffer, Reading
from gemma_tools.prompt import WORD_JOINER

STOPS: Final = ("<end_of_turn>", "<eos>")
"""The control tokens that end a text as its end does."""
FENCES: Final = ("```", "~~~")
FENCE_RUN: Final = {"`": re.compile(r"`*+"), "~": re.compile(r"~*+")}
BLANK: Final = re.compile(r"\s*+")


_LONGEST_SPELLING: Final = 64


class Cut(Exception):
    """The text, or the turn, ended inside a call; `at` is where."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class Refused(Exception):
    """This is no call, or not one to be read."""


def end_of(run: re.Pattern[str], text: str, *span: int) -> int:
    """Where the run of characters ends that begins at `span`'s first position; `run` matches nothing, too."""
    found = run.match(text, *span)
    assert found is not None
    return found.end()


@lru_cache(maxsize=64)
def _broken_spellings(guarded: frozenset[str]) -> Mapping[str, str]:
    return {spelling[0] + WORD_JOINER + spelling[1:]: spelling for spelling in guarded}


class Source:
    """Looks ahead in a buffer. What needs more text than there is waits for it, and goes on where its last look ended.

    `broken` are the spellings that the prompt broke, and what they are whole.
    """

    __slots__ = ("broken", "buffer")

    def __init__(self, buffer: Buffer, guarded: Collection[str] = ()) -> None:
        self.buffer = buffer
        self.broken = _broken_spellings(frozenset(guarded))

    def whole(self, text: str) -> str:
        """`text` with the spellings whole that the prompt broke."""
        if WORD_JOINER in text:
            for broken, spelling in self.broken.items():
                text = text.replace(broken, spelling)
        return text

    def run(self, i: int, run: re.Pattern[str]) -> Reading[int]:
        """Where the run of characters at `i` ends."""
        buffer = self.buffer
        while True:
            i = end_of(run, buffer.text, i)
            if i < len(buffer.text) or buffer.ended:
                return i
            yield

    def short_run(self, start: int, run: re.Pattern[str], limit: int) -> Reading[int]:
        """Where the run of characters at `start` ends, or `limit` characters on."""
        buffer = self.buffer
        while True:
            end = end_of(run, buffer.text, start, start + limit)
            if end < len(buffer.text) or end - start == limit or buffer.ended:
                return end
            yield

    def blank(self, i: int) -> Reading[int]:
        """Where the next character stands that is not white space.

        Raises:
            Cut: there is none.
        """
        buffer = self.buffer
        if i < len(buffer.text) and not buffer.text[i].isspace():
            return i
        i = yield from self.run(i, BLANK)
        if i == len(buffer.text):
            raise Cut(i)
        return i

    def ahead(self, i: int) -> Reading[tuple[int, str]]:
        """The next character that is not white space, and where it stands; none where the text or the turn ends."""
        i = yield from self.run(i, BLANK)
        if self.buffer.text.startswith("<", i) and (yield from self.is_stop(i)):
            return i, ""
        return i, self.buffer.text[i : i + 1]

    def have(self, i: int, count: int) -> Reading[None]:
        """Wait until there are `count` characters from `i` on, if there are so many."""
        buffer = self.buffer
        while len(buffer.text) - i < count and not buffer.ended:
            yield

    def is_stop(self, i: int) -> Reading[bool]:
        """Whether a token that ends the turn stands at `i`."""
        return bool((yield from self.spelling(i, STOPS)))

    def is_end(self, i: int) -> Reading[bool]:
        """Whether a token that ends the turn stands at `i`, or a code fence."""
        buffer = self.buffer
        if buffer.text.startswith(("`", "~"), i):
            yield from self.have(i, 3)
            return buffer.text.startswith(FENCES, i)
        return buffer.text.startswith("<", i) and (yield from self.is_stop(i))

    def spelling(self, i: int, spellings: tuple[str, ...]) -> Reading[str]:
        """Which of `spellings` stands at `i`; nothing if none does."""
        buffer = self.buffer
        while not buffer.text.startswith(spellings, i):
            if buffer.ended or len(buffer.text) - i >= _LONGEST_SPELLING or not _may_become(buffer.text[i:], spellings):
                return ""
            yield
        return next(spelling for spelling in spellings if buffer.text.startswith(spelling, i))


def _may_become(begun: str, spellings: tuple[str, ...]) -> bool:
    return any(spelling.startswith(begun) for spelling in spellings)
