"""Reads a string in quotes: its end, which is often uncertain in model output, and its text.

In the exact notations the first unescaped quote ends the string. If the text after that quote shows that it cannot be the end,
the string was not written correctly, and each next quote is examined:

- after a comma, a declared key and its sign it opens that key's text, and this string ended before the comma;
- inside brackets that the text itself opened, quotes come in pairs: they belong to JSON or code;
- elsewhere a quote that opens a quotation has a partner that closes it, if only a declared key comes after that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from gemma_tools.formats.escapes import unescape
from gemma_tools.formats.frames import Frame
from gemma_tools.formats.literals.frames import ARGUMENT, Draft
from gemma_tools.formats.literals.source import Cut, Source
from gemma_tools.formats.lookahead import SPACE, end_of
from gemma_tools.formats.paths import ends_in_path
from gemma_tools.formats.reading import Reading

WORD: Final = re.compile(r"[^\s,()\[\]{}<`\"'=:]*+")
_LONGEST_KEY: Final = 256
_LONGEST_PATH: Final = 260
_PLAIN: Final = {quote: re.compile(rf"[^{quote}\\]*+(?:\\[^{quote}][^{quote}\\]*+)*+") for quote in "\"'"}
"""Up to a quote, to an escaped one, or to a backslash after which the text goes on."""
_KEY_TEXT: Final = {quote: re.compile(rf"[^{quote}\\\n]*+") for quote in "\"'"}
_NUMERAL: Final = re.compile(r"[\w.+-]*+")
_KEY_BEFORE: Final = re.compile(r",\s*+([\"']?)([^\s,()\[\]{}<`\"'=:]+)\1\s*+[:=]\s*+")
_WINDOW: Final = 400
"""How far before a quote a key is searched, in characters."""


def _lane(quote: str) -> Callable[[str], bool]:
    return lambda piece: quote not in piece


_LANES: Final = {quote: _lane(quote) for quote in "\"'"}


class _Quotes:
    """The meaning of the quotes inside a string so far.

    `clean`: none was text. `inside`: a quotation is open. `nested`: there are quotations in brackets that the text opened.
    """

    __slots__ = ("_counted", "_depth", "clean", "inside", "nested")

    def __init__(self, start: int) -> None:
        self.clean = True
        self.inside = False
        self.nested = False
        self._counted = start
        self._depth = 0

    @property
    def open(self) -> bool:
        """Whether the text opened a bracket that it did not close, as far as it was looked at."""
        return self._depth > 0

    def look(self, text: str, i: int) -> None:
        """Count the brackets up to `i` that the text opened and did not close, but for those in quotations."""
        if not self.inside:
            piece = text[self._counted : i]
            opened = piece.count("{") + piece.count("[") + piece.count("(")
            self._depth = max(0, self._depth + opened - piece.count("}") - piece.count("]") - piece.count(")"))
            self.nested = self.nested and self._depth > 0
        self._counted = i

    def take(self, text: str, i: int, start: int) -> None:
        """The quote at `i` is text: it may open or close a quotation."""
        self.look(text, i)
        if self.inside:
            self.inside = False
        else:
            self.inside = not text[max(start, i - 1) : i].isalnum() and not text[i + 1 : i + 2].isspace()
            self.nested = self.nested or (self.inside and self._depth > 0)
        self.clean = False
        self._counted = i + 1


def read_string(
    source: Source, draft: Draft, i: int, frames: Sequence[Frame], *, key: bool = False
) -> Reading[tuple[int, str]]:
    """Where the string ends that begins at `i` (or its prefix does), and its text; `key` says that it may be a key."""
    buffer = source.buffer
    raw = False
    while buffer.text[i] not in "\"'":
        raw |= buffer.text[i] in "rR"
        i += 1
    quote = buffer.text[i]
    yield from source.have(i + 3)
    closer = quote * 3 if buffer.text.startswith(quote * 3, i) else quote
    if not draft.python and (raw or len(closer) > 1 or quote == "'"):
        draft.repair("quotes", "a string in Python's notation", i, i + len(closer))
    start = i = i + len(closer)
    quotes = _Quotes(start)
    while True:
        i = end_of(_PLAIN[quote], buffer.text, i)
        if i == len(buffer.text):
            if buffer.ended:
                raise Cut(i)
            buffer.lane = _LANES[quote]
            yield
            buffer.lane = None
            continue
        draft.seen = i
        if buffer.text[i] == "\\":
            yield from source.have(i + 2)
            if _may_end_path(buffer.text, start, i, quote) and (yield from _closes(source, i + 2, frames[-1], quotes)):
                i += 1
                break
            i = min(i + 2, len(buffer.text))
        elif len(closer) > 1:
            yield from source.have(i + 3)
            if buffer.text.startswith(closer, i):
                break
            i += 1
        elif key:
            if (yield from _closes_key(source, i + 1, frames[-1])):
                break
            draft.repair("quote_in_string", "a quote inside a string was not escaped", i, i + 1)
            i += 1
        else:
            if not quotes.clean:
                quotes.look(buffer.text, i)
            if not quotes.nested and (yield from _closes(source, i + 1, frames[-1], quotes)):
                break
            lost = None if quotes.nested else _key_before(buffer.text, start, i, frames)
            if lost is not None:
                quotes.look(buffer.text, i)
                if quotes.open and not (yield from _opens_value(source, i + 1, quote, frames)):
                    lost = None
            if lost is not None:
                lost = _first_key(buffer.text, start, lost, frames)
                noted = draft.repairs.get("quote_in_string")
                if noted and noted.start > lost:
                    del draft.repairs["quote_in_string"]  # it was a quote of that key
                draft.repair("string_open", "the closing quote of a string is missing", lost, lost)
                return lost, _meant(source, draft, start, lost)
            draft.repair("quote_in_string", "a quote inside a string was not escaped", i, i + 1)
            yield from source.have(i + 2)
            quotes.take(buffer.text, i, start)
            i += 1
    return i + len(closer), source.unbreak(buffer.text[start:i]) if raw else _meant(source, draft, start, i)


def _meant(source: Source, draft: Draft, start: int, end: int) -> str:
    """The text between the quotes: with its backslashes, if they are not escapes of the language."""
    text = source.unbreak(source.buffer.text[start:end])
    meant = unescape(text, python=draft.python)
    if meant is None:
        draft.repair("backslashes", "backslashes that are not escapes were kept", start, end)
    return text if meant is None else meant


def _may_end_path(text: str, start: int, i: int, quote: str) -> bool:
    """Whether the backslash at `i`, in front of a quote, may be the last character of a Windows path."""
    return text.startswith(quote, i + 1) and i - start < _LONGEST_PATH and ends_in_path(text[start : i + 1])


def _closes_key(source: Source, i: int, frame: Frame) -> Reading[bool]:
    """Whether the quote before `i` ends a string that may be a key, or a value without one."""
    i, follows = yield from source.ahead(i)
    if follows in ("", ",", ")", "]", "}", ":", "="):
        return True
    if follows in ("`", "~"):
        return (yield from source.is_end(i))
    return not frame.in_array and (yield from is_key(source, i, frame, declared=True))


def _closes(source: Source, i: int, frame: Frame, quotes: _Quotes) -> Reading[bool]:
    """Whether the quote before `i` ends a value, by what comes next."""
    i, follows = yield from source.ahead(i)
    if follows in ("", ")", "]", "}"):
        return True
    if follows == ",":
        return (yield from _separates(source, i + 1, frame, quotes))
    if follows in ("`", "~"):
        return (yield from source.is_end(i))
    if frame.in_array:
        return follows in ('"', "'") and quotes.clean and (yield from _is_element(source, i, follows))
    return (yield from is_key(source, i, frame, declared=True))


def _is_element(source: Source, i: int, quote: str) -> Reading[bool]:
    """Whether the quote at `i`, after a string of a list and white space, opens another string: its comma is missing."""
    if not source.buffer.text[i - 1].isspace():
        return False
    end = yield from _next_quote(source, i + 1, quote)
    return (yield from source.ahead(end + 1))[1] in ("", ",", "]", ")", '"', "'")


def _next_quote(source: Source, i: int, quote: str) -> Reading[int]:
    """Where the next quote stands that is not escaped, or the text ends."""
    while True:
        i = yield from source.run(i, _PLAIN[quote])
        yield from source.have(i + 2)
        if not source.buffer.text.startswith("\\", i):
            return i
        i = min(i + 2, len(source.buffer.text))


def _opens_value(source: Source, i: int, quote: str, frames: Sequence[Frame]) -> Reading[bool]:
    """Whether the quote before `i`, after a declared key, opens that key's value although the text before has an open bracket.

    Then the next quote ends it, because of the text after that; otherwise the key belongs to the code that the text is.
    """
    end = yield from _next_quote(source, i, quote)
    i, follows = yield from source.ahead(end + 1)
    level = len(frames)
    while level and follows and follows == frames[level - 1].closer:
        level -= 1
        i, follows = yield from source.ahead(i + 1)
    if follows == "," and level:
        key = yield from _key_at(source, i + 1)
        return level < len(frames) if frames[level - 1].in_array else frames[level - 1].shape.declares(key or "")
    return follows == "" or (not level and follows == "]")


def _separates(source: Source, i: int, frame: Frame, quotes: _Quotes) -> Reading[bool]:
    """Whether the comma before `i`, after a quote, separates two entries; otherwise both are text."""
    i, follows = yield from source.ahead(i)
    if follows in ("", ",", ")", "]", "}"):
        return True
    if follows in ("`", "~") and (yield from source.is_end(i)):
        return True
    if quotes.inside and frame.in_array:
        return False
    value = follows in "[{(" or (yield from _is_numeral(source, i))
    if frame.in_array:
        return quotes.clean or value or follows in "\"'"
    key = yield from _key_at(source, i)
    if quotes.clean and not (frame.entry is ARGUMENT and follows in "\"'"):
        return key is not None or (value and frame.entry is ARGUMENT)
    if frame.shape.properties:
        return key is not None and frame.shape.declares(key)
    return bool(key) and not quotes.inside


def _is_numeral(source: Source, i: int) -> Reading[bool]:
    """Whether a number comes next, and the end of its entry."""
    if not source.buffer.text[i : i + 1].isdigit():
        return False
    end = yield from source.run_up_to(i, _NUMERAL, _LONGEST_KEY)
    return (yield from source.ahead(end))[1] in ("", ",", ")", "]", "}")


def is_key(source: Source, i: int, frame: Frame, *, declared: bool) -> Reading[bool]:
    """Whether a key and its sign come next: a declared one, where the schema declares any (or `declared` is set)."""
    key = yield from _key_at(source, i)
    return key is not None and (frame.shape.declares(key) or not (declared or frame.shape.properties))


def _key_at(source: Source, i: int) -> Reading[str | None]:
    """The key that comes next, and its sign after it; None where that is none. Only a quoted key may be empty."""
    buffer = source.buffer
    i = yield from source.run(i, SPACE)
    quote = buffer.text[i : i + 1]
    if quote in ('"', "'"):
        end = yield from source.run_up_to(i + 1, _KEY_TEXT[quote], _LONGEST_KEY)
        yield from source.have(end + 1)
        if end - i - 1 == _LONGEST_KEY or buffer.text.startswith("\\", end):
            return buffer.text[i + 1 : end]  # too long to wait for, or with escapes: no text goes on so
        if not buffer.text.startswith(quote, end):
            return None
        key, end = buffer.text[i + 1 : end], end + 1
    else:
        end = yield from source.run_up_to(i, WORD, _LONGEST_KEY)
        key = buffer.text[i:end]
    return key if (key or quote in ('"', "'")) and (yield from source.ahead(end))[1] in (":", "=") else None


def _first_key(text: str, start: int, end: int, frames: Sequence[Frame]) -> int:
    """Where a string ends that may contain whole entries before `end`: their strings use the other quotes."""
    while True:
        last = len(text[max(start, end - _WINDOW) : end].rstrip()) + max(start, end - _WINDOW) - 1
        opened = text.rfind(text[last], max(start, last - _WINDOW), last) if last > start and text[last] in "\"'" else -1
        before = _key_before(text, start, opened, frames) if opened >= 0 else None
        if before is None:
            return end
        end = before


def _key_before(text: str, start: int, i: int, frames: Sequence[Frame]) -> int | None:
    """Where a string ends whose closing quote was lost before the next entry: the quote at `i` opens that entry's text.

    A comma, a declared key and its sign come directly before that quote. The key may belong to an outer object, if the closing
    brackets of the inner ones come before the comma.
    """
    window = text[max(start, i - _WINDOW) : i]
    comma = window.rfind(",")
    found = _KEY_BEFORE.fullmatch(window, comma) if comma >= 0 else None
    if found is None:
        return None
    base, end = i - len(window), comma
    level = len(frames) - 1
    while level > 0 and (frames[level].in_array or not frames[level].shape.declares(found[2])):
        level -= 1
    for inner in frames[level + 1 :]:
        end = len(window[:end].rstrip()) - 1
        if end < 0 or window[end] != inner.closer:
            return None
    frame = frames[level]
    if frame.in_array or found[2] in frame.keys or not frame.shape.declares(found[2]):
        return None
    return base + end
