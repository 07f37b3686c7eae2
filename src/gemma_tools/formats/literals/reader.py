"""Read values as Python and JSON write them, piece by piece, and give them out as JSON text typed by a schema.

    location='Paris', days=3, tags=["a", None])        the arguments of a Python call
    "location": "Paris", "days": 3}                    the members of a JSON object

Nothing here calls itself, however deep the text is nested, and every character is looked at a bounded number of times.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Mapping
from functools import lru_cache
from typing import Final, TypeAlias

from gemma_tools.formats.literals.escapes import inner_json, unescape
from gemma_tools.formats.parsing import GeneratorParser, Reading
from gemma_tools.prompt import WORD_JOINER
from gemma_tools.schema.coerce import Schema, bare, declares, delimited, element, member, types_of

Step: TypeAlias = Generator[None, None, int]
"""A reader: it yields for more text, and returns the position behind what it read."""
Question: TypeAlias = Generator[None, None, bool]

_PLAIN_TEXT: Final = r"\x00-\x1f\u2060\ud800-\udfff"
_TEXT: Final = rf"\"([^\"\\{_PLAIN_TEXT}]*+)\"|'([^'\"\\{_PLAIN_TEXT}]*+)'"
_NUMBER: Final = r"-?(?:0|[1-9][0-9]{0,99}+)(?:\.[0-9]{1,99}+)?(?:[eE][+-]?[0-9]{1,2}+)?"  # no more than a float can hold
_VALUE: Final = rf"(?:(?:{_TEXT}|({_NUMBER})|(True|False|None|true|false|null))\s*+([,)\]}}])|([\[{{]))"
_ARGUMENT: Final = re.compile(rf"\s*+([^\W\d]\w*+)()\s*+=\s*+{_VALUE}")
_MEMBER: Final = re.compile(rf"\s*+(?:{_TEXT})\s*+:\s*+{_VALUE}")
_ELEMENT: Final = re.compile(rf"\s*+()(){_VALUE}")
_BLANK: Final = re.compile(r"\s*+")
_WORD: Final = re.compile(r"[^\s,()\[\]{}<`\"'=:]*+")
_TOKEN: Final = re.compile(r"[^\s,()\[\]{}<`]*+")
_BARE_END: Final = re.compile(r"[,()\[\]{}<`]")
_QUOTE_START: Final = re.compile(r"[rRbBuUfF]{0,2}[\"']")
_PLAIN: Final = {quote: re.compile(rf"[^{quote}\\]*+") for quote in "\"'"}
_PLAIN_GUARDED: Final = {quote: re.compile(rf"[^{quote}\\<]*+") for quote in "\"'"}
_PYTHON_WORDS: Final = {"True": "true", "False": "false", "None": "null"}
_JSON_WORDS: Final = frozenset(("true", "false", "null"))
_ANY: Final[frozenset[str]] = frozenset()
_STRING: Final = frozenset(("string",))
_NUMBERS: Final = frozenset(("integer", "number"))
_TYPE_OF_WORD: Final = {"true": frozenset(("boolean",)), "false": frozenset(("boolean",)), "null": frozenset(("null",))}
_GROUPED_DIGITS: Final = re.compile(r"[+-]?[0-9]+(?:_[0-9]+)+(?:\.[0-9]+)?")
_FENCE: Final = "```"
_LONGEST_KEY: Final = 256


class Cut(Exception):
    """The text, or the turn, ended inside a call; `at` is where."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class Refused(Exception):
    """This is no call, or not one to be read, and nothing of it was given out."""


class _Frame:
    """An open bracket, and what stands in it: `entry` tells a call's arguments, an object and an array apart."""

    __slots__ = ("close", "comma", "entry", "filled", "keys", "node", "placed", "properties", "spread", "types")

    def __init__(self, close: str, entry: re.Pattern[str], node: Schema | None, types: frozenset[str] | None = None) -> None:
        self.close = close
        self.entry = entry
        self.node = node
        self.types = types
        properties = node.get("properties") if node else None
        self.properties: Mapping[str, object] = properties if isinstance(properties, dict) else {}
        self.keys: set[str] = set()
        self.placed = 0
        self.filled = False
        self.comma = False
        self.spread = False


@lru_cache(maxsize=64)
def _broken_spellings(guarded: frozenset[str]) -> Mapping[str, str]:
    return {spelling[0] + WORD_JOINER + spelling[1:]: spelling for spelling in guarded}


class LiteralReader(GeneratorParser):
    """Reads brackets full of values into `_pieces` of JSON text; a subclass says what to read, and where.

    While it waits inside a value `_pos` is 0, or the text has ended, so that positions stay good across a wait.
    """

    _stops: tuple[str, ...] = ()
    """The control tokens that end a text as its end does."""

    def __init__(self, *, exact: bool, guarded: Collection[str] = ()) -> None:
        super().__init__()
        self._exact = exact
        self._broken = _broken_spellings(frozenset(guarded))
        self._plain = _PLAIN_GUARDED if self._broken else _PLAIN
        self._pieces: list[str] = []
        self._python = True
        self._listed = False
        self._live = False
        self._root: Schema = {}
        self._repairs: dict[str, str] = {}
        self._fault = ""
        self._seen = 0

    def _flush(self) -> None:
        """Called before every wait: `_pieces` may be given out."""

    def _repair(self, kind: str, message: str) -> None:
        """Note a departure from the exact notation; where only that is read, the call is refused."""
        if self._exact:
            self._spoil(message)
        self._repairs.setdefault(kind, message)

    def _spoil(self, reason: str) -> None:
        """The call cannot be taken: refuse it or, if its start was given out, read on to find its end."""
        if not self._live:
            raise Refused
        self._fault = self._fault or reason

    # Looking ahead

    def _wait(self) -> Reading:
        self._flush()
        yield

    def _run(self, i: int, run: re.Pattern[str]) -> Step:
        """Where the run of characters at `i` ends."""
        while True:
            i = _end(run, self._text, i)
            if i < len(self._text) or self._ended:
                return i
            yield from self._wait()

    def _short_run(self, start: int, run: re.Pattern[str], limit: int) -> Step:
        """Where the run of characters at `start` ends, or `limit` characters on."""
        while True:
            end = _end(run, self._text, start, start + limit)
            if end < len(self._text) or end - start == limit or self._ended:
                return end
            yield from self._wait()

    def _blank(self, i: int) -> Step:
        """Where the next character stands that is not white space; without one the call is cut."""
        if i < len(self._text) and not self._text[i].isspace():
            return i
        i = _end(_BLANK, self._text, i)
        if i == len(self._text):
            i = yield from self._run(i, _BLANK)
            if i == len(self._text):
                raise Cut(i)
        return i

    def _ahead(self, i: int) -> Generator[None, None, tuple[int, str]]:
        """The next character that is not white space, and where it stands; none where the text or the turn ends."""
        i = yield from self._run(i, _BLANK)
        if self._text.startswith("<", i) and (yield from self._is_stop(i)):
            return i, ""
        return i, self._text[i : i + 1]

    def _have(self, i: int, count: int) -> Reading:
        """Wait until there are `count` characters from `i` on, if there are so many."""
        while len(self._text) - i < count and not self._ended:
            yield from self._wait()

    def _is_stop(self, i: int) -> Question:
        while not self._text.startswith(self._stops, i):
            tail = self._text[i : i + 16]
            if self._ended or not any(stop.startswith(tail) for stop in self._stops):
                return False
            yield from self._wait()
        return True

    def _is_end(self, i: int) -> Question:
        """Whether a token that ends the turn stands at `i`, or the end of a code fence."""
        if self._text.startswith("`", i):
            yield from self._have(i, len(_FENCE))
            return self._text.startswith(_FENCE, i)
        return self._text.startswith("<", i) and (yield from self._is_stop(i))

    # Brackets

    def _arguments(self, i: int, node: Schema | None) -> Step:
        """The arguments of a Python call, from behind its opening bracket to behind its closing one."""
        self._python = True
        self._pieces.append("{")
        return (yield from self._read_frames(i, [_Frame(")", _ARGUMENT, node)]))

    def _object(self, i: int, node: Schema | None) -> Step:
        """The members of a JSON object, from behind its opening bracket to behind its closing one."""
        self._python = False
        self._pieces.append("{")
        return (yield from self._read_frames(i, [_Frame("}", _MEMBER, node)]))

    def _any_value(self, i: int) -> Step:
        """One JSON value of any type."""
        self._python = False
        frames = [_Frame("", _ELEMENT, None)]
        i = yield from self._value(i, None, frames)
        return (yield from self._read_frames(i, frames[1:]))

    def _json_text(self, i: int) -> Generator[None, None, tuple[int, str]]:
        """The text of the JSON string at `i`, and the position behind it."""
        self._python = False
        return (yield from self._whole_string(i, _Frame("", _ELEMENT, None)))

    def _read_frames(self, i: int, frames: list[_Frame]) -> Step:
        while True:
            self._seen = i = self._plain_entries(i, frames)
            if not frames:
                return i
            frame = frames[-1]
            i = yield from self._blank(i)
            mark = self._text[i]
            if mark == ",":
                if frame.comma or not frame.filled:
                    self._repair("comma_surplus", "a comma with nothing before it")
                frame.comma = True
                i += 1
            elif mark in ")]}":
                i = yield from self._close(i, frames)
            elif frame.filled and not frame.comma and (yield from self._is_end(i)):
                self._repair("bracket_missing", "closing brackets are missing")
                self._close_down(frames, 0)
            elif mark == "<" and (yield from self._is_stop(i)):
                raise Cut(i)
            else:
                if frame.filled and not frame.comma:
                    self._repair("comma_missing", "a comma is missing")
                i = yield from self._entry(i, frames)

    def _close(self, i: int, frames: list[_Frame]) -> Step:
        """Act on the closing bracket at `i`."""
        mark = self._text[i]
        if frames[-1].comma:
            self._repair("comma_surplus", "a comma with nothing behind it")
        level = len(frames) - 1
        while level >= 0 and frames[level].close != mark:
            level -= 1
        if level < len(frames) - 1:
            if level < 0 and not (self._listed and mark == "]" and (yield from self._ahead(i + 1))[1] not in (",", ")", "}")):
                self._repair("bracket_surplus", "a closing bracket that closes nothing")
                return i + 1
            self._repair("bracket_missing", "closing brackets are missing")
        self._close_down(frames, max(level, 0))
        return i if level < 0 else i + 1

    def _close_down(self, frames: list[_Frame], level: int) -> None:
        while len(frames) > level:
            frame = frames.pop()
            if frame.spread:
                frames[-1].filled, frames[-1].comma = frame.filled, False
                continue
            self._pieces.append("]" if frame.entry is _ELEMENT else "}")
            if frames:
                frames[-1].filled, frames[-1].comma = True, False

    # Entries

    def _plain_entries(self, i: int, frames: list[_Frame]) -> int:
        """Take the entries at `i` that need no second look, and return the position behind them."""
        text, python, put = self._text, self._python, self._pieces.append
        while frames:
            frame = frames[-1]
            plain = frame.entry.match(text, i)
            if plain is None:
                return i
            key, single_key, double, single, digits, word, mark, opening = plain.groups()
            if key is None:
                key = single_key
            if key in frame.keys or (frame.filled and not frame.comma):
                return i
            if not python and (single is not None or single_key):
                return i
            kinds = _ANY
            if double is not None:
                value, kinds = f'"{double}"', _STRING
            elif single is not None:
                value, kinds = f'"{single}"', _STRING
            elif digits is not None:
                value, kinds = digits, _NUMBERS
            elif opening:
                value = opening
            else:
                value = _PYTHON_WORDS.get(word, word)
                kinds = _TYPE_OF_WORD[value]
                if (value is word) is python:
                    return i
            if kinds and not self._allows(frame, key, kinds):
                return i
            separator = ", " if frame.filled else ""
            if frame.entry is _ELEMENT:
                put(separator + value)
            else:
                frame.keys.add(key)
                put(f'{separator}"{key}": {value}')
            frame.filled = True
            frame.comma = mark == ","
            i = plain.end()
            if opening:
                node = frame.node if frame.entry is _ELEMENT else member(frame.node, key, self._root)
                self._open_frame(frames, opening, node)
            elif mark == frame.close:
                self._close_down(frames, len(frames) - 1)
            elif mark != ",":
                return i - 1
        return i

    def _allows(self, frame: _Frame, key: str, kinds: frozenset[str]) -> bool:
        """Whether the schema allows a value of one of `kinds` for `key`."""
        if frame.entry is _ELEMENT:
            types = frame.types
        else:
            node = frame.properties.get(key)
            if isinstance(node, dict) and "$ref" not in node:
                named = node.get("type")
                if named.__class__ is str and named in kinds:
                    return True
            types = types_of(member(frame.node, key, self._root), self._root)
        return types is None or not types.isdisjoint(kinds)

    def _open_frame(self, frames: list[_Frame], opening: str, node: Schema | None) -> None:
        if opening == "{":
            frames.append(_Frame("}", _MEMBER, node))
        else:
            items = element(node, self._root)
            frames.append(_Frame("]" if opening == "[" else ")", _ELEMENT, items, types_of(items, self._root)))

    def _entry(self, i: int, frames: list[_Frame]) -> Step:
        """One value with its key, where it has one; of a container only the opening bracket."""
        frame = frames[-1]
        if frame.entry is _ELEMENT:
            if frame.filled:
                self._pieces.append(", ")
            return (yield from self._value(i, frame.node, frames))
        i, key, text = yield from self._key(i, frame)
        named = key is not None
        if key is not None:
            i = yield from self._blank(i)
        else:
            inside = (yield from self._spread(i, frame)) if text is None else None
            if inside is not None:
                inner = _Frame("}", _MEMBER, frame.node)
                inner.spread, inner.keys = True, frame.keys
                frames.append(inner)
                return inside
            key = self._place(frame)
        if key in frame.keys:
            self._repair("key_twice", f"{key!r} was given twice: the last one counts")
        frame.keys.add(key)
        self._pieces.append(f'{", " if frame.filled else ""}"{inner_json(key)}": ')
        node = member(frame.node, key, self._root)
        if text is not None:
            self._pieces.append(self._typed(text, types_of(node, self._root)))
            frame.filled, frame.comma = True, False
            return i
        return (yield from self._value(i, node, frames, named=named))

    def _key(self, i: int, frame: _Frame) -> Generator[None, None, tuple[int, str | None, str | None]]:
        """The key at `i`, from behind its sign; or no key and the string that was read; or neither, and nothing read."""
        if self._text[i] in "\"'":
            end, text = yield from self._whole_string(i, frame)
        else:
            end, text = (yield from self._run(i, _WORD)), None
        behind, sign = yield from self._ahead(end)
        if sign not in (":", "=") or (text is None and end == i):
            return (i if text is None else end), None, text
        argument = frame.entry is _ARGUMENT
        if argument is not (sign == "="):
            self._repair("equals", f"{sign!r} behind a key")
        if argument is not (text is None):
            self._repair("key_quoted" if argument else "key_bare", f"a key with{'' if argument else 'out'} quotes")
        return behind + 1, self._text[i:end] if text is None else text, None

    def _place(self, frame: _Frame) -> str:
        """The name of a value without one, by the order of the schema."""
        names = list(frame.properties)
        if frame.entry is not _ARGUMENT or frame.placed >= len(names) or len(frame.keys) > frame.placed:
            self._spoil("a value has no name")
            return ""
        self._repair("positional", "arguments without names were taken in the order of the schema")
        frame.placed += 1
        return str(names[frame.placed - 1])

    def _spread(self, i: int, frame: _Frame) -> Generator[None, None, int | None]:
        """The inside of an object that stands for all arguments of a call, as in `f({...})` or `f(**{...})`."""
        if frame.entry is not _ARGUMENT or frame.filled:
            return None
        starred = self._text[i] == "*"
        if starred:
            yield from self._have(i, 3)
            if not self._text.startswith("**{", i):
                return None
            i += 2
        elif self._text[i] == "{":
            first = next(iter(frame.properties), None)
            types = types_of(member(frame.node, first, self._root), self._root) if first is not None else frozenset()
            if types is None or "object" in types:
                return None
        else:
            return None
        self._repair("spread", "an object was taken for the arguments")
        return i + 1

    # Values

    def _value(self, i: int, node: Schema | None, frames: list[_Frame], *, named: bool = True) -> Step:
        """The value at `i`; of a container only the opening bracket."""
        frame, mark = frames[-1], self._text[i]
        if mark in "{[" or (mark == "(" and self._python):
            self._pieces.append("{" if mark == "{" else "[")
            self._open_frame(frames, mark, node)
            return i + 1
        types = types_of(node, self._root)
        quoted = mark in "\"'"
        if mark in "rRbBuUfF":
            yield from self._have(i, 3)
            quoted = _QUOTE_START.match(self._text, i) is not None
        if not quoted:
            i = yield from self._bare_value(i, types, frame, named=named)
        elif types is None or "string" in types:
            self._pieces.append('"')
            i = yield from self._string(i, self._pieces, frame, inner=True)
            self._pieces.append('"')
        else:
            i, text = yield from self._whole_string(i, frame)
            self._pieces.append(self._typed(text, types))
        frame.filled, frame.comma = True, False
        return i

    def _typed(self, text: str, types: frozenset[str] | None) -> str:
        """The text of a quoted string as the schema wants it."""
        value = delimited(text, types)
        if value.startswith('"'):
            return f'"{inner_json(text)}"'
        self._repair("type", "text was read as the type that the schema asks for")
        return value

    def _bare_value(self, i: int, types: frozenset[str] | None, frame: _Frame, *, named: bool) -> Step:
        """A number, a constant, or a string whose quotes are missing."""
        end = yield from self._run(i, _TOKEN)
        follows = (yield from self._ahead(end))[1]
        lexeme = self._text[i:end]
        if self._python and _GROUPED_DIGITS.fullmatch(lexeme):
            lexeme = lexeme.replace("_", "")
        if lexeme and follows in ("", ",", ")", "]", "}", "`") and bare(lexeme, None) is not None:
            value = bare(lexeme, types) or f'"{inner_json(lexeme)}"'
            self._note_literal(lexeme, value)
            self._pieces.append(value)
            return end
        if self._text.startswith("(", end) and lexeme:
            self._spoil("a value is a call of its own")
        if not named and not self._live:
            raise Refused
        end = yield from self._bare_end(end, frame)
        text = self._text[i:end].rstrip()
        if not text:
            self._spoil("a value is missing")
        self._repair("string_bare", "a string without quotes")
        self._pieces.append(bare(text, types) or f'"{inner_json(text)}"')
        return end

    def _note_literal(self, lexeme: str, value: str) -> None:
        if value.startswith('"'):
            self._repair("type", "a value was read as text, as the schema asks for")
        elif lexeme in (_JSON_WORDS if self._python else _PYTHON_WORDS):
            self._repair("literal", "a constant of another notation")
        elif lexeme != value and lexeme not in _PYTHON_WORDS:
            self._repair("literal", "a number in a spelling that JSON does not have")

    def _bare_end(self, i: int, frame: _Frame) -> Step:
        """Where a string without quotes ends: at the comma before the next key, or at the closing bracket."""
        depth = 0
        while True:
            found = _BARE_END.search(self._text, i)
            if found is None:
                i = len(self._text)
                if self._ended:
                    raise Cut(i)
                yield from self._wait()
                continue
            i, mark = found.start(), found[0]
            found = None
            if mark in "([{":
                depth += 1
            elif mark in ")]}":
                if not depth:
                    return i
                depth -= 1
            elif mark != ",":
                if (yield from self._is_end(i)):
                    return i
            elif not depth and (frame.entry is _ELEMENT or (yield from self._is_key(i + 1, frame, declared=False))):
                return i
            i += 1

    def _is_key(self, i: int, frame: _Frame, *, declared: bool) -> Question:
        """Whether a key and its sign come next: a declared one, where the schema declares any (or `declared` is set)."""
        i = yield from self._run(i, _BLANK)
        quote = self._text[i : i + 1]
        start = i + 1 if quote in ('"', "'") else i
        end = yield from self._short_run(start, _WORD, _LONGEST_KEY)
        key = self._text[start:end]
        declared = declared or bool(frame.properties)
        if not key or (declared and not declares(frame.node, key, self._root)):
            return False
        if start > i:
            yield from self._have(end, 1)
            if not self._text.startswith(quote, end):
                return False
            end += 1
        return (yield from self._ahead(end))[1] in (":", "=")

    # Strings

    def _whole_string(self, i: int, frame: _Frame) -> Generator[None, None, tuple[int, str]]:
        parts: list[str] = []
        i = yield from self._string(i, parts, frame, inner=False)
        return i, "".join(parts)

    def _string(self, i: int, out: list[str], frame: _Frame, *, inner: bool) -> Step:
        """The string at `i` into `out`: as it stands inside a JSON string (`inner`), or as text that may be a key."""
        raw = False
        while self._text[i] not in "\"'":
            raw |= self._text[i] in "rR"
            i += 1
        quote = self._text[i]
        yield from self._have(i, 3)
        closer = quote * 3 if self._text.startswith(quote * 3, i) else quote
        if not self._python and (raw or len(closer) > 1 or quote == "'"):
            self._repair("quotes", "a string in Python's notation")
        i += len(closer)
        plain = self._plain[quote]
        while True:
            end = _end(plain, self._text, i)
            if end > i:
                out.append(inner_json(self._text[i:end]) if inner else self._text[i:end])
                i = end
            if i == len(self._text):
                if self._ended:
                    raise Cut(i)
                yield from self._wait()
                continue
            mark = piece = self._text[i]
            if mark == "\\":
                if raw:
                    yield from self._have(i, 2)
                    piece, i = self._text[i : i + 2], min(i + 2, len(self._text))
                else:
                    unescaped = unescape(self._text, i, python=self._python, ended=self._ended)
                    if unescaped is None:
                        yield from self._wait()
                        continue
                    piece, i = unescaped
            elif mark == "<":
                broken = yield from self._spelling(i, self._broken)
                piece = self._broken.get(broken, mark)
                i += len(broken) or 1
            elif len(closer) > 1:
                yield from self._have(i, len(closer))
                if self._text.startswith(closer, i):
                    return i + len(closer)
                i += 1
            else:
                i += 1
                if (yield from self._closes(i, frame, value=inner)):
                    return i
                self._repair("quote_in_string", "a quote inside a string was not escaped")
            if piece:
                out.append(inner_json(piece) if inner else piece)

    def _spelling(self, i: int, spellings: Collection[str]) -> Generator[None, None, str]:
        """Which of `spellings` stands at `i`; nothing if none does."""
        while True:
            found = next((spelling for spelling in spellings if self._text.startswith(spelling, i)), "")
            tail = self._text[i : i + 64]
            if found or self._ended or not any(spelling.startswith(tail) for spelling in spellings):
                return found
            yield from self._wait()

    def _closes(self, i: int, frame: _Frame, *, value: bool) -> Question:
        """Whether the quote before `i` closes its string, by what comes next; one that may be a key closes at a sign too."""
        i, follows = yield from self._ahead(i)
        if follows in ("", ",", ")", "]", "}") or (not value and follows in (":", "=")):
            return True
        if follows == "`":
            return (yield from self._is_end(i))
        if frame.entry is _ELEMENT or not frame.node:
            return False
        return (yield from self._is_key(i, frame, declared=True))


def _end(run: re.Pattern[str], text: str, *span: int) -> int:
    found = run.match(text, *span)
    assert found is not None  # the pattern matches nothing, too
    return found.end()
