"""Reads a value without delimiters: a number or constant in some form, or a string that lost its delimiters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gemma_tools.formats.brace.follows import closes, declared_key_ahead, key_ahead
from gemma_tools.formats.brace.source import Call, Cut, Source, Unreadable
from gemma_tools.formats.brace.strings import typed
from gemma_tools.formats.brace.tokens import NUMERAL
from gemma_tools.formats.frames import Frame
from gemma_tools.formats.reading import Reading
from gemma_tools.jsontext import quote_json
from gemma_tools.schema import coerce
from gemma_tools.schema.shape import Types

STRING: Final = frozenset(("string",))
_SCALAR: Final = re.compile(rf"{NUMERAL}|true|false|null")
_WORD: Final = re.compile(r"[^\s,{}\[\]()<]*+")
_LONGEST_WORD: Final = 4096


def read_bare(source: Source, call: Call, frames: Sequence[Frame], pos: int, types: Types) -> Reading[int]:
    """Read the value at `pos` and return the position after it.

    It ends at the bracket that closes its container, at a delimiter that closes it, or at a comma; for a string that must be
    the comma before the next declared key. If the schema allows no string, white space before such a key also ends it.
    """
    textual = types is None or "string" in types
    end = -1 if textual else (yield from _end_without_comma(source, frames[-1], pos, types))
    scan, depth = pos, 0
    while end < 0:
        at, mark = yield from source.find(scan, source.dialect.in_bare, source.dialect.longest)
        if not mark:
            raise Cut
        scan = at + len(mark)
        if mark == source.dialect.delimiter:
            if (yield from closes(source, frames, scan, mark)):
                call.repair("delimiter_missing", "a string without its opening delimiter", pos, scan)
                text = source.buffer.text[pos:at].strip()
                call.out.append(typed(source, call, text, types, pos, at))
                return scan
        elif mark in "([{":
            depth += 1
        elif types != STRING and not depth and mark in ",}])" and _SCALAR.fullmatch(source.buffer.text, pos, at):
            end = at
        elif mark in ")]}":
            if depth:
                depth -= 1
            elif any(mark == frame.closer for frame in frames):
                end = at
        elif mark != "," or (
            (not depth or not textual)
            and (frames[-1].in_array or not textual or (yield from _ends_before(source, frames, scan)))
        ):
            end = at
    _give(source, call, pos, end, types)
    return end


def _end_without_comma(source: Source, frame: Frame, pos: int, types: Types) -> Reading[int]:
    """Where the number or constant at `pos` ends, if white space and a declared key follow instead of a comma; else -1."""
    if frame.in_array:
        return -1
    end = yield from source.run_up_to(pos, _WORD, _LONGEST_WORD)
    at, ahead = yield from source.ahead(end)
    if at == end or not (yield from declared_key_ahead(source, frame, at, ahead)):
        return -1
    value = coerce.bare(source.buffer.text[pos:end], types)
    return end if value is not None and value[0] != '"' else -1


def _ends_before(source: Source, frames: Sequence[Frame], pos: int) -> Reading[bool]:
    """Whether a key, or a closing bracket, follows the comma before `pos`."""
    at, ahead = yield from source.ahead(pos)
    if ahead in "}])":
        return True
    if frames[-1].shape.properties:
        return (yield from declared_key_ahead(source, frames[-1], at, ahead))
    key, _ = yield from key_ahead(source, at, ahead)
    return bool(key)


def _give(source: Source, call: Call, start: int, end: int, types: Types) -> None:
    """Write the JSON text for the text from `start` to `end`."""
    textual = types is None or "string" in types
    written = source.buffer.text[start:end]
    text = written.strip()
    if text != written:
        call.repair("white_space", "white space between the tokens", start + len(text), end)
    half_quoted = textual and text.endswith('"') and text.count('"') == 1
    if half_quoted:
        call.repair("delimiter_missing", "a string without its opening delimiter", start, end)
        text = text[:-1]
    value = coerce.bare(text, types)
    if not text:
        if not textual:
            raise Unreadable(start, "a value is missing")
        call.repair("value_missing", "a value is missing; an empty string was used", start, end)
        value = '""'
    elif value is None or (value[0] == '"' and textual):
        if not half_quoted:
            call.repair("string_bare", "a string without delimiters", start, end)
        value = quote_json(source.unbreak(text)) if value is None else value
    elif value != text:
        call.repair("literal", "a number or constant that is not valid JSON", start, end)
    call.out.append(value)
