"""Decides from the text after a key or a value where it ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gemma_tools.formats.brace.source import CLOSERS, Source
from gemma_tools.formats.brace.tokens import VALUE_STARTS, WORD
from gemma_tools.formats.frames import Frame
from gemma_tools.formats.reading import Reading

QUOTES: Final = "\"'`"
_KEY: Final = re.compile(r"[^:=,{}\[\]()\"'`<]*+")
_LONGEST_KEY: Final = 128
_WORD: Final = re.compile(WORD)


def key_ahead(source: Source, pos: int, mark: str) -> Reading[tuple[str, int]]:
    """The key at `pos`, where `mark` is, and the position after its colon; "" and -1 if there is none."""
    quote = mark if mark == source.dialect.delimiter or mark in QUOTES else ""
    start = pos + len(quote)
    end = yield from source.run_up_to(start, _KEY, _LONGEST_KEY)
    if end == start:
        return "", -1
    at, sign = yield from source.ahead(end)
    if sign == quote and quote:
        at, sign = yield from source.ahead(at + len(quote))
    if sign not in (":", "="):
        return "", -1
    return source.buffer.text[start:end].strip(), at + 1


def declared_key_ahead(source: Source, frame: Frame, pos: int, mark: str) -> Reading[bool]:
    """Whether there is a declared key with its colon at `pos`."""
    key, _ = yield from key_ahead(source, pos, mark)
    return bool(key) and frame.shape.declares(key)


def closes(
    source: Source, frames: Sequence[Frame], pos: int, quote: str, *, quoting: bool = False, inside: bool = False
) -> Reading[bool]:
    """Whether the text at `pos`, after a `quote` or delimiter, shows that it closed its string.

    `quoting`: the string contains quotation marks. `inside`: one of them is open, in brackets that the text itself opened, so a
    comma, a colon or a closing bracket belongs to the text.
    """
    frame, delimiter = frames[-1], source.dialect.delimiter
    at, ahead = yield from source.ahead(pos)
    if ahead == delimiter and quote != delimiter:
        quote = delimiter
        at, ahead = yield from source.ahead(at + len(delimiter))
    if inside:
        return not ahead or (ahead in source.dialect.tokens and ahead != delimiter)
    if ahead == ",":
        return frame.in_array or (yield from _pair_follows(source, frame, at + 1, quote, quoting=quoting))
    if ahead in "}])":
        if ahead and ahead != "}" and all(ahead != open.closer for open in frames):
            # A bracket of the wrong kind closes a call only directly before its end tag.
            end = yield from source.run(at, CLOSERS)
            return bool((yield from source.spelling(end, (source.dialect.end,))))
        return not ahead or (yield from _ends_here(source, frames, at, quote))
    if ahead in source.dialect.tokens and ahead != delimiter:
        return True
    if frame.in_array:
        return at > pos and ahead == quote and not quoting and (yield from _string_follows(source, at + len(quote)))
    return (yield from declared_key_ahead(source, frame, at, ahead))


def _string_follows(source: Source, pos: int) -> Reading[bool]:
    """Whether the quote before `pos`, in a list, opens the next string: text follows directly."""
    yield from source.have(pos + 1)
    following = source.buffer.text[pos : pos + 1]
    return bool(following) and not following.isspace() and following not in ",}])"


def _pair_follows(source: Source, frame: Frame, pos: int, quote: str, *, quoting: bool) -> Reading[bool]:
    """Whether a key comes after the comma before `pos`, or only brackets.

    If the schema lists the properties and allows no others, an undeclared key counts as one only if it and its
    value begin correctly.
    """
    at, ahead = yield from source.ahead(pos)
    if ahead in ",}])" or ahead == source.dialect.end:
        return True
    key, after = yield from key_ahead(source, at, ahead)
    if not key or not frame.shape.closed or frame.shape.declares(key):
        return bool(key)
    if quoting or not _WORD.fullmatch(key) or ahead == source.dialect.delimiter:
        return False
    value_at, value = yield from source.ahead(after)
    exact = at == pos and value_at == after
    return bool(value) and value[0] in (VALUE_STARTS if exact or ahead == quote else "<{[\"'`")


def _ends_here(source: Source, frames: Sequence[Frame], pos: int, quote: str) -> Reading[bool]:
    """Whether the brackets at `pos` may close what is open: after the last bracket of a call no `quote` can follow."""
    end = yield from source.run(pos, CLOSERS)
    if (yield from source.spelling(end, (quote,))) != quote:
        return True
    brackets = source.buffer.text[pos:end]
    return sum(map(brackets.count, "}])")) < len(frames)
