"""The state of a call while its arguments are read: simple entries, and the repairs that were needed."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gemma_tools.formats.frames import NOT_PLAIN, NUMBER, Entries
from gemma_tools.formats.literals.source import Refused
from gemma_tools.reply import ProblemKind

_PLAIN: Final = rf"[^{NOT_PLAIN}\u2060"
"""The characters of a simple text, as an open class. U+2060 joins the halves of a special token that the prompt broke."""
_RAW: Final = r"\"([^\"\\\u2060]*+)\""
_NAME: Final = r"[^\W\d]\w*+"


def _entry(key: str, text: str, words: str, following: str) -> re.Pattern[str]:
    """A simple entry. Its comma must be one, before another entry."""
    return re.compile(rf"{key}\s*+(?:(?:{text}|({NUMBER})|({words}))\s*+([)\]}}]|,(?={following}))|([\[{{]))")


def _entries(quotes: str, text: str, words: str) -> Entries:
    """The entries of objects and arrays in a language with these `quotes`."""
    key = rf"\s*+([{quotes}])({_PLAIN}']*+)\1\s*+:"
    element = _entry("()()", text, words, "")
    return {"{": _entry(key, text, words, rf"\s*+[{quotes}]{_PLAIN}']*+[{quotes}]\s*+:"), "[": element, "(": element}


_PYTHON_TEXT: Final = rf"'({_PLAIN}']*+)'|{_RAW}"
_PYTHON_WORDS: Final = "True|False|None"
PYTHON: Final = _entries("\"'", _PYTHON_TEXT, _PYTHON_WORDS)
JSON: Final = _entries('"', rf"\"({_PLAIN}]*+)\"|{_RAW}", "true|false|null")
ARGUMENT: Final = _entry(rf"\s*+()({_NAME})\s*+=", _PYTHON_TEXT, _PYTHON_WORDS, rf"\s*+{_NAME}\s*+=")
"""An entry among the arguments of a Python call."""


class Repair(NamedTuple):
    """Why a call was not exact, and where that shows."""

    message: str
    start: int
    end: int


class Draft:
    """A call from `start` on while it is read: its arguments as chunks of JSON text, and the first repair of each kind.

    With `exact` nothing is repaired. Once it is `firm`, the text here can only be a call, so text that cannot be read is an
    error in the call. Before that the text is not a call at all, and refused.
    """

    __slots__ = (
        *("end", "exact", "extra", "fault", "firm", "listed", "name", "pieces", "placed", "python", "repairs", "seen", "start"),
    )

    def __init__(self, start: int, *, exact: bool, firm: bool = False, python: bool = False, listed: bool = False) -> None:
        self.start = start
        self.exact = exact
        self.firm = firm
        self.python = python
        self.listed = listed
        self.end = start
        self.name = ""
        self.pieces: list[str] = []
        self.repairs: dict[ProblemKind, Repair] = {}
        self.extra: list[tuple[int, int]] = []
        """The entries of an object that do not belong in a call."""
        self.placed = 0
        """How many arguments had no names."""
        self.fault = ""
        self.seen = start
        """The end of the text that was read; if it is refused, it need not be read again up to there."""

    def repair(self, kind: ProblemKind, message: str, start: int, end: int) -> None:
        """Record a difference from the exact notation."""
        if self.exact:
            self.spoil(message)
        if kind not in self.repairs:
            self.repairs[kind] = Repair(message, start, end)

    def spoil(self, reason: str) -> None:
        """The call is not valid.

        Raises:
            Refused: it is not firm yet.
        """
        if not self.firm:
            raise Refused
        self.fault = self.fault or reason
