"""Reads a string whose end may be uncertain: delimited, in quotes, or never closed.

There are no escapes inside a delimited string. A quote or delimiter closes the string if the text after it shows that;
otherwise it is text. An end tag inside a string that is closed later is also text. A string that is never closed ends at its
last end tag, or at the first one before a new call.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from gemma_tools.formats.brace.follows import QUOTES, closes, declared_key_ahead
from gemma_tools.formats.brace.source import CLOSERS, Call, Cut, Source
from gemma_tools.formats.escapes import unescape
from gemma_tools.formats.frames import CLOSER_OF, Frame
from gemma_tools.formats.lookahead import SPACE
from gemma_tools.formats.paths import ends_in_path
from gemma_tools.formats.reading import Reading
from gemma_tools.jsontext import quote_json
from gemma_tools.schema import coerce
from gemma_tools.schema.shape import Types

_ESCAPING: Final = ('"', "'")
"""Quotes in which a backslash is an escape."""
_RUN: Final = " \t\r\n}])"
_TAIL: Final = 256
"""How far to search backwards for the text after an unclosed string, in characters: closing brackets, a comma and
the next key.
"""
_BRACKETS: Final = re.compile(r"([{}\[\]()])\1*+")


@lru_cache(maxsize=32)
def _marks(quote: str, delimiter: str, end: str) -> re.Pattern[str]:
    escaped = r"|\\(?s:.)" if quote in _ESCAPING else ""
    return re.compile("|".join(map(re.escape, dict.fromkeys((quote, delimiter, end)))) + escaped)


def typed(source: Source, call: Call, text: str, types: Types, start: int, end: int) -> str:
    """JSON text for the `text` of a string."""
    if types is not None and "string" not in types:
        call.repair("type", "a string where the schema expects another type", start, end)
    return coerce.delimited(source.unbreak(text), types)


class Brackets:
    """How many brackets a text opened and did not close, by their closing bracket."""

    __slots__ = ("_counted", "open")

    def __init__(self, start: int) -> None:
        self._counted = start
        self.open = {"}": 0, "]": 0, ")": 0}

    def count(self, text: str, end: int) -> None:
        """Go on to `end`."""
        for run in _BRACKETS.finditer(text, self._counted, end):
            bracket, size = run[1], run.end() - run.start()
            closer = CLOSER_OF.get(bracket)
            if closer:
                self.open[closer] += size
            else:
                self.open[bracket] = max(0, self.open[bracket] - size)
        self._counted = max(self._counted, end)


class String:
    """A string from after its opening `quote` on; `read` writes its JSON text and returns the position after it."""

    def __init__(self, source: Source, call: Call, frames: Sequence[Frame], quote: str, types: Types, pos: int) -> None:
        self._source = source
        self._buffer = source.buffer
        self._call = call
        self._frames = frames
        self._quote = quote
        self._types = types
        self._streams = quote == source.dialect.delimiter and (types is None or "string" in types)
        self._marks = _marks(quote, source.dialect.delimiter, source.dialect.end)
        self._start = self._said = self._scan = self._at = pos
        self._pieces: list[str] = []
        self._quotations = 0
        self._brackets = Brackets(pos)
        self._last_tag = self._split = -1
        self._holding = False
        self._keys: tuple[str, ...] | None = None
        self._initials: frozenset[str] | None = None

    def read(self) -> Reading[int]:
        """Read on to the end of the string."""
        if self._streams:
            self._call.out.append('"')
        closed = False
        while not closed:
            mark = self._next()
            if mark is None:
                if self._buffer.ended:
                    return self._finish_open()
                if self._streams and not self._holding:
                    self._say_certain()
                    self._buffer.lane = None if self._is_token_begun() else self._take
                yield
                self._buffer.lane = None
            elif mark == self._source.dialect.end:
                yield from self._note_tag()
            elif mark[0] == "\\":
                closed = yield from self._escape(mark)
            else:
                closed = yield from self._closes(mark)
                if not closed:
                    if self._split >= 0:
                        return self._finish_open()
                    lost = yield from self._lost_end(mark)
                    if lost >= 0:
                        return self._finish_open_at(lost)
                    self._quote_mark(mark)
        self._finish(self._at)
        return self._scan

    # Marks

    def _next(self) -> str | None:
        """The next quote, delimiter, end tag or escape, which then lies from `_at` to `_scan`; None if more text is needed."""
        text, dialect = self._buffer.text, self._source.dialect
        found = self._marks.search(text, self._scan)
        if found is None:
            self._scan = max(self._scan, len(text) - dialect.longest)
            return None
        mark = found[0]
        at = found.start()
        begun = at - max(0, dialect.delimiter.find(mark))
        if begun < at and not self._buffer.ended and dialect.delimiter.startswith(text[begun : begun + len(dialect.delimiter)]):
            # A quotation mark that may turn out to be the middle of a delimiter.
            self._scan = begun
            return None
        self._at, self._scan = at, found.end()
        return mark

    def _note_tag(self) -> Reading[None]:
        """An end tag: text, or the end of a string that is never closed. The text after it is held back until that is known."""
        self._holding = True
        self._last_tag = self._at
        if self._split >= 0:
            return
        at = yield from self._source.run(self._scan, SPACE)
        if (yield from self._source.spelling(at, (self._source.dialect.start,))):
            self._split = self._last_tag

    def _escape(self, mark: str) -> Reading[bool]:
        """A backslash and a character. Returns whether it closes the string: a quote does after the last backslash
        of a path.
        """
        if mark[1] != self._quote:
            return False
        path = ends_in_path(self._buffer.text[max(self._start, self._at - _TAIL) : self._at + 1])
        if not path or not (yield from closes(self._source, self._frames, self._scan, self._quote, quoting=True)):
            return False
        self._at += 1
        return True

    def _closes(self, mark: str) -> Reading[bool]:
        inside = self._quotations % 2 == 1 and self._split < 0 and self._has_opened(self._at)
        return closes(self._source, self._frames, self._scan, mark, quoting=self._quotations > 0, inside=inside)

    def _quote_mark(self, mark: str) -> None:
        """Read the mark as a quotation mark in the text."""
        self._call.repair("delimiter_in_string", "a delimiter inside a string that continues", self._at, self._scan)
        self._say(self._at)
        literal = mark
        if mark == self._source.dialect.delimiter:
            # Inside JSON or code that the text itself began, a delimiter means a quotation mark in either family.
            literal = '"' if self._has_opened(self._at) else self._source.dialect.literal_delimiter
        if self._streams:
            self._call.out.append(quote_json(literal)[1:-1])
        else:
            self._pieces.append(literal)
        self._said = self._scan
        self._quotations += 1
        self._holding = False

    def _has_opened(self, end: int) -> bool:
        """Whether the text before `end` has opened a bracket that is not closed there."""
        self._brackets.count(self._buffer.text, end)
        return any(self._brackets.open.values())

    # The text after an unclosed string

    def _lost_end(self, mark: str) -> Reading[int]:
        """Where the string ended if the next mark opens the text of the next key, or that key itself; else -1."""
        if self._quotations and self._has_opened(self._at):
            return -1
        end = self._end_before_key(self._at, "")
        if end >= 0:
            return end if not self._has_opened(end) or (yield from self._fits(mark)) else -1
        if not self._buffer.text[max(self._said, self._at - _TAIL) : self._at].rstrip().endswith((",", "{")):
            return -1
        spelled = yield from self._source.spelling(self._scan, [key + mark for key in self._declared_keys()])
        if not spelled or (yield from self._source.ahead(self._scan + len(spelled)))[1] != ":":
            return -1
        return self._end_before_key(self._at, spelled.removesuffix(mark))

    def _fits(self, mark: str) -> Reading[bool]:
        """Whether the text that the next mark would open, inside brackets of this one, ends where an argument may end."""
        source, pos = self._source, self._scan
        while (found := self._buffer.text.find(mark, pos)) < 0:
            if self._buffer.ended:
                return False
            pos = max(pos, len(self._buffer.text) - len(mark) + 1)
            yield
        at, ahead = yield from source.ahead(found + len(mark))
        if ahead == ",":
            at, ahead = yield from source.ahead(at + 1)
            frame = self._frames[-1]
            return not frame.in_array and (yield from declared_key_ahead(source, frame, at, ahead))
        if ahead and ahead in "}])":
            end = yield from source.run(at, CLOSERS)
            at, ahead = yield from source.ahead(end)
        return ahead in ("", ",") or (ahead in source.dialect.tokens and ahead != mark)

    def _end_before_key(self, at: int, key: str) -> int:
        """Where closing brackets, a comma and a declared key with its colon begin directly before `at`.

        `key` is the key, if it comes after `at`.
        """
        floor = max(self._said, at - _TAIL)
        before = self._buffer.text[floor:at].rstrip()
        if not key and not before.endswith(":"):
            return -1
        comma = before.rfind(",")
        if comma < 0:
            return -1
        between = before[comma + 1 :] if key else before[comma + 1 : -1]
        opening, written = _key_written(between)
        if bool(key) is bool(written):
            return -1
        level = self._closed_before(before[:comma], opening, key or written)
        if level < 0:
            return -1
        end = comma
        for _ in range(level):
            end = max(before.rfind(bracket, 0, end) for bracket in "}])")
        return floor + end

    def _closed_before(self, text: str, opening: bool, key: str) -> int:
        """How many open brackets the end of `text` closes, so that an entry with `key` may follow; -1 if none may."""
        closers = [bracket for bracket in text[len(text.rstrip(_RUN)) :] if not bracket.isspace()]
        innermost = [frame.closer for frame in reversed(self._frames)]
        for level in range(min(len(closers), len(innermost) - 1), -1, -1):
            frame = self._frames[-1 - level]
            fitting = closers[len(closers) - level :] == innermost[:level] and frame.in_array is opening
            if fitting and key in frame.shape.properties and (opening or key not in frame.keys):
                return level
        return -1

    def _declared_keys(self) -> tuple[str, ...]:
        """The declared keys of everything that is open, and of the objects in open lists."""
        if self._keys is None:
            self._keys = tuple(dict.fromkeys(key for frame in self._frames for key in frame.shape.properties))
        return self._keys

    def _before_brackets(self, tag: int) -> int:
        """Where the brackets before `tag` begin that close open objects; brackets that the text opened belong to the text."""
        text = self._buffer.text
        floor = max(self._said, tag - _TAIL)
        at = floor + len(text[floor:tag].rstrip(_RUN))
        self._brackets.count(text, at)
        own = dict(self._brackets.open)
        kept = at
        for i in range(at, tag):
            if own.get(text[i]):
                own[text[i]] -= 1
                kept = i + 1
        end = tag
        for frame in self._frames:
            bracket = kept + len(text[kept:end].rstrip()) - 1
            if bracket < kept or text[bracket] != frame.closer:
                break
            end = bracket
        return end

    # What is certain

    def _is_token_begun(self) -> bool:
        """Whether the text may end in the middle of a token."""
        text, longest = self._buffer.text, self._source.dialect.longest
        return text.rfind("<", max(self._said, len(text) - longest)) >= 0

    def _take(self, piece: str) -> bool:
        """Take a chunk of plain text without resuming the readers: the buffer's fast path."""
        if "<" in piece:
            return False
        text = self._buffer.text
        self._scan = len(text)
        self._say_before_run(text[self._said :])
        return True

    def _say_certain(self) -> None:
        """Emit everything except an unfinished token, and text that may come after an unclosed string."""
        text, said = self._buffer.text, self._said
        end = len(text)
        at = text.rfind("<", max(said, end - self._source.dialect.longest))
        if at >= 0 and (self._source.dialect.is_begun(text, at) or self._is_broken_begun(text[at:])):
            end = at
        self._say_before_run(text[said:end])

    def _say_before_run(self, text: str) -> None:
        """Emit `text`, which comes next, without text at its end that may come after an unclosed string."""
        early = ""
        if len(text) > _TAIL:
            early, text = text[:-_TAIL], text[-_TAIL:]
        if "," in text:
            before, _, last = text.rpartition(",")
            if self._may_be_key(last):
                text = before
        certain = early + text.rstrip(_RUN)
        if certain:
            self._said += len(certain)
            self._call.out.append(quote_json(self._source.unbreak(certain) if self._source.broken else certain)[1:-1])

    def _is_broken_begun(self, tail: str) -> bool:
        return any(spelling.startswith(tail) for spelling in self._source.broken)

    def _may_be_key(self, text: str) -> bool:
        """Whether `text`, after a comma, may be, or become, a declared key and its colon."""
        text = text.lstrip()
        if not text:
            return True
        if self._initials is None:
            self._initials = frozenset("{" + QUOTES).union(*(key[:1] for key in self._declared_keys()))
        if text[0] not in self._initials:
            return False
        key, colon, rest = text.partition(":")
        if rest and not rest.isspace():
            return False
        _, written = _key_written(key)
        if colon:
            return written in self._declared_keys()
        return any(declared.startswith(written) for declared in self._declared_keys())

    # Output

    def _say(self, end: int) -> None:
        if end > self._said:
            text = self._buffer.text[self._said : end]
            if self._streams:
                self._call.out.append(quote_json(self._source.unbreak(text))[1:-1])
            else:
                self._pieces.append(text)
            self._said = end

    def _finish_open(self) -> int:
        """End a string that was not closed."""
        tag = self._split if self._split >= 0 else self._last_tag
        if tag < self._said or (self._split < 0 and self._buffer.cut):
            raise Cut
        return self._finish_open_at(self._before_brackets(tag))

    def _finish_open_at(self, end: int) -> int:
        self._call.repair("string_open", "a string that was not closed", end, end)
        self._finish(end)
        return end

    def _finish(self, end: int) -> None:
        """Emit the string, which ends at `end`."""
        self._say(end)
        if self._streams:
            self._call.out.append('"')
            return
        text = "".join(self._pieces)
        if self._quote in _ESCAPING:
            meant = unescape(text)
            if meant is None:
                self._call.repair("backslashes", "backslashes that are not escapes were kept", self._start, end)
            text = text if meant is None else meant
        self._call.out.append(typed(self._source, self._call, text, self._types, self._start, end))


def _key_written(text: str) -> tuple[bool, str]:
    """Whether a bracket opens before the key in `text`, and the key without its quotes."""
    key = text.strip()
    opening = key.startswith("{")
    if opening:
        key = key[1:].lstrip()
    if key[:1] in QUOTES and key[:1]:
        key = key[1:-1] if key[-1] == key[0] and len(key) > 1 else key[1:]
    return opening, key
