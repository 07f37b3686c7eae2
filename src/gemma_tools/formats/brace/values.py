"""Read one value of the brace notation whose end is in doubt: a string, closed or not, or a value without delimiters.

Nothing inside a delimited string is an escape, and digits are kept. While a call is read its text is pinned: positions stay,
and `self._pos` is where the call began.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Generator, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

from gemma_tools.formats.brace.tokens import NUMERAL, Dialect
from gemma_tools.formats.parsing import GeneratorParser
from gemma_tools.prompt import WORD_JOINER
from gemma_tools.schema import coerce


class Cut(Exception):
    """The text ended inside a call."""


class Unreadable(Exception):
    """What stands at `pos` cannot be read as part of a call."""

    def __init__(self, pos: int, message: str) -> None:
        super().__init__(message)
        self.pos = pos


Position: TypeAlias = Generator[None, None, int]
"""A reader that yields for more text and returns the position behind what it read."""

QUOTES: Final = "\"'`"
_ESCAPING: Final = ('"', "'")
"""Quotes in which a backslash is an escape."""
STRING: Final = frozenset(("string",))
SCALAR: Final = re.compile(rf"{NUMERAL}|true|false|null")
_KEY_AHEAD: Final = re.compile(r"[^:=,{}\[\]()\"'`<]{1,128}")
_SPACE: Final = re.compile(r"\s*")
_RUN: Final = " \t\r\n}])"
_TAIL: Final = 256
"""How far back from an end tag the brackets are looked for that an unclosed string runs into, in characters."""
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|[\"\\/bfnrt])|\\'|[\\\"\x00-\x1f]")


# No match object may live on across a yield: it would hold on to the text, and appending to that would copy it.
def find(pattern: re.Pattern[str], text: str, pos: int) -> tuple[int, str] | None:
    """Where `pattern` is next found from `pos` on, and what was found."""
    found = pattern.search(text, pos)
    return (found.start(), found[0]) if found else None


def behind_space(text: str, pos: int) -> int:
    """The position behind the white space at `pos`."""
    space = _SPACE.match(text, pos)
    return space.end() if space else pos


def _behind_key(text: str, pos: int) -> int:
    key = _KEY_AHEAD.match(text, pos)
    return key.end() if key else pos


def unescape(text: str) -> str:
    """The text of a string in JSON or Python quotes; escapes that JSON does not know stay as they are."""
    if "\\" not in text:
        return text
    value: str = json.loads(f'"{_ESCAPE.sub(_as_json, text)}"')
    return value


def _as_json(match: re.Match[str]) -> str:
    if match[1]:
        return match[0]
    return "'" if match[0] == "\\'" else coerce.quote_json(match[0])[1:-1]


@lru_cache(maxsize=16)
def _string_end(quote: str, delimiter: str, end: str) -> re.Pattern[str]:
    escaped = r"|\\(?s:.)" if quote in _ESCAPING else ""
    return re.compile("|".join(map(re.escape, dict.fromkeys((quote, delimiter, end)))) + escaped)


@lru_cache(maxsize=64)
def _broken(guarded: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(s[0] + WORD_JOINER + s[1:]) for s in sorted(guarded)))


class ValueReader(GeneratorParser):
    """The reader of values, and what it keeps of the call that they belong to."""

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

    def _key_follows(self, pos: int, ahead: str, *, declared: bool) -> Generator[None, None, bool]:
        """Whether a key and its colon stand at `pos`, and a `declared` one where that is asked."""
        quote = ahead if ahead == self._dialect.delimiter or ahead in QUOTES else ""
        start = pos + len(quote)
        while True:
            end = _behind_key(self._text, start)
            if self._ended or end < len(self._text):
                break
            yield from self._more()
        if end == start:
            return False
        at, mark = yield from self._ahead_quietly(end)
        if mark == quote:
            at, mark = yield from self._ahead_quietly(at + len(quote))
        if mark not in (":", "="):
            return False
        return not declared or coerce.declares(self._node, self._text[start:end].strip(), self._root)

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

    def _typed(self, text: str, types: frozenset[str] | None, pos: int) -> str:
        """JSON text for the text of a string."""
        if types is not None and "string" not in types:
            self._repair("type", "a string where the schema says otherwise", pos)
        return coerce.delimited(self._unbreak(text), types)

    def _string(self, pos: int, quote: str, types: frozenset[str] | None) -> Position:
        """Read a string from behind its opening `quote`.

        A quote, or a delimiter, closes it when what follows shows so, else it is text. An end tag inside a string that is
        closed later is text; a string that is never closed ends at its last end tag, or at the first behind which a new call
        begins, and the brackets before that tag are not part of it.
        """
        dialect, end_tag = self._dialect, self._dialect.end
        streams = quote == dialect.delimiter and (types is None or "string" in types)
        escapes = quote in _ESCAPING
        pattern = _string_end(quote, dialect.delimiter, end_tag)
        pieces: list[str] = []
        said = scan = pos
        first_tag = last_tag = split = -1
        closed = False
        if streams:
            self._out.append('"')
        while True:
            found = find(pattern, self._text, scan)
            if found is None:
                if self._ended:
                    break
                if first_tag < 0:
                    certain = self._certain_string(said)
                    self._say_string(pieces, said, certain, streams)
                    said = certain
                scan = max(scan, len(self._text) - dialect.longest)
                yield from self._more()
                continue
            at, mark = found
            scan = at + len(mark)
            begun = at - max(0, dialect.delimiter.find(mark))
            if (
                begun < at
                and not self._ended
                and dialect.delimiter.startswith(self._text[begun : begun + len(dialect.delimiter)])
            ):
                # A quotation mark that may turn out to be the middle of a delimiter.
                scan = begun
                yield from self._more()
                continue
            if mark == end_tag:
                first_tag = at if first_tag < 0 else first_tag
                last_tag = at
                if split < 0 and (yield from self._new_call(scan)):
                    split = at
            elif mark in (quote, dialect.delimiter):
                closed = yield from self._closes(scan, mark)
                if closed:
                    break
                if split >= 0:
                    break
                self._repair("delimiter_in_string", "a delimiter inside a string that goes on", at)
                self._say_string(pieces, said, at, streams)
                literal = mark if mark in QUOTES else dialect.literal_delimiter
                if streams:
                    self._out.append(coerce.quote_json(literal)[1:-1])
                else:
                    pieces.append("\\" + literal if escapes and literal in _ESCAPING else literal)
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
            self._out.append(self._typed(unescape(text) if escapes else text, types, stop))
        return behind

    def _say_string(self, pieces: list[str], start: int, end: int, streams: bool) -> None:
        if end > start:
            text = self._text[start:end]
            if streams:
                self._out.append(coerce.quote_json(self._unbreak(text))[1:-1])
            else:
                pieces.append(text)

    def _certain_string(self, start: int) -> int:
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
            found = find(dialect.in_bare, self._text, scan)
            if found is None:
                scan = max(scan, len(self._text) - dialect.longest)
                yield from self._more()
                continue
            at, mark = found
            scan = at + len(mark)
            if mark == dialect.delimiter:
                if (yield from self._closes(scan, mark)):
                    self._repair("delimiter_missing", "a string that lost its opening delimiter", pos)
                    self._out.append(self._typed(self._text[pos:at].strip(), types, pos))
                    return scan
            elif mark in "([{":
                depth += 1
            elif types != STRING and not depth and mark in ",}])" and SCALAR.fullmatch(self._text, pos, at):
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
        if textual and text.endswith('"') and text.count('"') == 1:
            self._repair("delimiter_missing", "a string that lost its opening delimiter", pos)
            text = text[:-1]
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
