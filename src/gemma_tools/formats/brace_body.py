"""Read the arguments of one call in the brace notation, driven by the tool's schema while it reads.

What comes out is JSON text, piece by piece; nothing inside a delimited string is an escape, and digits are kept. While a
call is read its text is pinned: positions stay, and `self._pos` is where the call began.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, TypeAlias

from gemma_tools import coerce
from gemma_tools.formats.parsing import GeneratorParser
from gemma_tools.prompt import WORD_JOINER

_WORD: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_NUMERAL: Final = r"-?(?:0|[1-9][0-9]{0,4000})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"


@dataclass(frozen=True)
class Dialect:
    """The control tokens of one family's brace notation."""

    controls: tuple[str, ...]
    start: str
    end: str
    delimiter: str
    turn_start: str
    stop: tuple[str, ...]
    """What ends the model's turn: turn end, end of text, start of a tool's response."""
    literal_delimiter: str
    """What a delimiter inside a string that goes on stands for."""
    channel: tuple[str, str] | None = None
    """Opener and closer of the thought channel."""
    fillers: tuple[str, ...] = ("<pad>", "<bos>")
    """Tokens of the vocabulary that engines let through now and then and that mean nothing."""

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Every spelling that is never text."""
        return tuple(sorted({*self.controls, *self.fillers, "<eos>"}, key=len, reverse=True))

    @cached_property
    def longest(self) -> int:
        """The length of the longest spelling, in characters."""
        return len(self.tokens[0])

    @cached_property
    def token(self) -> re.Pattern[str]:
        """Any of `tokens`."""
        return re.compile("|".join(map(re.escape, self.tokens)))

    @cached_property
    def plain_pair(self) -> re.Pattern[str]:
        """A plain key with a plain value, and the comma behind it if another plain key follows."""
        quote = re.escape(self.delimiter)
        return re.compile(rf"({_WORD}):(?:{quote}([^<]*){quote}|({_NUMERAL}|true|false|null))(?:,(?={_WORD}:)|(?=\}}))")

    @cached_property
    def plain_item(self) -> re.Pattern[str]:
        """A plain value in a list, and the comma behind it if another plain value follows."""
        quote = re.escape(self.delimiter)
        return re.compile(rf"(?:{quote}([^<]*){quote}|({_NUMERAL}|true|false|null))(?:,(?={quote}|[-0-9tfn])|(?=\]))")

    @cached_property
    def in_bare(self) -> re.Pattern[str]:
        """What may end a value written without delimiters."""
        return re.compile(r"[,{}\[\]()]|" + "|".join(map(re.escape, self.tokens)))

    @cached_property
    def envelope_end(self) -> re.Pattern[str]:
        """Where a call that cannot be read ends: behind its end tag, or before what comes instead."""
        others = sorted({self.start, *self.stop}, key=len, reverse=True)
        return re.compile(f"{re.escape(self.end)}|(?={'|'.join(map(re.escape, others))})")

    def is_begun(self, text: str, pos: int) -> bool:
        """Whether what stands from `pos` to the end of `text` could become a token."""
        return len(text) - pos < self.longest and any(token.startswith(text[pos:]) for token in self.tokens)


class Cut(Exception):
    """The text ended inside a call."""


class Unreadable(Exception):
    """What stands at `pos` cannot be read as part of a call."""

    def __init__(self, pos: int, message: str) -> None:
        super().__init__(message)
        self.pos = pos


Position: TypeAlias = Generator[None, None, int]
"""A reader that yields for more text and returns the position behind what it read."""

_KEY: Final = re.compile(rf"({_WORD}):")
_KEY_END: Final = re.compile(r"[:={}\[\],\"'`<]")
_COLON_OR_OTHER: Final = re.compile(r"[:{}\[\],\"'`<)]")
_EXACT_SCALAR: Final = re.compile(rf"{_NUMERAL}|true|false|null")
_SCALAR: Final = re.compile(rf"({_EXACT_SCALAR.pattern})(?=[,}}\])])")
_KEY_AHEAD: Final = re.compile(r"[^:=,{}\[\]()\"'`<]{1,128}")
_SPACE: Final = re.compile(r"\s*")
_CLOSER_OF: Final = {"{": "}", "[": "]", "(": ")"}
_STRING: Final = frozenset(("string",))
_QUOTES: Final = "\"'`"
_RUN: Final = " \t\r\n}])"
_TAIL: Final = 256
"""How far back from an end tag the brackets are looked for that an unclosed string runs into, in characters."""
_COMMA: Final = ", "


@lru_cache(maxsize=16)
def _string_end(quote: str, end: str) -> re.Pattern[str]:
    escaped = r"|\\(?s:.)" if quote in ('"', "'") else ""
    return re.compile(f"{re.escape(quote)}|{re.escape(end)}{escaped}")


@lru_cache(maxsize=64)
def _broken(guarded: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(s[0] + WORD_JOINER + s[1:]) for s in sorted(guarded)))


_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|[\"\\/bfnrt])|\\'|[\\\"\x00-\x1f]")


def _unescape(text: str) -> str:
    """The text of a string in JSON or Python quotes; escapes that JSON does not know stay as they are."""
    if "\\" not in text:
        return text
    value: str = json.loads(f'"{_ESCAPE.sub(_as_json, text)}"')
    return value


def _as_json(match: re.Match[str]) -> str:
    if match[1]:
        return match[0]
    return "'" if match[0] == "\\'" else coerce.quote_json(match[0])[1:-1]


def behind_space(text: str, pos: int) -> int:
    """The position behind the white space at `pos`."""
    # No match object may live on across a yield: it would hold on to the text.
    space = _SPACE.match(text, pos)
    return space.end() if space else pos


class BodyReader(GeneratorParser):
    """The reader of one call's arguments; a subclass reads what is around calls."""

    def __init__(self, dialect: Dialect, *, strict: bool, guarded: Collection[str]) -> None:
        super().__init__()
        self._dialect = dialect
        self._strict = strict
        self._guarded = frozenset(guarded)
        self._name: str | None = None
        self._live = False
        self._out: list[str] = []
        self._repairs: dict[str, str] = {}
        self._root: Mapping[str, Any] = {}
        self._node: coerce.Schema | None = None
        self._brackets: list[str] = []

    def _begin(self, name: str | None, *, live: bool) -> None:
        """A call begins. A live one is announced now and its arguments as they are read; another is held back."""
        self._name = name
        self._live = live
        self._out = []
        self._repairs = {}
        if live and name is not None:
            self._start_call(name)

    def _finish_call(self) -> None:
        assert self._name is not None
        if not self._live:
            self._start_call(self._name)
            for kind, message in self._repairs.items():
                self._emit_problem(kind, message, index=self._opened - 1)
        self._emit_arguments("".join(self._out))
        self._end_call()

    def _repair(self, kind: str, message: str, pos: int) -> None:
        """Report a departure from the exact notation, once a call; refuse the call where only that is taken."""
        if self._strict:
            raise Unreadable(pos, message)
        if kind not in self._repairs:
            self._repairs[kind] = message
            if self._live:
                self._emit_problem(kind, message, index=self._opened - 1)

    def _more(self) -> Generator[None, None, None]:
        """Wait for more text, having told what is certain."""
        if self._ended:
            raise Cut
        if self._live and self._out:
            self._emit_arguments("".join(self._out))
            self._out.clear()
        yield

    def _unbreak(self, text: str) -> str:
        if not self._guarded or WORD_JOINER not in text:
            return text
        return _broken(self._guarded).sub(lambda m: m[0].replace(WORD_JOINER, "", 1), text)

    def _body(self, pos: int, bracket: str, schema: Mapping[str, Any]) -> Position:
        """Read the arguments from behind the opening `bracket`; return the position behind the one that closes them.

        Raises:
            Cut: the text ended before.
            Unreadable: it is no call.
        """
        delimiter, width, end_tag = self._dialect.delimiter, len(self._dialect.delimiter), self._dialect.end
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
                    if key in keys or (types == _STRING if value is None else not textual):
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
                        text = ""
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
                    if types == _STRING if value is None else not textual:
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
                if text.startswith(delimiter, pos):
                    end = text.find(delimiter, pos + width)
                    behind = end + width
                    mark = text[behind : behind + 1]
                    if end >= 0 and (mark == closer or (mark == "," and (in_array or _KEY.match(text, behind + 1)))):
                        value = text[pos + width : end]
                        plain_text = (types is None or "string" in types) and not self._guarded
                        out.append(quote_json(value) if plain_text else self._typed(value, types, pos))
                        pos = behind
                    else:
                        self._node, text = node, ""
                        pos = yield from self._string(pos + width, delimiter, types)
                else:
                    scalar = _SCALAR.match(text, pos)
                    if scalar and types != _STRING:
                        out.append(coerce.bare(scalar[1], types) or coerce.quote_json(scalar[1]))
                        pos = scalar.end()
                    else:
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
                            if in_array:
                                child = coerce.element(node, root)
                                if not plain_item.match(self._text, pos):
                                    pos, ahead = yield from self._ahead(pos)
                                if ahead not in "}])" and ahead != end_tag:
                                    expect_value = True
                                    continue
                            else:
                                continue
                        else:
                            self._node = node
                            pos = yield from self._other_value(pos, ahead, types)
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

    def _ahead(self, pos: int) -> Generator[None, None, tuple[int, str]]:
        """Pass over white space; return the position and what stands there: a control token, or one character."""
        while True:
            at = behind_space(self._text, pos)
            if at < len(self._text):
                if at > pos:
                    self._repair("white_space", "white space between the tokens", pos)
                if self._text[at] != "<":
                    return at, self._text[at]
                token = self._dialect.token.match(self._text, at)
                if token:
                    return at, token[0]
                if self._ended or not self._dialect.is_begun(self._text, at):
                    return at, "<"
            elif at > pos:
                pos = at - 1
            yield from self._more()

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
        if ahead == self._dialect.delimiter or ahead in _QUOTES:
            return (yield from self._quoted_key(pos, ahead))
        scan = pos
        while True:
            found = _KEY_END.search(self._text, scan)
            if found is None:
                scan = len(self._text)
                yield from self._more()
                continue
            at = found.start()
            if found[0] == ":":
                break
            if found[0] == "=":
                if not self._strict and not (yield from self._declared_with_equals(pos, found.end())):
                    self._repair("equals", "an equals sign instead of a colon", at)
                    break
                scan = found.end()
            elif found[0] == "<" and not self._dialect.token.match(self._text, at):
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
            if end >= 0:
                break
            scan = max(start, len(self._text) - len(quote) + 1)
            yield from self._more()
        at, ahead = yield from self._ahead(end + len(quote))
        if ahead == "=":
            self._repair("equals", "an equals sign instead of a colon", at)
        elif ahead != ":":
            raise Unreadable(at, "no colon behind a key")
        key = self._text[start:end]
        return at + 1, _unescape(key) if quote in _QUOTES else key

    def _declared_with_equals(self, pos: int, scan: int) -> Generator[None, None, bool]:
        """Whether what stands before the next colon, equals sign included, is a declared key."""
        if self._node is None or not self._node.get("properties"):
            return False
        while True:
            found = _COLON_OR_OTHER.search(self._text, scan)
            if found:
                key = self._text[pos : found.start()].strip()
                return found[0] == ":" and coerce.declares(self._node, key, self._root)
            if self._ended:
                return False
            scan = len(self._text)
            yield from self._more()

    def _key_follows(self, pos: int, ahead: str, *, declared: bool) -> Generator[None, None, bool]:
        """Whether a key and its colon stand at `pos`, and a `declared` one where that is asked."""
        quote = ahead if ahead == self._dialect.delimiter or ahead in _QUOTES else ""
        start = pos + len(quote)
        while True:
            found = _KEY_AHEAD.match(self._text, start)
            if self._ended or (found.end() < len(self._text) if found else start < len(self._text)):
                break
            yield from self._more()
        if not found:
            return False
        at, mark = yield from self._ahead_quietly(found.end())
        if mark == quote:
            at, mark = yield from self._ahead_quietly(at + len(quote))
        if mark not in (":", "="):
            return False
        return not declared or coerce.declares(self._node, found[0].strip(), self._root)

    def _closes(self, pos: int, quote: str) -> Generator[None, None, bool]:
        """Whether what stands at `pos`, behind a `quote` or delimiter, shows that it closed its string."""
        at, ahead = yield from self._ahead_quietly(pos)
        in_array = self._brackets[-1] == "]"
        if ahead == ",":
            if in_array:
                return True
            at, ahead = yield from self._ahead_quietly(at + 1)
            return ahead in ",}])" or ahead == self._dialect.end or (yield from self._key_follows(at, ahead, declared=False))
        if ahead in "}])":
            return ahead == "}" or not ahead or ahead in self._brackets
        if ahead in self._dialect.tokens and ahead != self._dialect.delimiter:
            return True
        if ahead == self._dialect.delimiter and ahead != quote:
            return (yield from self._closes(at + len(ahead), ahead))
        return not in_array and (yield from self._key_follows(at, ahead, declared=True))

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

    def _typed(self, text: str, types: frozenset[str] | None, pos: int) -> str:
        """JSON text for the text of a string."""
        if types is not None and "string" not in types:
            self._repair("type", "a string where the schema says otherwise", pos)
        return coerce.delimited(self._unbreak(text), types)

    def _other_value(self, pos: int, ahead: str, types: frozenset[str] | None) -> Position:
        """Read a value that is neither a plain scalar nor a container."""
        if ahead == self._dialect.delimiter:
            return (yield from self._string(pos + len(ahead), ahead, types))
        if ahead in _QUOTES:
            self._repair("quotes", "a string in quotes instead of delimiters", pos)
            return (yield from self._string(pos + 1, ahead, types))
        return (yield from self._bare(pos, types))

    def _string(self, pos: int, quote: str, types: frozenset[str] | None) -> Position:
        """Read a string from behind its opening `quote`.

        A quote closes it when what follows shows so, else it is text. An end tag inside a string that is closed later is
        text; a string that is never closed ends at its last end tag, or at the first behind which a new call begins, and
        the brackets before that tag are not part of it.
        """
        dialect, end_tag = self._dialect, self._dialect.end
        delimited = quote == dialect.delimiter
        streams = delimited and (types is None or "string" in types)
        pattern = _string_end(quote, end_tag)
        pieces: list[str] = []
        said = scan = pos
        first_tag = last_tag = split = -1
        closed = False
        if streams:
            self._out.append('"')
        while True:
            found = pattern.search(self._text, scan)
            if found is None:
                if self._ended:
                    break
                if first_tag < 0:
                    certain = self._certain_string(said, quote)
                    self._say_string(pieces, said, certain, streams)
                    said = certain
                scan = max(scan, len(self._text) - dialect.longest)
                yield from self._more()
                continue
            at, scan = found.start(), found.end()
            if found[0] == end_tag:
                first_tag = at if first_tag < 0 else first_tag
                last_tag = at
                if split < 0 and (yield from self._new_call(scan)):
                    split = at
            elif found[0] == quote:
                closed = yield from self._closes(scan, quote)
                if closed:
                    break
                if split >= 0:
                    break
                self._repair("delimiter_in_string", "a delimiter inside a string that goes on", at)
                self._say_string(pieces, said, at, streams)
                literal = dialect.literal_delimiter if delimited else quote
                if streams:
                    self._out.append(coerce.quote_json(literal)[1:-1])
                else:
                    pieces.append(literal if quote not in ('"', "'") else "\\" + literal)
                said, first_tag = scan, -1
        if closed:
            stop, behind = at, scan
        else:
            tag = split if split >= 0 else last_tag
            if tag < said:
                raise Cut
            self._repair("string_open", "a string that was not closed", tag)
            stop = behind = self._before_brackets(said, tag)
        self._say_string(pieces, said, stop, streams)
        if streams:
            self._out.append('"')
        else:
            text = "".join(pieces)
            self._out.append(self._typed(_unescape(text) if quote in ('"', "'") else text, types, stop))
        return behind

    def _say_string(self, pieces: list[str], start: int, end: int, streams: bool) -> None:
        if end > start:
            text = self._text[start:end]
            if streams:
                self._out.append(coerce.quote_json(self._unbreak(text))[1:-1])
            else:
                pieces.append(text)

    def _certain_string(self, start: int, quote: str) -> int:
        """How far a string's text is certain: not a begun token, nor the brackets that an end tag would take away."""
        text = self._text
        end = len(text)
        at = text.rfind("<", max(start, end - self._dialect.longest))
        if at >= 0 and (self._dialect.is_begun(text, at) or self._is_broken_begun(text[at:])):
            end = at
        floor = max(start, end - _TAIL)
        return floor + len(text[floor:end].rstrip(_RUN))

    def _is_broken_begun(self, tail: str) -> bool:
        return any((s[0] + WORD_JOINER + s[1:]).startswith(tail) for s in self._guarded)

    def _before_brackets(self, start: int, tag: int) -> int:
        """Where the brackets before `tag` begin that close what is open."""
        text, at = self._text, tag
        floor = max(start, tag - _TAIL)
        for closer in self._brackets:
            bracket = floor + len(text[floor:at].rstrip()) - 1
            if bracket < floor or text[bracket] != closer:
                break
            at = bracket
        return at

    def _new_call(self, pos: int) -> Generator[None, None, bool]:
        """Whether the start tag of another call stands at `pos`."""
        while True:
            at = behind_space(self._text, pos)
            if self._text.startswith(self._dialect.start, at):
                return True
            if self._ended or not self._dialect.start.startswith(self._text[at : at + len(self._dialect.start)]):
                return False
            yield from self._more()

    def _bare(self, pos: int, types: frozenset[str] | None) -> Position:
        """Read a value without delimiters: a number or constant in some spelling, or a string that lost them.

        It ends at the bracket that closes its container, at a delimiter that closes it, and at a comma; for a string that
        must be the comma before the next declared key.
        """
        dialect = self._dialect
        in_array = self._brackets[-1] == "]"
        textual = types is None or "string" in types
        scan, depth = pos, 0
        while True:
            found = dialect.in_bare.search(self._text, scan)
            if found is None:
                scan = max(scan, len(self._text) - dialect.longest)
                yield from self._more()
                continue
            at, scan, mark = found.start(), found.end(), found[0]
            if mark == dialect.delimiter:
                if (yield from self._closes(scan, mark)):
                    self._repair("delimiter_missing", "a string that lost its opening delimiter", pos)
                    self._out.append(self._typed(self._text[pos:at].strip(), types, pos))
                    return scan
            elif mark in "([{":
                depth += 1
            elif types != _STRING and not depth and mark in ",}])" and _EXACT_SCALAR.fullmatch(self._text, pos, at):
                break
            elif mark in ")]}":
                if depth:
                    depth -= 1
                elif mark in self._brackets:
                    break
            elif mark != ",":
                break
            elif not depth or not textual:
                if in_array or not textual:
                    break
                ahead_at, ahead = yield from self._ahead_quietly(scan)
                known = self._node is not None and "properties" in self._node
                if ahead in "}])" or (yield from self._key_follows(ahead_at, ahead, declared=known)):
                    break
        written = self._text[pos:at]
        text = written.strip()
        if text != written:
            self._repair("white_space", "white space between the tokens", pos)
        value = coerce.bare(text, types)
        if not text:
            if not textual:
                raise Unreadable(pos, "a value is missing")
            self._repair("value_missing", "a value is missing; an empty string was taken", pos)
            value = '""'
        elif value is None or (value[0] == '"' and textual):
            self._repair("string_bare", "a string without delimiters", pos)
            value = coerce.quote_json(self._unbreak(text)) if value is None else value
        elif value != text:
            self._repair("literal", "a number or constant not in JSON's spelling", pos)
        self._out.append(value)
        return at

    def _ahead_quietly(self, pos: int) -> Generator[None, None, tuple[int, str]]:
        """`_ahead` without taking white space, which may be part of a string, for a repair; "" is the end of the text."""
        while True:
            at = behind_space(self._text, pos)
            if at == len(self._text) and self._ended:
                return at, ""
            if at < len(self._text):
                token = self._dialect.token.match(self._text, at)
                if token:
                    return at, token[0]
                if self._ended or self._text[at] != "<" or not self._dialect.is_begun(self._text, at):
                    return at, self._text[at]
            yield from self._more()
