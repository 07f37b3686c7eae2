"""What is known of a call while its arguments are read: how plain entries look, and what it took to read it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gemma_tools.formats.frames import NOT_PLAIN, NUMBER, Entries
from gemma_tools.formats.literals.source import Refused
from gemma_tools.reply import ProblemKind

_PLAIN: Final = rf"[^{NOT_PLAIN}\u2060"
"""The class of what may stand in a plain text, still open. U+2060 joins the halves of a spelling that the prompt broke."""
_RAW: Final = r"\"([^\"\\\u2060]*+)\""
_NAME: Final = r"[^\W\d]\w*+"


def _entry(key: str, text: str, words: str, following: str) -> re.Pattern[str]:
    """An entry that needs no second look. Its comma must be one, before another entry."""
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
    """Why a call was not read as it stands, and where that shows."""

    message: str
    start: int
    end: int


class Draft:
    """A call from `start` on while it is read: its arguments as pieces of JSON text, and the first repair of each kind.

    With `exact` nothing is repaired. Once it is `firm`, what stands here is a call and nothing else, so that what cannot be
    read is a fault of the call; before that the text is not a call at all, and refused.
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
        """The entries of an object that calls do not have."""
        self.placed = 0
        """How many arguments had no names."""
        self.fault = ""
        self.seen = start
        """How far the text was read; where it is refused it need not be looked at again up to there."""

    def repair(self, kind: ProblemKind, message: str, start: int, end: int) -> None:
        """Note a departure from the exact notation."""
        if self.exact:
            self.spoil(message)
        if kind not in self.repairs:
            self.repairs[kind] = Repair(message, start, end)

    def spoil(self, reason: str) -> None:
        """The call cannot be taken.

        Raises:
            Refused: it is not firm yet.
        """
        if not self.firm:
            raise Refused
        self.fault = self.fault or reason
