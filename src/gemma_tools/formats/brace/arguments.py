"""Reads the arguments of one call in the brace notation, guided by the tool's schema.

    key:<escape>text<escape>,n:1,l:[true]}

The result is JSON text, chunk by chunk. Nothing here is recursive, however deep the nesting.
"""

from __future__ import annotations

import re
from typing import Final

from gemma_tools.formats.brace.bare import read_bare
from gemma_tools.formats.brace.follows import QUOTES, closes, declared_key_ahead
from gemma_tools.formats.brace.source import Call, Cut, Source, Unreadable
from gemma_tools.formats.brace.strings import String
from gemma_tools.formats.brace.tokens import WORD
from gemma_tools.formats.escapes import unescape
from gemma_tools.formats.frames import CLOSER_OF, Frames
from gemma_tools.formats.lookahead import end_of
from gemma_tools.formats.reading import Reading
from gemma_tools.schema.shape import Shape, Types

_KEY: Final = re.compile(rf"({WORD}):")
_KEY_END: Final = re.compile(r"[:={}\[\],\"'`<]")
_COLON_OR_OTHER: Final = re.compile(r"[:{}\[\],\"'`<)]")
_COMMAS: Final = re.compile(r"[,\s]*+")


class Arguments:
    """Reads the arguments of `call`; a frame is open for every bracket."""

    def __init__(self, source: Source, call: Call, shape: Shape) -> None:
        self._source = source
        self._buffer = source.buffer
        self._call = call
        self._shape = shape
        self._frames = Frames(call.out, source.dialect.entries)
        self._wrapped = False

    def read(self, pos: int, bracket: str) -> Reading[int]:
        """Read from after the opening `bracket`; return the position after its closing bracket.

        Raises:
            Cut: the text ended before that.
            Unreadable: it is not a call.
        """
        if bracket == "(":
            self._call.repair("round_brackets", "round brackets instead of braces around the arguments", pos - 1, pos)
        frames = self._frames
        frames.open("{", self._shape)
        frames[0].closer = CLOSER_OF[bracket]
        while frames:
            pos = frames.take_plain(self._buffer.text, pos)
            if not frames:
                break
            pos, ahead = yield from self._ahead(pos)
            if ahead == self._source.dialect.end:
                self._call.repair("bracket_missing", "closing brackets are missing before the end tag", pos, pos)
                frames.close_down(0)
                return pos
            frame = frames[-1]
            if ahead == "," and not (frame.in_array and frame.comma):
                pos = self._comma(pos)
            elif ahead in "}])":
                pos = self._close(pos, ahead)
            elif frame.separated:
                pos = yield from self._entry(pos, ahead)
            else:
                pos = yield from self._unseparated(pos, ahead)
        return (yield from self._unwrap(pos)) if self._wrapped else pos

    def _ahead(self, pos: int) -> Reading[tuple[int, str]]:
        """Skip white space; return the next character or token."""
        at, ahead = self._source.look(pos)
        if ahead is None:
            at, ahead = yield from self._source.ahead(at)
        if not ahead:
            raise Cut
        if at > pos:
            self._call.repair("white_space", "white space between the tokens", pos, at)
        return at, ahead

    # Brackets and commas

    def _comma(self, pos: int) -> int:
        frame = self._frames[-1]
        if frame.separated:
            end = end_of(_COMMAS, self._buffer.text, pos)
            self._call.repair("comma_surplus", "a comma without a value before it", pos, pos + 1)
            return end
        frame.comma = True
        return pos + 1

    def _close(self, pos: int, bracket: str) -> int:
        """Handle the closing `bracket` at `pos`."""
        frames = self._frames
        if frames[-1].comma:
            self._call.repair("comma_surplus", "a comma without a value after it", pos, pos)
        if bracket != frames[-1].closer:
            level = frames.level_of(bracket)
            if level >= 0:
                self._call.repair("bracket_missing", "a closing bracket is missing", pos, pos)
                frames.close_down(level + 1)
            elif bracket in "})" and frames[-1].closer in "})":
                self._call.repair("bracket_kind", "a bracket closed by another kind of bracket", pos, pos + 1)
            else:
                self._call.repair("bracket_surplus", "a closing bracket without an opening one", pos, pos + 1)
                frames[-1].comma = False
                return pos + 1
        frames.close_down(len(frames) - 1)
        return pos + 1

    def _unwrap(self, pos: int) -> Reading[int]:
        """Skip the bracket that closes the extra brackets around the arguments."""
        pos, ahead = yield from self._ahead(pos)
        if ahead in "})":
            return pos + 1
        if ahead == self._source.dialect.end:
            self._call.repair("bracket_missing", "closing brackets are missing before the end tag", pos, pos)
            return pos
        raise Unreadable(pos, "a closing bracket is missing")

    # Entries

    def _entry(self, pos: int, ahead: str) -> Reading[int]:
        """Read the entry at `pos`; for a container only its opening bracket."""
        frames = self._frames
        frame = frames[-1]
        if frame.in_array:
            if frame.filled:
                self._call.out.append(", ")
            return (yield from self._value(pos, ahead, frame.next_element()))
        if ahead in "{(" and len(frames) == 1 and not frame.filled and not self._wrapped:
            self._call.repair("brackets_twice", "the arguments are in two pairs of brackets", pos, pos + 1)
            self._wrapped = True
            frame.closer = CLOSER_OF[ahead]
            return pos + 1
        start = pos
        plain = _KEY.match(self._buffer.text, pos)
        if plain:
            key, pos = plain[1], plain.end()
            plain = None
        else:
            pos, key = yield from self._key(pos, ahead)
        key = self._source.unbreak(key)
        if key in frame.keys:
            self._call.repair("key_twice", "a key was written twice; the last value is used", start, pos)
        frames.put_key(key)
        pos, ahead = yield from self._ahead(pos)
        return (yield from self._value(pos, ahead, frame.shape.member(key)))

    def _unseparated(self, pos: int, ahead: str) -> Reading[int]:
        """Where a comma belongs after a value: skip a stray delimiter, or check that an entry follows without a comma."""
        delimiter, frame = self._source.dialect.delimiter, self._frames[-1]
        after = pos + len(delimiter)
        if ahead == delimiter and (yield from closes(self._source, self._frames, after, delimiter)):
            self._call.repair("delimiter_stray", "a delimiter that does not belong to a string", pos, after)
            return after
        if frame.in_array:
            follows = ahead == delimiter or ahead in "\"'`{["
        else:
            follows = yield from declared_key_ahead(self._source, frame, pos, ahead)
        if not follows:
            raise Unreadable(pos, "neither a comma nor a closing bracket after a value")
        self._call.repair("comma_missing", "no comma between two values", pos, pos)
        frame.comma = True
        return pos

    # Keys

    def _key(self, pos: int, ahead: str) -> Reading[tuple[int, str]]:
        """Read a key that is not a simple word, and the colon after it."""
        if ahead == self._source.dialect.delimiter or ahead in QUOTES:
            return (yield from self._quoted_key(pos, ahead))
        scan = pos
        while True:
            at, mark = yield from self._source.find(scan, _KEY_END)
            if not mark:
                raise Cut
            if mark == ":":
                break
            if mark == "=":
                if not self._source.strict and not (yield from self._declared_with_equals(pos, at + 1)):
                    self._call.repair("equals", "an equals sign instead of a colon", at, at + 1)
                    break
                scan = at + 1
            elif mark == "<" and not self._source.dialect.token.match(self._buffer.text, at):
                scan = at + 1
                if not self._buffer.ended and self._source.dialect.is_begun(self._buffer.text, at):
                    scan = at
                    yield
            else:
                raise Unreadable(at, "no colon after a key")
        key = self._buffer.text[pos:at]
        if key[-1:].isspace():
            key = key.rstrip()
            self._call.repair("white_space", "white space between the tokens", pos + len(key), at)
        return at + 1, key

    def _quoted_key(self, pos: int, quote: str) -> Reading[tuple[int, str]]:
        self._call.repair("key_quoted", "a key with quotes or delimiters", pos, pos + len(quote))
        start = scan = pos + len(quote)
        while True:
            end = self._buffer.text.find(quote, scan)
            tag = self._buffer.text.find(self._source.dialect.end, scan, end if end >= 0 else len(self._buffer.text))
            if tag >= 0:
                raise Unreadable(tag, "a key without its closing delimiter")
            if end >= 0:
                break
            if self._buffer.ended:
                raise Cut
            scan = max(start, len(self._buffer.text) - self._source.dialect.longest)
            yield
        at, ahead = yield from self._ahead(end + len(quote))
        if ahead == "=":
            self._call.repair("equals", "an equals sign instead of a colon", at, at + 1)
        elif ahead != ":":
            raise Unreadable(at, "no colon after a key")
        key = self._buffer.text[start:end]
        meant = unescape(key) if quote in QUOTES else None
        return at + 1, key if meant is None else meant

    def _declared_with_equals(self, pos: int, scan: int) -> Reading[bool]:
        """Whether the text before the next colon, including an equals sign, is a declared key."""
        shape = self._frames[-1].shape
        if not shape.properties:
            return False
        at, mark = yield from self._source.find(scan, _COLON_OR_OTHER)
        return mark == ":" and shape.declares(self._buffer.text[pos:at].strip())

    # Values

    def _value(self, pos: int, ahead: str, shape: Shape) -> Reading[int]:
        """Read the value at `pos`; for a container only its opening bracket."""
        frames, delimiter, types = self._frames, self._source.dialect.delimiter, shape.types
        if ahead == delimiter and (yield from self._holds_container(pos + len(delimiter), types)):
            self._call.repair("delimiter_stray", "a delimiter that does not belong to a string", pos, pos + len(delimiter))
            pos, ahead = yield from self._ahead(pos + len(delimiter))
        if ahead in "{[":
            frames.open(ahead, shape)
            return pos + 1
        quote = ahead if ahead == delimiter or ahead in QUOTES else ""
        if ahead == "<":
            quote = yield from self._source.spelling(pos, self._source.dialect.foreign)
        if quote and quote != delimiter:
            self._call.repair("quotes", "a string in quotes instead of delimiters", pos, pos + len(quote))
        if quote:
            string = String(self._source, self._call, self._frames, quote, types, pos + len(quote))
            pos = yield from string.read()
        else:
            pos = yield from read_bare(self._source, self._call, self._frames, pos, types)
        frames[-1].filled, frames[-1].comma = True, False
        return pos

    def _holds_container(self, pos: int, types: Types) -> Reading[bool]:
        """Whether the delimited text from `pos` on is an object or a list, if the schema wants one and not a string."""
        if types is None or "string" in types:
            return False
        at, bracket = yield from self._source.ahead(pos)
        if bracket not in ("{", "[") or ("object" if bracket == "{" else "array") not in types:
            return False
        return (yield from self._source.ahead(at + 1))[1] != "\\"
