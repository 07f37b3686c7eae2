"""Reads the notation around a thought: its label, and a thought without its opening token."""

from __future__ import annotations

import re
from typing import Final

from gemma_tools.formats.brace.source import Source
from gemma_tools.formats.lookahead import SPACE
from gemma_tools.formats.reading import Reading

_LABEL: Final = "thought"
_BLANK: Final = re.compile(r"[ \t]*+")


def label_end(source: Source, pos: int) -> Reading[int]:
    """Where the thought begins after its opening token: after the label and its line break, or at `pos` without a label.

    Models leave the line break out, write a colon or spaces, or begin a line before the label.
    """
    at = yield from source.run(pos, SPACE)
    if not (yield from source.spelling(at, (_LABEL,))):
        return pos
    end = at + len(_LABEL)
    yield from source.have(end + 1)
    following = source.buffer.text[end : end + 1]
    if following.islower() or following in ("_", "-", "'"):
        return pos
    end = yield from source.run(end, _BLANK)
    if source.buffer.text.startswith(":", end):
        end = yield from source.run(end + 1, _BLANK)
    return (yield from _line_break_end(source, end))


def _line_break_end(source: Source, pos: int) -> Reading[int]:
    found = yield from source.spelling(pos, ("\r\n", "\n"))
    return pos + len(found)


def leaked_label_end(source: Source, pos: int) -> Reading[int]:
    """Where the content begins after a thought's end: after a label on its own line, or before a token."""
    if not (yield from source.spelling(pos, (_LABEL,))):
        return pos
    end = yield from _line_break_end(source, pos + len(_LABEL))
    if end > pos + len(_LABEL):
        return end
    return end if (yield from source.spelling(end, source.dialect.tokens)) or end == len(source.buffer.text) else pos


def lost_opener_end(source: Source, pos: int) -> Reading[int]:
    """Where a thought begins that has its label and its end, but no opening token; 0 if there is none."""
    assert source.dialect.channel is not None
    at = yield from source.run(pos, SPACE)
    begin = yield from label_end(source, at)
    if begin == at:
        return 0
    _, token = yield from source.find(begin, source.dialect.text_token, source.dialect.longest)
    return begin if token and token in (source.dialect.channel[1], source.dialect.either) else 0
