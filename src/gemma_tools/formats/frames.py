"""The open brackets in a call's arguments, and a fast path for simple entries, for every notation.

The form of an entry depends on the notation: it is a pattern for every bracket.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from gemma_tools.jsontext import quote_json
from gemma_tools.schema.shape import Shape

CLOSER_OF: Final = {"{": "}", "[": "]", "(": ")"}
NOT_PLAIN: Final = r"\"\\\x00-\x1f\ud800-\udfff"
"""The characters that need an escape in JSON text, as a part of a pattern's class."""
NUMBER: Final = r"-?(?:0|[1-9][0-9]{0,99}+)(?:\.[0-9]{1,99}+)?(?:[eE][+-]?[0-9]{1,2}+)?"
"""A valid JSON number that fits into a float."""
_PYTHON_WORDS: Final = {"True": "true", "False": "false", "None": "null"}
_STRING: Final = frozenset(("string",))
_NUMBERS: Final = frozenset(("integer", "number"))
_TYPE_OF_WORD: Final = {"true": frozenset(("boolean",)), "false": frozenset(("boolean",)), "null": frozenset(("null",))}

Entries: TypeAlias = Mapping[str, re.Pattern[str]]
"""By opening bracket, a simple entry, with what separates it from the next or closes its bracket.

Its groups: the key's quote, the key, the text of a string that is valid JSON text, the text of one that may not be, a `NUMBER`,
a constant, the comma or bracket after it; or, instead of all values, an opening bracket.
"""


class Frame:
    """An open bracket, and how much of it is read.

    `shape` is the type of the object, or of the array's elements. `places` are the types of the next elements, the next one
    last, if the schema has one for each position, and None in an object. `end` is the JSON text that ends it.
    """

    __slots__ = ("closer", "comma", "end", "entry", "filled", "in_array", "keys", "places", "shape")

    def __init__(self, closer: str, entry: re.Pattern[str], shape: Shape, places: Sequence[Shape] | None = None) -> None:
        self.closer = closer
        self.entry = entry
        self.shape = shape
        self.in_array = places is not None
        self.end = "]" if self.in_array else "}"
        self.places = list(reversed(places)) if places else []
        self.keys: set[str] = set()
        self.filled = False
        self.comma = False
        """Whether a comma was read since the last entry."""

    @property
    def separated(self) -> bool:
        """Whether an entry may come next."""
        return self.comma or not self.filled

    def next_element(self) -> Shape:
        """The type of the next element of an array."""
        return self.places.pop() if self.places else self.shape


class Frames(list[Frame]):
    """The open brackets, innermost last. The JSON text of what was read is added to `out`."""

    __slots__ = ("_entries", "out")

    def __init__(self, out: list[str], entries: Entries) -> None:
        super().__init__()
        self.out = out
        self._entries = entries

    def open(self, bracket: str, shape: Shape) -> None:
        """Open the object or array that is the next value."""
        entry = self._entries[bracket]
        if bracket == "{":
            self.out.append("{")
            self.append(Frame("}", entry, shape))
        else:
            self.out.append("[")
            self.append(Frame(CLOSER_OF[bracket], entry, shape.element, shape.places))

    def level_of(self, closer: str) -> int:
        """The innermost frame that `closer` closes; -1 if there is none."""
        level = len(self) - 1
        while level >= 0 and self[level].closer != closer:
            level -= 1
        return level

    def close_down(self, level: int) -> None:
        """Close open brackets until `level` frames are left."""
        while len(self) > level:
            self.out.append(self.pop().end)
            if self:
                self[-1].filled, self[-1].comma = True, False

    def put_key(self, key: str) -> None:
        """An entry with `key` begins in the innermost object."""
        keys = self[-1].keys
        self.out.append(f"{', ' if keys else ''}{quote_json(key)}: ")
        keys.add(key)

    def take_plain(self, text: str, pos: int) -> int:
        """Read simple entries at `pos`, and the brackets and commas between them."""
        put = self.out.append
        while self:
            frame = self[-1]
            comma, filled = frame.comma, frame.filled
            found = frame.entry.match(text, pos) if (comma or not filled) and not frame.places else None
            if found is None:
                mark = text[pos : pos + 1]
                if comma or not mark:
                    return pos
                if mark == frame.closer:
                    self.close_down(len(self) - 1)
                elif mark == "," and filled:
                    frame.comma = True
                else:
                    return pos
                pos += 1
                continue
            _, key, plain, raw, numeral, word, mark, opening = found.groups()
            if key in frame.keys:
                return pos
            shape = frame.shape if frame.in_array else frame.shape.member(key)
            if plain is not None:
                value, kinds = f'"{plain}"', _STRING
            elif raw is not None:
                value, kinds = quote_json(raw), _STRING
            elif numeral:
                value, kinds = numeral, _NUMBERS
            elif word:
                value = _PYTHON_WORDS.get(word, word)
                kinds = _TYPE_OF_WORD[value]
            else:
                value, kinds = "", None
            types = shape.types
            if types is not None and kinds:
                doubtful = numeral and "string" in types and not numeral.isdecimal()
                if doubtful or types.isdisjoint(kinds):
                    return pos
            if frame.in_array:
                put(f", {value}" if filled else value)
            else:
                put(f', "{key}": {value}' if frame.keys else f'"{key}": {value}')
                frame.keys.add(key)
            pos = found.end()
            frame.filled, frame.comma = True, mark == ","
            if opening:
                self.open(opening, shape)
            elif mark == frame.closer:
                self.close_down(len(self) - 1)
            elif mark != ",":
                return pos - 1
        return pos
