"""The text that a reader of literals looks ahead in, chunk by chunk."""

from __future__ import annotations

import re
from typing import Final

from gemma_tools.formats.lookahead import SPACE, Lookahead
from gemma_tools.formats.reading import Reading

STOPS: Final = ("<end_of_turn>", "<eos>")
"""The special tokens that end a text like its real end."""
FENCES: Final = ("```", "~~~")
FENCE_RUN: Final = {"`": re.compile(r"`*+"), "~": re.compile(r"~*+")}


class Cut(Exception):
    """The text, or the turn, ended inside a call; `at` is where."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class Refused(Exception):
    """This is not a call, or not an allowed one."""


class Source(Lookahead):
    """Looks ahead in what Gemma 3 wrote."""

    __slots__ = ()

    def blank(self, i: int) -> Reading[int]:
        """The position of the next character that is not white space.

        Raises:
            Cut: there is none.
        """
        buffer = self.buffer
        if i < len(buffer.text) and not buffer.text[i].isspace():
            return i
        i = yield from self.run(i, SPACE)
        if i == len(buffer.text):
            raise Cut(i)
        return i

    def ahead(self, i: int) -> Reading[tuple[int, str]]:
        """The next character that is not white space, and its position; none if the text or the turn ends."""
        i = yield from self.run(i, SPACE)
        if self.buffer.text.startswith("<", i) and (yield from self.is_stop(i)):
            return i, ""
        return i, self.buffer.text[i : i + 1]

    def is_stop(self, i: int) -> Reading[bool]:
        """Whether there is a token that ends the turn at `i`."""
        return bool((yield from self.spelling(i, STOPS)))

    def is_end(self, i: int) -> Reading[bool]:
        """Whether there is a token that ends the turn at `i`, or a code fence."""
        buffer = self.buffer
        if buffer.text.startswith(("`", "~"), i):
            yield from self.have(i + 3)
            return buffer.text.startswith(FENCES, i)
        return buffer.text.startswith("<", i) and (yield from self.is_stop(i))
