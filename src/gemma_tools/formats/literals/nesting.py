"""JSON in running text that is not a call: nothing nested in it is a call."""

from __future__ import annotations

import re
from typing import Final

from gemma_tools.formats.lookahead import end_of

_BEGINNING: Final = re.compile(r"\{\s*+[\"']|\[\s*+[\[{\"]")
_OUTSIDE: Final = re.compile(r"[^\"{}\[\]\n<]*+")
_INSIDE: Final = re.compile(r"[^\"\\\n<]*+")


class Nesting:
    """How deep running text is nested in a JSON value; 0 outside of one."""

    __slots__ = ("_escaped", "_string", "depth")

    def __init__(self) -> None:
        self.depth = 0
        self._escaped = False
        self._string = False

    def enter(self, text: str, i: int) -> None:
        """A bracket at `i` opens no calls: it may open another JSON value."""
        if _BEGINNING.match(text, i):
            self.depth, self._string = 1, False

    def leave(self) -> None:
        """The text that looked like JSON has an empty line: it is not JSON."""
        self.depth = 0

    def skip(self, text: str, i: int) -> int:
        """Go on to the end of the value, of the line or of the text, or to a `<`."""
        while self.depth:
            i = end_of(_INSIDE if self._string else _OUTSIDE, text, i + self._escape(text, i))
            mark = text[i : i + 1]
            if mark in ("", "\n", "<"):
                self._string = self._string and mark != "\n"
                return i
            i += 1
            if mark == "\\":
                self._escaped = True
            elif mark == '"':
                self._string = not self._string
            else:
                self.depth += 1 if mark in "{[" else -1
        return i

    def _escape(self, text: str, i: int) -> int:
        """How many characters at `i` belong to a backslash before them."""
        if not self._escaped or i == len(text):
            return 0
        self._escaped = False
        return int(text[i] not in "\n<")
