"""Reads a call's arguments in Python's and JSON's notation, chunk by chunk, into JSON text typed by a schema.

    location='Paris', days=3, tags=["a", None])        the arguments of a Python call
    "location": "Paris", "days": 3}                    the members of a JSON object

Nothing here is recursive, however deep the nesting, and every character is read a limited number of times.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

from gemma_tools.formats.frames import Frame, Frames
from gemma_tools.formats.literals.frames import ARGUMENT, JSON, PYTHON, Draft
from gemma_tools.formats.literals.source import Cut, Refused, Source
from gemma_tools.formats.literals.strings import WORD, is_key, read_string
from gemma_tools.formats.lookahead import SPACE, end_of
from gemma_tools.formats.reading import Buffer, Reading
from gemma_tools.jsontext import quote_json
from gemma_tools.schema.coerce import bare, delimited
from gemma_tools.schema.shape import ANY, Shape, Types

T = TypeVar("T")
_TOKEN: Final = re.compile(r"[^\s,()\[\]{}<`]*+")
_BARE_END: Final = re.compile(r"[,()\[\]{}<`~]")
_QUOTE_START: Final = re.compile(r"[rRbBuUfF]{0,2}[\"']")
_PYTHON_WORDS: Final = frozenset(("True", "False", "None"))
_JSON_WORDS: Final = frozenset(("true", "false", "null"))
_GROUPED_DIGITS: Final = re.compile(r"[+-]?[0-9]+(?:_[0-9]+)+(?:\.[0-9]+)?")


class ArgumentReader:
    """Reads brackets full of values into a draft."""

    __slots__ = ("_draft", "_frames", "_source")

    def __init__(self, source: Source, draft: Draft) -> None:
        self._source = source
        self._draft = draft
        self._frames = Frames(draft.pieces, PYTHON if draft.python else JSON)

    def arguments(self, i: int, shape: Shape) -> Reading[int]:
        """The arguments of a Python call, from after its opening bracket to after its closing one."""
        self._draft.pieces.append("{")
        self._frames.append(Frame(")", ARGUMENT, shape))
        return (yield from self._read(i))

    def members(self, i: int, shape: Shape) -> Reading[int]:
        """The members of a JSON object, from after its opening bracket to after its closing one."""
        self._frames.open("{", shape)
        return (yield from self._read(i))

    def value(self, i: int, shape: Shape) -> Reading[int]:
        """Where the value at `i` ends."""
        self._frames.append(Frame("", JSON["["], shape, ()))
        i = yield from self._value(i, shape)
        del self._frames[0]
        return (yield from self._read(i))

    def skip(self, i: int) -> Reading[int]:
        """Where the JSON value at `i` ends; the value is not kept."""
        kept = len(self._draft.pieces)
        i = yield from self.value(i, ANY)
        del self._draft.pieces[kept:]
        return i

    def text(self, i: int) -> Reading[tuple[int, str]]:
        """Where the JSON string at `i` ends, and its text."""
        return (yield from read_string(self._source, self._draft, i, [Frame("", JSON["["], ANY, ())], key=True))

    # Brackets

    def _read(self, i: int) -> Reading[int]:
        source, draft, frames = self._source, self._draft, self._frames
        while True:
            draft.seen = i = frames.take_plain(source.buffer.text, i)
            if not frames:
                return i
            frame = frames[-1]
            i = yield from source.blank(i)
            mark = source.buffer.text[i]
            if mark == ",":
                if frame.separated:
                    draft.repair("comma_surplus", "a comma without a value before it", i, i + 1)
                frame.comma = True
                i += 1
            elif mark in ")]}":
                i = yield from self._close(i)
            elif not frame.separated and (yield from source.is_end(i)):
                draft.repair("bracket_missing", "closing brackets are missing", i, i)
                frames.close_down(0)
            elif mark == "<" and (yield from source.is_stop(i)):
                raise Cut(i)
            else:
                if not frame.separated:
                    draft.repair("comma_missing", "a comma is missing", i, i)
                i = yield from self._entry(i)

    def _close(self, i: int) -> Reading[int]:
        """Handle the closing bracket at `i`."""
        source, draft, frames = self._source, self._draft, self._frames
        mark = source.buffer.text[i]
        if frames[-1].comma:
            draft.repair("comma_surplus", "a comma without a value after it", i, i)
        level = frames.level_of(mark)
        if level < len(frames) - 1:
            if level < 0:
                ends_list = draft.listed and mark == "]" and (yield from source.ahead(i + 1))[1] not in (",", ")", "}")
                if not ends_list:
                    draft.repair("bracket_surplus", "a closing bracket without an opening one", i, i + 1)
                    return i + 1
            draft.repair("bracket_missing", "closing brackets are missing", i, i)
        frames.close_down(max(level, 0))
        return i if level < 0 else i + 1

    # Entries

    def _entry(self, i: int) -> Reading[int]:
        """One value with its key, if it has one; for a container only the opening bracket."""
        frame, draft = self._frames[-1], self._draft
        if frame.in_array:
            if frame.filled:
                draft.pieces.append(", ")
            return (yield from self._value(i, frame.next_element()))
        start = i
        i, key, text = yield from self._key(i)
        named = key is not None
        if key is not None:
            i = yield from self._source.blank(i)
        else:
            inside = (yield from self._spread(i, frame)) if text is None else None
            if inside is not None:
                inner = Frame("}", PYTHON["{"], frame.shape)
                inner.end, inner.keys = "", frame.keys
                self._frames.append(inner)
                return inside
            key = self._place(i, frame)
        if key in frame.keys:
            draft.repair("key_twice", f"{key!r} was given twice; the last value is used", start, i)
        self._frames.put_key(key)
        shape = frame.shape.member(key)
        if text is not None:
            draft.pieces.append(self._typed(text, shape, start, i))
            frame.filled, frame.comma = True, False
            return i
        return (yield from self._value(i, shape, named=named))

    def _key(self, i: int) -> Reading[tuple[int, str | None, str | None]]:
        """The key at `i`, up to after its sign; or no key and the string that was read; or neither, and nothing read."""
        source, draft = self._source, self._draft
        if source.buffer.text[i] in "\"'":
            end, text = yield from read_string(source, draft, i, self._frames, key=True)
        else:
            end, text = (yield from source.run(i, WORD)), None
        behind, sign = yield from source.ahead(end)
        if sign not in (":", "=") or (text is None and end == i):
            return (i if text is None else end), None, text
        argument = self._frames[-1].entry is ARGUMENT
        if argument is not (sign == "="):
            draft.repair("equals", f"{sign!r} after a key", behind, behind + 1)
        if argument is not (text is None):
            draft.repair("key_quoted" if argument else "key_bare", f"a key with{'' if argument else 'out'} quotes", i, end)
        return behind + 1, source.buffer.text[i:end] if text is None else text, None

    def _place(self, i: int, frame: Frame) -> str:
        """The name of a value without one, from the order of the schema."""
        draft, names = self._draft, tuple(frame.shape.properties)
        if frame.entry is not ARGUMENT or draft.placed >= len(names) or len(frame.keys) > draft.placed:
            draft.spoil("a value has no name")
            return ""
        draft.repair("positional", "arguments without names were taken in the order of the schema", i, i)
        draft.placed += 1
        return names[draft.placed - 1]

    def _spread(self, i: int, frame: Frame) -> Reading[int | None]:
        """The inside of an object that contains all arguments of a call, as in `f({...})` or `f(**{...})`."""
        buffer = self._source.buffer
        if frame.entry is not ARGUMENT or frame.filled:
            return None
        start = i
        if buffer.text[i] == "*":
            yield from self._source.have(i + 3)
            if not buffer.text.startswith("**{", i):
                return None
            i += 2
        elif buffer.text[i] == "{":
            first = next(iter(frame.shape.properties), None)
            shape = frame.shape.member(first) if first is not None else None
            if shape and (shape.types is None or "object" in shape.types) and not (yield from self._are_names(i, frame, shape)):
                return None
        else:
            return None
        self._draft.repair("spread", "an object was read as the arguments", start, i + 1)
        return i + 1

    def _are_names(self, i: int, frame: Frame, shape: Shape) -> Reading[bool]:
        """Whether the object at `i` has only declared arguments, and is not an object of `shape`, as the first of them is."""
        reader = ArgumentReader(self._source, Draft(i, exact=False, python=True))
        reader._frames.open("{", frame.shape)
        inner = reader._frames[0]
        try:
            yield from reader._read(i + 1)
        except Refused:
            return False
        return 0 < len(inner.keys) == sum(map(frame.shape.declares, inner.keys)) > sum(map(shape.declares, inner.keys))

    # Values

    def _value(self, i: int, shape: Shape, *, named: bool = True) -> Reading[int]:
        """The value at `i`; for a container only the opening bracket."""
        source, draft, frames = self._source, self._draft, self._frames
        frame, mark = frames[-1], source.buffer.text[i]
        if mark in "{[" or (mark == "(" and draft.python):
            frames.open(mark, shape)
            return i + 1
        quoted = mark in "\"'"
        if mark in "rRbBuUfF":
            yield from source.have(i + 3)
            quoted = _QUOTE_START.match(source.buffer.text, i) is not None
        if quoted:
            end, text = yield from read_string(source, draft, i, frames)
            draft.pieces.append(self._typed(text, shape, i, end))
            i = end
        else:
            i = yield from self._bare_value(i, shape.types, frame, named=named)
        frame.filled, frame.comma = True, False
        return i

    def _typed(self, text: str, shape: Shape, start: int, end: int) -> str:
        """The text of a quoted string, in the type of the schema."""
        value = delimited(text, shape.types)
        if value.startswith('"') and not shape.textual and not self._draft.exact and text.lstrip()[:1] in ("{", "["):
            value = _container(text, shape) or value
        if not value.startswith('"'):
            self._draft.repair("type", "text was read as the type in the schema", start, end)
        return value

    def _bare_value(self, i: int, types: Types, frame: Frame, *, named: bool) -> Reading[int]:
        """A number, a constant, or a string whose quotes are missing."""
        source, draft = self._source, self._draft
        end = yield from source.run(i, _TOKEN)
        follows = (yield from source.ahead(end))[1]
        lexeme = source.buffer.text[i:end]
        if draft.python and _GROUPED_DIGITS.fullmatch(lexeme):
            lexeme = lexeme.replace("_", "")
        ends = follows in ("", ",", ")", "]", "}", "`", "~") or (yield from self._is_entry_next(end, types, frame))
        if lexeme and ends and bare(lexeme, None) is not None:
            value = bare(lexeme, types) or quote_json(lexeme)
            self._note_literal(lexeme, value, i, end)
            draft.pieces.append(value)
            return end
        if lexeme and source.buffer.text.startswith("(", end):
            draft.spoil("a value is itself a call")
        if not named and not draft.firm:
            raise Refused
        del lexeme
        end = yield from self._bare_end(end, frame)
        text = source.buffer.text[i:end].rstrip()
        if not text:
            draft.spoil("a value is missing")
        draft.repair("string_bare", "a string without quotes", i, i + len(text))
        draft.pieces.append(bare(text, types) or quote_json(text))
        return end

    def _is_entry_next(self, i: int, types: Types, frame: Frame) -> Reading[bool]:
        """Whether white space and a declared key follow a value that is no string, instead of a comma."""
        if types is None or "string" in types or frame.in_array or not self._source.buffer.text[i].isspace():
            return False
        return (yield from is_key(self._source, i, frame, declared=True))

    def _note_literal(self, lexeme: str, value: str, start: int, end: int) -> None:
        if value.startswith('"'):
            self._draft.repair("type", "a value was read as a string, as the schema requires", start, end)
        elif lexeme in (_JSON_WORDS if self._draft.python else _PYTHON_WORDS):
            self._draft.repair("literal", "a constant from another notation", start, end)
        elif lexeme != value and lexeme not in _PYTHON_WORDS:
            self._draft.repair("literal", "a number that is not valid JSON", start, end)

    def _bare_end(self, i: int, frame: Frame) -> Reading[int]:
        """Where a string without quotes ends: at the comma before the next key, or at the closing bracket."""
        source, depth = self._source, 0
        while True:
            i, mark = yield from source.find(i, _BARE_END)
            if not mark:
                raise Cut(i)
            self._draft.seen = i
            if mark in "([{":
                depth += 1
            elif mark in ")]}":
                if not depth:
                    return i
                depth -= 1
            elif mark != ",":
                if (yield from source.is_end(i)):
                    return i
            elif not depth and (frame.in_array or (yield from is_key(source, i + 1, frame, declared=False))):
                return i
            i += 1


def value_of(reading: Reading[T]) -> T:
    """What `reading` returns, of a text that has ended: nothing waits there."""
    try:
        next(reading)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("a reader waits although the text has ended")


def _container(text: str, shape: Shape) -> str | None:
    """The object or the array that Python writes as `text`, as JSON text; None if it is none that the schema allows."""
    buffer = Buffer()
    buffer.text, buffer.ended = text, True
    draft, source = Draft(0, exact=False, python=True), Source(buffer)
    kind = "object" if text.lstrip()[0] == "{" else "array"
    if shape.types is None or kind not in shape.types:
        return None
    try:
        end = value_of(ArgumentReader(source, draft).value(value_of(source.blank(0)), shape))
    except (Cut, Refused):
        return None
    return "".join(draft.pieces) if end_of(SPACE, text, end) == len(text) else None
