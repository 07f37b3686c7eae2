"""Calls in other notations, found in a whole text: what level "eager" reads.

The strategies, in order; the first that finds a call decides, and every one that was tried leaves an `Attempt`:

    json_block   JSON in a fence, alone or in prose: an object with a name and arguments, a list of them, OpenAI's `tool_calls`
    regex        a call pattern: `call name({...})`, `name({...})`, `[tool_call] name: {...}`, `[function_call] name: {...}`
    fallback     a declared name with a JSON object of its declared parameters shortly after it
    inference    JSON arguments without a declared name: the only declared tool that they fit

What is only quoted is not a call: see `_quoted`. Work is bounded: at most `PLACES` places of a text are tried as JSON.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Final, Literal, TypeAlias

from gemma_tools.formats.reading import Declared
from gemma_tools.jsontext import quote_json, refuse_constant, to_json
from gemma_tools.reply import ToolCall, new_call_id
from gemma_tools.schema import coerce
from gemma_tools.schema.shape import ANY, Shape

OtherNotation: TypeAlias = Literal["json_block", "regex", "fallback", "inference"]
Strategy: TypeAlias = Literal["native"] | OtherNotation

NAMING: Final[tuple[OtherNotation, ...]] = ("json_block", "regex", "fallback")
"""The strategies that need a tool's name."""
_Place: TypeAlias = tuple[int, int, tuple[ToolCall, ...]]

PLACES: Final = 64
_NEAR: Final = 120
"""The maximum distance between a declared name and its JSON, in characters."""
_NAMES: Final = ("name", "function", "tool_name", "tool", "function_name")
_ARGUMENTS: Final = ("arguments", "parameters", "args", "input")
_OPENING: Final = re.compile(r"[{\[]")
_PATTERN: Final = re.compile(
    r"(?:\[(?:tool|function)_call\]\s*+([\w.:/-]++)\s*+(?::\s*+)?|(?<![\w.:/-])(?:call[:\s]\s*+)?([A-Za-z_][\w.:/-]*+)\(\s*+)(?=\{)"
)
_WORD: Final = re.compile(r"[^\W_]")
_ROUND_CLOSED: Final = re.compile(r"\s*+\)")
_DECODER: Final = json.JSONDecoder(strict=False, parse_constant=refuse_constant)
_CODE_MARK: Final = re.compile(r"(?m:^)[ \t]*+(`{3,}+|~{3,}+)|`++")
_LABEL: Final = re.compile(r"[\w+.-]++(?=\s|\Z)")
_CALL_LABEL: Final = re.compile(
    r"(?:json[5cl]?|tools?|function|call|(?:tool|function)_?(?:calls?|code|use)|python3?|py)?", re.IGNORECASE
)
"""The labels of fences in which models write calls; a fence with another label, such as `output` or `bash`, shows something."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One strategy tried on one text: the calls that it found, or why it found none."""

    strategy: Strategy
    calls: tuple[ToolCall, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Calls, and their positions in the text."""

    strategy: OtherNotation
    start: int
    end: int
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class _Code:
    """Code in a text, with and without its marks; `label` is None for code within a line."""

    whole: tuple[int, int]
    inside: tuple[int, int]
    label: str | None


def recover(
    text: str, declared: Declared, strategies: Sequence[OtherNotation] = (*NAMING, "inference")
) -> tuple[list[Found], list[Attempt]]:
    """The result of the first of `strategies` that finds calls in `text`, and every attempt.

    `declared` are the tools that may be called; None means that any name is allowed.
    """
    attempts: list[Attempt] = []
    code: list[_Code] | None = None
    for strategy in strategies:
        found = []
        for start, end, calls in _READERS[strategy](text, declared) if declared is None or declared else ():
            code = _code(text) if code is None else code
            if not _quoted(text, start, code):
                found.append(Found(strategy, start, end, calls))
        calls = tuple(call for f in found for call in f.calls)
        attempts.append(Attempt(strategy, calls, "" if calls else "no call found"))
        if found:
            return found, attempts
    return [], attempts


def without(text: str, found: Sequence[Found]) -> str:
    """`text` without calls, and without the marks of code that contained nothing else."""
    code = _code(text)
    cuts: list[tuple[int, int]] = []
    for around, calls in groupby([(f.start, f.end) for f in found], lambda place: _around(code, place[0])):
        places = list(calls)
        if around and places[-1][1] <= around.inside[1] and not _cut(text, around.inside, places).strip():
            places = [around.whole]
        cuts += places
    return _cut(text, (0, len(text)), cuts)


def infer(arguments: Mapping[str, object], declared: Declared) -> str | None:
    """The only declared tool that has all the keys of `arguments` and whose required keys are all there; None if two fit."""
    fitting = [name for name in declared if _knows(declared.shape(name), arguments)] if declared and arguments else []
    return fitting[0] if len(fitting) == 1 else None


def _cut(text: str, within: tuple[int, int], cuts: Sequence[tuple[int, int]]) -> str:
    """The rest of `text` from the beginning to the end of `within` when `cuts` are removed."""
    pos, last = within
    kept: list[str] = []
    for start, end in cuts:
        kept.append(text[pos:start])
        pos = end
    kept.append(text[pos:last])
    return "".join(kept)


def _code(text: str) -> list[_Code]:
    """The code in `text`: fences, and code within a line. A fence that is not closed continues to the end."""
    marks = list(_CODE_MARK.finditer(text))
    code: list[_Code] = []
    number, line_end = 0, -1
    while number < len(marks):
        mark = marks[number]
        start, first = mark.span()
        fence = len(mark[1] or mark[0]) >= 3
        if not fence and line_end < start:
            line_end = text.find("\n", start)
            line_end = len(text) if line_end < 0 else line_end
        close = _closing(marks, number, len(text) if fence else line_end)
        last, end = (len(text), len(text)) if close is None else marks[close].span()
        number = number + 1 if close is None else close + 1
        if fence:
            label = _LABEL.match(text, first, last)
            code.append(_Code((start, end), (label.end() if label else first, last), label[0] if label else ""))
            number = len(marks) if close is None else number
        elif close is not None:
            code.append(_Code((start, end), (first, last), None))
    return code


def _closing(marks: list[re.Match[str]], number: int, limit: int) -> int | None:
    """The mark before `limit` that ends the code that mark `number` opened: at the start of a line if that one is."""
    opening = marks[number]
    run = opening[1] or opening[0]
    for later in range(number + 1, len(marks)):
        mark = marks[later]
        if mark.start() >= limit:
            return None
        if mark[0] == run if len(run) < 3 else (mark[1] or opening[1] is None) and (mark[1] or mark[0]).startswith(run):
            return later
    return None


def _around(code: list[_Code], place: int) -> _Code | None:
    """The code that contains `place`."""
    number = bisect_right(code, place, key=lambda c: c.inside[0]) - 1
    return code[number] if number >= 0 and place < code[number].inside[1] else None


def _quoted(text: str, start: int, code: list[_Code]) -> bool:
    """Whether a call that starts there is only shown: in a block quote, in code within a longer line, or in a fence whose label
    names something else.
    """
    if text[text.rfind("\n", 0, start) + 1 : start].lstrip().startswith(">"):
        return True
    around = _around(code, start)
    if around is None:
        return False
    if around.label is None:
        return text.strip() != text[slice(*around.whole)]
    return not _CALL_LABEL.fullmatch(around.label)


def _json_values(text: str) -> Iterator[tuple[int, int, object]]:
    """The JSON objects and arrays in `text`, outermost first, with their positions."""
    pos = 0
    for _ in range(PLACES):
        opening = _OPENING.search(text, pos)
        if not opening:
            return
        try:
            value, end = _DECODER.raw_decode(text, opening.start())
        except (ValueError, RecursionError):
            pos = opening.end()
        else:
            yield opening.start(), end, value
            pos = end


def _json_block(text: str, declared: Declared) -> Iterator[_Place]:
    for start, end, value in _json_values(text):
        calls = tuple(call for item in _items(value) if (call := _named_call(item, declared)))
        if calls:
            yield start, end, calls


def _items(value: object) -> list[object]:
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        return list(value["tool_calls"])
    return value if isinstance(value, list) else [value]


def _parts(item: object) -> tuple[str | None, object]:
    """The name and the arguments in a JSON value; None for a missing one."""
    if not isinstance(item, dict):
        return None, None
    inner = item.get("function")
    if isinstance(inner, dict):
        return _parts({key: value for key, value in inner.items() if key != "function"})
    name = next((item[key] for key in _NAMES if isinstance(item.get(key), str)), None)
    arguments = next((item[key] for key in _ARGUMENTS if key in item), None)
    return name, arguments


def _named_call(item: object, declared: Declared) -> ToolCall | None:
    name, arguments = _parts(item)
    if name is None or not _may_be_called(name, declared):
        return None
    written_id = item.get("id") if isinstance(item, dict) else None
    return _call(name, arguments, declared, written_id if isinstance(written_id, str) and written_id else None)


def _may_be_called(name: str, declared: Declared) -> bool:
    return _WORD.search(name) is not None if declared is None else name in declared


def _call(name: str, arguments: object, declared: Declared, call_id: str | None = None) -> ToolCall | None:
    """A call, unless the arguments are not an object, or are the schema of a tool's parameters, as in
    a repeated declaration.
    """
    if isinstance(arguments, str):
        try:
            arguments = _DECODER.decode(arguments)
        except (ValueError, RecursionError):
            return None
    if not isinstance(arguments, dict):
        return None
    shape = ANY if declared is None else declared.shape(name)
    if arguments.get("type") == "object" and not shape.declares("type"):
        return None
    try:
        pieces = [f"{quote_json(key)}: {_typed(value, shape.member(key))}" for key, value in arguments.items()]
    except RecursionError:
        return None
    return ToolCall(call_id or new_call_id(), name, "{" + ", ".join(pieces) + "}")


def _typed(value: object, shape: Shape) -> str:
    return coerce.delimited(value, shape.types) if isinstance(value, str) else to_json(value)


def _regex(text: str, declared: Declared) -> Iterator[_Place]:
    pos = 0
    for _ in range(PLACES):
        pattern = _PATTERN.search(text, pos)
        if not pattern:
            return
        pos = pattern.end()
        name = (pattern[1] or pattern[2]).rstrip(":")
        if not _may_be_called(name, declared):
            continue
        try:
            value, end = _DECODER.raw_decode(text, pos)
        except (ValueError, RecursionError):
            continue
        if pattern[2]:
            closed = _ROUND_CLOSED.match(text, end)
            if not closed:
                continue
            end = closed.end()
        call = _call(name, value, declared)
        if call:
            yield pattern.start(), end, (call,)
            pos = end


def _fallback(text: str, declared: Declared) -> Iterator[_Place]:
    if not declared:
        return
    names = _any_of(tuple(declared))
    for start, end, value in _json_values(text):
        near = list(names.finditer(text, max(0, start - _NEAR), start))
        name = near[-1][0] if near else None
        # A bracket directly after the name is the format's own notation, and its reader read that as prose.
        if not name or near[-1].end() == start or not isinstance(value, dict) or not value:
            continue
        if not declared.shape(name).properties or _knows(declared.shape(name), value):
            call = _call(name, value, declared)
            if call:
                yield start, end, (call,)


@lru_cache(maxsize=64)
def _any_of(names: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the names as a word, the longest first."""
    return re.compile("|".join(rf"(?<![\w.]){re.escape(name)}(?![\w])" for name in sorted(names, key=len, reverse=True)))


def _knows(shape: Shape, arguments: Mapping[str, object]) -> bool:
    return all(key in shape.properties for key in arguments) and all(key in arguments for key in shape.required)


def _inference(text: str, declared: Declared) -> Iterator[_Place]:
    for start, end, value in _json_values(text):
        calls = []
        for item in _items(value):
            name, arguments = _parts(item)
            given = arguments if isinstance(arguments, dict) else item if name is None and isinstance(item, dict) else {}
            inferred = infer(given, declared)
            call = _call(inferred, given, declared) if inferred else None
            if call:
                calls.append(call)
        if calls:
            yield start, end, tuple(calls)


_READERS: Final[dict[OtherNotation, Callable[[str, Declared], Iterator[_Place]]]] = {
    "json_block": _json_block,
    "regex": _regex,
    "fallback": _fallback,
    "inference": _inference,
}
