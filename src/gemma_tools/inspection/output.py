"""Divides a model's output into parts by how they were read, with its problems at their positions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, cast, get_args

from gemma_tools.backends.exchange import Exchange
from gemma_tools.formats.base import Format, Recovery
from gemma_tools.inspection.advice import advice
from gemma_tools.inspection.model import LevelView, Output, OutputPart, OutputPiece, ProblemView
from gemma_tools.inspection.spans import Span, spans
from gemma_tools.reply import Problem, Reply
from gemma_tools.tokens import EstimatedTokenCounter

_OTHER_NOTATIONS: Final = frozenset(("json_block", "regex", "fallback", "inference"))
"""The problems of calls that level eager found in the content."""
_NOTATION: Final = frozenset(("call", "passed", "refused"))
"""The kinds of parts in which the text of a special token is a special token; elsewhere it is text."""


def view_output(exchange: Exchange, text: str) -> Output:
    """The inspection of an output in `exchange`; `text` is all of it."""
    reply = exchange.reply or _read(exchange, exchange.format, text)
    levels = tuple(_levels(exchange, text))
    problems = tuple(
        ProblemView(number, problem, advice(problem, levels, exchange)) for number, problem in enumerate(reply.problems, 1)
    )
    return Output(
        parts=tuple(_parts(exchange, text, reply)),
        reply=reply,
        problems=problems,
        levels=levels,
        count=exchange.tokens.completion if exchange.tokens else _count(exchange, text),
    )


def _count(exchange: Exchange, text: str) -> int:
    if exchange.tokenizer is None:
        return EstimatedTokenCounter(exchange.format).count(text)
    return exchange.tokenizer.count(text, control=_known(exchange))


def _known(exchange: Exchange) -> frozenset[str]:
    assert exchange.tokenizer is not None
    return exchange.tokenizer.controls.intersection(exchange.format.controls)


def _read(exchange: Exchange, format: Format, text: str) -> Reply:
    parser = format.parser(exchange.tools, opens=exchange.prompt.opens, guarded=exchange.guarded, max_calls=exchange.max_calls)
    parser.feed(text)
    parser.close(exchange.finish)
    return parser.reply


def _at_level(format: Format, level: Recovery) -> Format | None:
    """The format at another recovery level; None for one without levels."""
    if not is_dataclass(format) or "recovery" not in {option.name for option in fields(format)}:
        return None
    return cast(Format, replace(cast(Any, format), recovery=level))


def _levels(exchange: Exchange, text: str) -> Iterator[LevelView]:
    for level in get_args(Recovery):
        format = _at_level(exchange.format, level)
        if format is not None:
            reply = _read(exchange, format, text)
            names = tuple(call.name for call in reply.tool_calls)
            yield LevelView(level, format == exchange.format, names, len(reply.problems))


def _parts(exchange: Exchange, text: str, reply: Reply) -> Iterator[OutputPart]:
    names = [call.name for call in reply.tool_calls]
    placed = _filled(_spans(exchange, text, reply), reply.problems, len(text))
    controls = dict(_controls(exchange.format, text))
    begin: dict[int, list[tuple[int, int]]] = {}
    for number, problem in enumerate(reply.problems, 1):
        if problem.start is not None:
            begin.setdefault(problem.start, []).append((number, problem.end or problem.start))
    ends = (end for some in begin.values() for _, end in some)
    cuts = sorted({*(span.end for span in placed), *begin, *ends, *controls, *controls.values()} - {0})
    lying: list[tuple[int, int]] = []
    low, following = 0, iter(cuts)
    for span in placed:
        pieces: list[OutputPiece] = []
        while low < span.end:
            high = next(following)
            new = begin.pop(low, [])
            lying = [(number, end) for number, end in (*lying, *new) if end > low]
            control = span.kind in _NOTATION and controls.get(low) == high
            numbers = tuple(number for number, _ in lying)
            pieces.append(OutputPiece(text[low:high], control, numbers, tuple(number for number, _ in new)))
            low = high
        if span is placed[-1]:  # what is missing at the very end
            pieces += (OutputPiece("", begins=(number,)) for some in begin.values() for number, _ in some)
        yield OutputPart(span.kind, tuple(pieces), tuple(names[index] for index in span.calls))


def _controls(format: Format, text: str) -> Iterator[tuple[int, int]]:
    spelled = "|".join(map(re.escape, sorted(format.controls, key=len, reverse=True)))
    return (match.span() for match in re.finditer(spelled, text))


def _spans(exchange: Exchange, text: str, reply: Reply) -> list[Span]:
    """The parts that are in the reply. If an engine's own chat endpoint read the text, they are unknown."""
    format = exchange.format
    own = _read(exchange, format, text)
    if (own.content, own.tool_calls) != (reply.content, reply.tool_calls):
        return [Span(0, len(text), "unplaced")]
    if getattr(format, "recovery", None) == "eager":
        format = _at_level(format, "schema") or format
    parser = format.parser(exchange.tools, opens=exchange.prompt.opens, guarded=exchange.guarded, max_calls=exchange.max_calls)
    found = _with_end_tags(spans(parser, text, exchange.finish), dict(_controls(format, text)), reply.problems)
    other = [p for p in reply.problems if p.kind in _OTHER_NOTATIONS and p.start is not None and p.index is not None]
    return _overlaid(found, other) if other else found


def _with_end_tags(found: Sequence[Span], controls: Mapping[int, int], problems: Sequence[Problem]) -> list[Span]:
    """The spans, each call with the special token that ends it or starts it, unless that has its own problem."""
    told = {problem.start for problem in problems}
    inside = {at: end for start, end in controls.items() for at in range(start + (start in told), end)}
    limits = (*(span.start for span in found[1:]), max(inside.values(), default=0))
    return [
        replace(span, end=max(span.end, min(inside.get(span.end, span.end), limit))) if span.kind == "call" else span
        for span, limit in zip(found, limits, strict=False)
    ]


def _overlaid(found: Sequence[Span], other: Sequence[Problem]) -> list[Span]:
    """The spans with the calls of other notations, which were content, at their positions."""
    places: dict[tuple[int, int], list[int]] = {}
    for problem in other:
        places.setdefault((problem.start or 0, problem.end or 0), []).append(problem.index or 0)
    calls = [Span(start, end, "call", tuple(indices)) for (start, end), indices in sorted(places.items())]
    rest: list[Span] = []
    for span in found:
        low = span.start
        for call in calls:
            if low < call.start < span.end:
                rest.append(Span(low, call.start, span.kind, span.calls))
            if low < call.end:
                low = max(low, min(call.end, span.end)) if call.start < span.end else low
        if low < span.end:
            rest.append(Span(low, span.end, span.kind, span.calls))
    return sorted((*rest, *calls), key=lambda span: span.start)


def _filled(found: Sequence[Span], problems: Sequence[Problem], end: int) -> list[Span]:
    """All of the text: between the spans is refused text, if a problem has its text, and otherwise skipped notation."""
    refused = sorted((p.start, p.end) for p in problems if p.text and p.start is not None and p.end is not None)
    out: list[Span] = []
    position = number = 0
    for span in (*found, Span(end, end, "passed")):
        while number < len(refused) and refused[number][0] < span.start:
            low, high = max(refused[number][0], position), min(refused[number][1], span.start)
            if low < high:
                if position < low:
                    out.append(Span(position, low, "passed"))
                out.append(Span(low, high, "refused"))
                position = high
            if refused[number][1] > span.start:  # it continues after this span
                break
            number += 1
        if position < span.start:
            out.append(Span(position, span.start, "passed"))
        if span.start < span.end:
            out.append(span)
        position = max(position, span.end)
    return out or [Span(0, end, "passed")]
