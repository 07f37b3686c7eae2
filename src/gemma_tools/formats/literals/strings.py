"""Read a string in quotes: where it ends, which models often leave in doubt, and what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from gemma_tools.formats.literals.escapes import is_path, unescape
from gemma_tools.formats.literals.frames import ELEMENT, Draft, Frame
from gemma_tools.formats.literals.source import BLANK, Cut, Source, end_of
from gemma_tools.formats.reading import Reading

WORD: Final = re.compile(r"[^\s,()\[\]{}<`\"'=:]*+")
_LONGEST_KEY: Final = 256
_PLAIN: Final = {quote: re.compile(rf"[^{quote}\\]*+") for quote in "\"'"}


def _lane(quote: str) -> Callable[[str], bool]:
    return lambda piece: quote not in piece and "\\" not in piece


_LANES: Final = {quote: _lane(quote) for quote in "\"'"}


def read_string(source: Source, draft: Draft, i: int, frame: Frame, *, value: bool) -> Reading[tuple[int, str]]:
    """Where the string ends that begins at `i` (or its prefix does), and its text; without `value` it may be a key."""
    buffer = source.buffer
    raw = False
    while buffer.text[i] not in "\"'":
        raw |= buffer.text[i] in "rR"
        i += 1
    quote = buffer.text[i]
    yield from source.have(i, 3)
    closer = quote * 3 if buffer.text.startswith(quote * 3, i) else quote
    if not draft.python and (raw or len(closer) > 1 or quote == "'"):
        draft.repair("quotes", "a string in Python's notation", i, i + len(closer))
    start = i = i + len(closer)
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
            yield from source.have(i, 2)
            i = min(i + 2, len(buffer.text))
        elif len(closer) > 1:
            yield from source.have(i, 3)
            if buffer.text.startswith(closer, i):
                break
            i += 1
        elif (yield from _closes(source, i + 1, frame, value=value)):
            break
        else:
            draft.repair("quote_in_string", "a quote inside a string was not escaped", i, i + 1)
            i += 1
    text = source.whole(buffer.text[start:i])
    return i + len(closer), text if raw else _meant(draft, text, start, i)


def _meant(draft: Draft, text: str, start: int, end: int) -> str:
    """What is between the quotes: with its backslashes, where they are no escapes of the language."""
    meant = unescape(text, python=draft.python)
    if meant == text or (meant is not None and not is_path(text)):
        return meant
    draft.repair("backslashes", "backslashes that are no escapes were kept", start, end)
    return text


def _closes(source: Source, i: int, frame: Frame, *, value: bool) -> Reading[bool]:
    """Whether the quote before `i` closes its string, by what comes next; one that may be a key closes at a sign too."""
    i, follows = yield from source.ahead(i)
    if follows in ("", ",", ")", "]", "}") or (not value and follows in (":", "=")):
        return True
    if follows in ("`", "~"):
        return (yield from source.is_end(i))
    if frame.entry is ELEMENT:
        return False
    return (yield from is_key(source, i, frame, declared=True))


def is_key(source: Source, i: int, frame: Frame, *, declared: bool) -> Reading[bool]:
    """Whether a key and its sign come next: a declared one, where the schema declares any (or `declared` is set)."""
    buffer = source.buffer
    i = yield from source.run(i, BLANK)
    quote = buffer.text[i : i + 1]
    start = i + 1 if quote in ('"', "'") else i
    end = yield from source.short_run(start, WORD, _LONGEST_KEY)
    key = buffer.text[start:end]
    declared = declared or bool(frame.shape.properties)
    if not key or (declared and not frame.shape.declares(key)):
        return False
    if start > i:
        yield from source.have(end, 1)
        if not buffer.text.startswith(quote, end):
            return False
        end += 1
    return (yield from source.ahead(end))[1] in (":", "=")
