"""What is known of a call while its arguments are read: the open brackets, and what it took to read it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from gemma_tools.formats.literals.source import Refused
from gemma_tools.reply import ProblemKind
from gemma_tools.schema.shape import Shape

_PLAIN_TEXT: Final = r"\x00-\x1f\u2060\ud800-\udfff"
_TEXT: Final = rf"\"([^\"\\{_PLAIN_TEXT}]*+)\"|'([^'\"\\{_PLAIN_TEXT}]*+)'"
_NUMBER: Final = r"-?(?:0|[1-9][0-9]{0,99}+)(?:\.[0-9]{1,99}+)?(?:[eE][+-]?[0-9]{1,2}+)?"  # no more than a float can hold
_CONSTANT: Final = r"(True|False|None|true|false|null)"
_KEYWORD: Final = r"\s*+([^\W\d]\w*+)()\s*+="
_NAMED: Final = rf"\s*+(?:{_TEXT})\s*+:"


def _entry(key: str, following: str) -> re.Pattern[str]:
    """An entry that needs no second look. Its comma must be one: before another entry, or after what is no text."""
    text, other = rf"(?:{_TEXT})\s*+([)\]}}]|,(?={following}))", rf"(?:({_NUMBER})|{_CONSTANT})\s*+([,)\]}}])"
    return re.compile(rf"{key}\s*+(?:{text}|{other}|([\[{{]))")


ARGUMENT: Final = _entry(_KEYWORD, r"\s*+[^\W\d]\w*+\s*+=")
MEMBER: Final = _entry(_NAMED, rf"\s*+\"[^\"\\{_PLAIN_TEXT}]*+\"\s*+:")
ELEMENT: Final = _entry("()()", "")


class Frame:
    """An open bracket, and what stands in it: `entry` tells a call's arguments, an object and an array apart.

    `shape` is that of the object, or of the array's elements; `places` are those of the next elements, the next one last,
    where the schema tells each by its place.
    """

    __slots__ = ("close", "comma", "entry", "filled", "keys", "placed", "places", "shape", "spread")

    def __init__(self, close: str, entry: re.Pattern[str], shape: Shape, places: Sequence[Shape] = ()) -> None:
        self.close = close
        self.entry = entry
        self.shape = shape
        self.places = list(reversed(places))
        self.keys: set[str] = set()
        self.placed = 0
        self.filled = False
        self.comma = False
        self.spread = False


class Repair(NamedTuple):
    """Why a call was not read as it stands, and where that shows."""

    message: str
    start: int
    end: int


class Draft:
    """A call that is being read: its arguments as pieces of JSON text, and the first repair of each kind.

    With `exact` nothing is repaired. Once it is `firm`, what stands here is a call and nothing else, so that what cannot be
    read is a fault of the call; before that the text is no call at all, and refused.
    """

    __slots__ = ("exact", "fault", "firm", "listed", "pieces", "python", "repairs", "seen")

    def __init__(self, at: int, *, exact: bool, firm: bool = False, python: bool = False, listed: bool = False) -> None:
        self.exact = exact
        self.firm = firm
        self.python = python
        self.listed = listed
        self.pieces: list[str] = []
        self.repairs: dict[ProblemKind, Repair] = {}
        self.fault = ""
        self.seen = at
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
