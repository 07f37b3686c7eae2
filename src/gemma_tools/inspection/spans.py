"""The positions of the reply's parts in a model's output: content, thoughts, calls, and skipped notation.

The parsers report what they read, but not where. So the output is fed again in small chunks: what is reported after a chunk is
in the text up to there. It uses only the public interface of a parser, so it works for formats that others add.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal, TypeAlias

from gemma_tools.formats.base import ReplyParser
from gemma_tools.reply import ContentDelta, Event, ReasoningDelta, ToolCallEnded, ToolCallStarted

Kind: TypeAlias = Literal["content", "thought", "call", "refused", "passed", "unplaced"]
"""`refused` is only in the text of a problem; `passed` is notation that was read and is in no part of the reply; `unplaced` was
read by the engine.
"""

_PIECES: Final = re.compile(r"\w+|\s|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the output. `calls` are the indices of the calls in it."""

    start: int
    end: int
    kind: Kind
    calls: tuple[int, ...] = ()


def spans(parser: ReplyParser, text: str, finish: Literal["stop", "length"] = "stop") -> list[Span]:
    """The parts of `text` that are in the reply of a new `parser`, in order; the text between them is in no part."""
    found: list[Span] = []
    fed = 0
    for match in _PIECES.finditer(text):
        if events := parser.feed(match[0]):
            _place(events, text, match.end(), found)
        fed = match.end()
    _place(parser.close(finish), text, fed, found)
    return list(_joined(found))


def _place(events: Sequence[Event], text: str, fed: int, found: list[Span]) -> None:
    """Add the spans of the events that were returned when `text` had been fed up to `fed`."""
    first = next((n for n, event in enumerate(events) if isinstance(event, ToolCallStarted | ToolCallEnded)), None)
    for kind, run in groupby(events[:first], _kind_of):
        if kind:
            found.append(_where(kind, _text(run), text, _end(found), fed, forward=first is not None))
    if first is None:
        return
    calls = tuple(event.index for event in events if isinstance(event, ToolCallEnded))
    start, after = _end(found), [(kind, _text(run)) for kind, run in groupby(events[first:], _kind_of) if kind]
    later = [_where(kind, said, text, start, fed, forward=False) for kind, said in after[-1:]]
    if calls:
        found.append(Span(start, later[0].start if later else fed, "call", calls))
    found += later


def _end(found: Sequence[Span]) -> int:
    return found[-1].end if found else 0


def _text(run: Iterable[Event]) -> str:
    return "".join(event.text for event in run if isinstance(event, ContentDelta | ReasoningDelta))


def _kind_of(event: Event) -> Literal["content", "thought"] | None:
    if isinstance(event, ContentDelta):
        return "content"
    return "thought" if isinstance(event, ReasoningDelta) else None


def _where(kind: Kind, said: str, text: str, start: int, end: int, *, forward: bool) -> Span:
    """The position of `said`. It is at the end of the text so far, unless a call was reported with it, which comes after it.

    A parser changes text only to break or restore special tokens, and joins thoughts with line breaks: then all of it counts.
    """
    find = text.find if forward else text.rfind
    for written in (said, said.removeprefix("\n")):
        place = find(written, start, end)
        if place >= 0:
            return Span(place, place + len(written), kind)
    return Span(start, end, kind)


def _joined(found: list[Span]) -> Iterator[Span]:
    """The spans, with neighbours of one kind joined; calls stay separate."""
    last: Span | None = None
    for span in found:
        if last and last.kind == span.kind != "call" and last.end == span.start:
            last = Span(last.start, span.end, span.kind)
            continue
        if last:
            yield last
        last = span
    if last:
        yield last
