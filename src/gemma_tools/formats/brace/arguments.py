"""Read the arguments of one call in the brace notation, driven by the tool's schema while it reads.

What comes out is JSON text, piece by piece.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Any, Final

from gemma_tools.formats.brace.tokens import WORD
from gemma_tools.formats.brace.values import QUOTES, STRING, Position, Unreadable, ValueReader, find, unescape
from gemma_tools.schema import coerce

_KEY: Final = re.compile(rf"({WORD}):")
_KEY_END: Final = re.compile(r"[:={}\[\],\"'`<]")
_COLON_OR_OTHER: Final = re.compile(r"[:{}\[\],\"'`<)]")
_CLOSER_OF: Final = {"{": "}", "[": "]", "(": ")"}
_COMMA: Final = ", "


class BodyReader(ValueReader):
    """The reader of one call's arguments; a subclass reads what is around calls."""

    def _body(self, pos: int, bracket: str, schema: Mapping[str, Any]) -> Position:
        """Read the arguments from behind the opening `bracket`; return the position behind the one that closes them.

        Raises:
            Cut: the text ended before.
            Unreadable: it is no call.
        """
        end_tag = self._dialect.end
        out, quote_json = self._out, coerce.quote_json
        plain_pair, plain_item = self._dialect.plain_pair, self._dialect.plain_item
        if bracket == "(":
            self._repair("round_brackets", "round brackets around the arguments", pos)
        self._root = root = schema
        node = child = coerce.resolve(schema, root)
        closer = _CLOSER_OF[bracket]
        self._brackets = brackets = [closer]
        frames: list[tuple[coerce.Schema | None, set[str]]] = []
        wrapped = False
        keys: set[str] = set()
        in_array = False
        first = True
        expect_value = False
        out.append("{")
        while True:
            text = self._text
            if not expect_value:
                # Most of what models write is plain pairs; what is not is read step by step below.
                complete = False
                while pair := plain_pair.match(text, pos):
                    key, value, lexeme = pair.groups()
                    types = coerce.types_of(coerce.member(node, key, root), root)
                    textual = types is None or "string" in types
                    if key in keys or (types == STRING if value is None else not textual):
                        break
                    json_value = quote_json(value) if value is not None else coerce.bare(lexeme, types) or quote_json(lexeme)
                    out.append(f"{'' if first else _COMMA}{quote_json(key)}: {json_value}")
                    keys.add(key)
                    first = False
                    pos = pair.end()
                    complete = text[pos - 1] != ","
                if not complete:
                    plain = _KEY.match(text, pos)
                    if plain:
                        key, pos = plain[1], plain.end()
                    else:
                        text, pair = "", None
                        pos, ahead = yield from self._ahead(pos)
                        if ahead in "{(" and first and not frames and not wrapped:
                            self._repair("brackets_twice", "the arguments stand in two pairs of brackets", pos)
                            wrapped = True
                            closer = brackets[0] = _CLOSER_OF[ahead]
                            pos += 1
                            continue
                        if ahead == ",":
                            self._repair("comma_surplus", "a comma with nothing behind it", pos)
                            pos += 1
                            continue
                        if ahead in "}])" or ahead == end_tag:
                            if not first:
                                self._repair("comma_surplus", "a comma with nothing behind it", pos)
                            key = None
                        else:
                            self._node = node
                            pos, key = yield from self._key(pos, ahead)
                        text = self._text
                    if key is not None:
                        if self._guarded:
                            key = self._unbreak(key)
                        if key in keys:
                            self._repair("key_twice", "a key was written twice; the last value counts", pos)
                        keys.add(key)
                        out.append(f"{'' if first else _COMMA}{quote_json(key)}: ")
                        child = coerce.member(node, key, root)
                        expect_value = True
            if expect_value and in_array:
                types = coerce.types_of(child, root)
                textual = types is None or "string" in types
                while item := plain_item.match(text, pos):
                    value, lexeme = item.groups()
                    if types == STRING if value is None else not textual:
                        break
                    json_value = quote_json(value) if value is not None else coerce.bare(lexeme, types) or quote_json(lexeme)
                    out.append(json_value if first else _COMMA + json_value)
                    first = False
                    pos = item.end()
                    if text[pos - 1] != ",":
                        expect_value = False
            if expect_value:
                expect_value = False
                types = coerce.types_of(child, root)
                if in_array and not first:
                    out.append(_COMMA)
                first = False
                plain = pair = item = None
                text = ""
                pos, ahead = yield from self._ahead(pos)
                if ahead in "{[":
                    out.append(ahead)
                    pos += 1
                    frames.append((node, keys))
                    closer = _CLOSER_OF[ahead]
                    brackets.append(closer)
                    in_array = ahead == "["
                    node, keys, first = child, set(), True
                    if not in_array:
                        continue
                    child = coerce.element(node, root)
                    if not plain_item.match(self._text, pos):
                        pos, ahead = yield from self._ahead(pos)
                    if ahead not in "}])" and ahead != end_tag:
                        expect_value = True
                        continue
                else:
                    self._node = node
                    pos = yield from self._leaf(pos, ahead, types)
                text = self._text
            # Behind a value, or at a closing bracket.
            while True:
                ahead = text[pos : pos + 1]
                if ahead == ",":
                    pos += 1
                    if in_array:
                        text = ""
                        pos, ahead = yield from self._ahead(pos)
                        if ahead in "}])" or ahead == end_tag:
                            self._repair("comma_surplus", "a comma with nothing behind it", pos)
                            text = self._text
                            continue
                        expect_value = True
                    break
                if ahead != closer:
                    text = ""
                    pos, ahead = yield from self._ahead(pos)
                    text = self._text
                    if ahead == ",":
                        continue
                    if ahead == end_tag:
                        self._repair("bracket_missing", "closing brackets are missing before the end tag", pos)
                        out.extend("]" if c == "]" else "}" for c in reversed(brackets))
                        return pos
                    if ahead not in "}])":
                        text = ""
                        self._node = node
                        pos, separate = yield from self._missing_comma(pos, ahead)
                        text = self._text
                        if not separate:
                            continue
                        expect_value = in_array
                        break
                    if ahead != closer:
                        if ahead in brackets:
                            self._repair("bracket_missing", "a closing bracket is missing", pos)
                            while closer != ahead:
                                out.append("]" if closer == "]" else "}")
                                brackets.pop()
                                node, keys = frames.pop()
                                closer = brackets[-1]
                        elif ahead in "})" and closer in "})":
                            self._repair("bracket_kind", "a bracket closed by one of another kind", pos)
                        else:
                            self._repair("bracket_surplus", "a closing bracket that closes nothing", pos)
                            pos += 1
                            continue
                pos += 1
                out.append("]" if closer == "]" else "}")
                brackets.pop()
                if not brackets:
                    text = ""
                    if wrapped:
                        pos = yield from self._unwrap(pos)
                    return pos
                node, keys = frames.pop()
                closer = brackets[-1]
                in_array, first = closer == "]", False
                if in_array:
                    child = coerce.element(node, root)

    def _unwrap(self, pos: int) -> Position:
        """Pass over the bracket that closes those around the arguments."""
        pos, ahead = yield from self._ahead(pos)
        if ahead in "})":
            return pos + 1
        if ahead == self._dialect.end:
            self._repair("bracket_missing", "closing brackets are missing before the end tag", pos)
            return pos
        raise Unreadable(pos, "a closing bracket is missing")

    def _key(self, pos: int, ahead: str) -> Generator[None, None, tuple[int, str]]:
        """Read a key that is not a plain word, and the colon behind it."""
        if ahead == self._dialect.delimiter or ahead in QUOTES:
            return (yield from self._quoted_key(pos, ahead))
        scan = pos
        while True:
            found = find(_KEY_END, self._text, scan)
            if found is None:
                scan = len(self._text)
                yield from self._more()
                continue
            at, mark = found
            if mark == ":":
                break
            if mark == "=":
                if not self._strict and not (yield from self._declared_with_equals(pos, at + 1)):
                    self._repair("equals", "an equals sign instead of a colon", at)
                    break
                scan = at + 1
            elif mark == "<" and not self._dialect.token.match(self._text, at):
                scan = at + 1
                if not self._ended and self._dialect.is_begun(self._text, at):
                    scan = at
                    yield from self._more()
            else:
                raise Unreadable(at, "no colon behind a key")
        key = self._text[pos:at]
        if key[-1:].isspace():
            self._repair("white_space", "white space between the tokens", at)
            key = key.rstrip()
        return at + 1, key

    def _quoted_key(self, pos: int, quote: str) -> Generator[None, None, tuple[int, str]]:
        self._repair("key_quoted", "a key in quotes or delimiters", pos)
        start = scan = pos + len(quote)
        while True:
            end = self._text.find(quote, scan)
            tag = self._text.find(self._dialect.end, scan, end if end >= 0 else len(self._text))
            if tag >= 0:
                raise Unreadable(tag, "a key that is not closed")
            if end >= 0:
                break
            scan = max(start, len(self._text) - self._dialect.longest)
            yield from self._more()
        at, ahead = yield from self._ahead(end + len(quote))
        if ahead == "=":
            self._repair("equals", "an equals sign instead of a colon", at)
        elif ahead != ":":
            raise Unreadable(at, "no colon behind a key")
        key = self._text[start:end]
        return at + 1, unescape(key) if quote in QUOTES else key

    def _declared_with_equals(self, pos: int, scan: int) -> Generator[None, None, bool]:
        """Whether what stands before the next colon, equals sign included, is a declared key."""
        if self._node is None or not self._node.get("properties"):
            return False
        while True:
            found = find(_COLON_OR_OTHER, self._text, scan)
            if found:
                key = self._text[pos : found[0]].strip()
                return found[1] == ":" and coerce.declares(self._node, key, self._root)
            if self._ended:
                return False
            scan = len(self._text)
            yield from self._more()

    def _missing_comma(self, pos: int, ahead: str) -> Generator[None, None, tuple[int, bool]]:
        """What stands behind a value where a comma belongs: pass over a stray delimiter, or say that a value follows."""
        delimiter = self._dialect.delimiter
        in_array = self._brackets[-1] == "]"
        if ahead == delimiter and (yield from self._closes(pos + len(delimiter), delimiter)):
            self._repair("delimiter_stray", "a delimiter that belongs to no string", pos)
            return pos + len(delimiter), False
        if in_array:
            separate = ahead == delimiter or ahead in "\"'`{["
        else:
            separate = yield from self._key_follows(pos, ahead, declared=True)
        if not separate:
            raise Unreadable(pos, "neither a comma nor a closing bracket behind a value")
        self._repair("comma_missing", "no comma between two values", pos)
        return pos, True

    def _leaf(self, pos: int, ahead: str, types: frozenset[str] | None) -> Position:
        """Read a value that is no container."""
        if ahead == self._dialect.delimiter:
            return (yield from self._string(pos + len(ahead), ahead, types))
        if ahead in QUOTES:
            self._repair("quotes", "a string in quotes instead of delimiters", pos)
            return (yield from self._string(pos + 1, ahead, types))
        return (yield from self._bare(pos, types))
