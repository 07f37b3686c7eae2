"""Read calls that a model wrote in somebody else's notation: level "eager", where the native notation found none.

The strategies, in the order tried; the first that finds a call decides, and every one that was tried leaves an `Attempt`:

    json_block   JSON in a fence, alone or in prose: an object with a name and arguments, a list of them, OpenAI's `tool_calls`
    regex        a call pattern: `call name({...})`, `name({...})`, `[tool_call] name: {...}`, `[function_call] name: {...}`
    fallback     a declared name with a JSON object of its declared parameters near behind it
    inference    JSON arguments without a declared name: the one declared tool that they fit

All stand behind `native`, the format's own reading. Work is bounded: at most `PLACES` places of a text are tried as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from gemma_tools.formats.base import Recovery, ReplyParser
from gemma_tools.formats.parsing import Declared, declared_tools
from gemma_tools.jsontext import refuse_constant
from gemma_tools.reply import (
    ContentDelta,
    Event,
    Problem,
    Reply,
    ToolCall,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
    new_call_id,
)
from gemma_tools.schema import coerce

Strategy: TypeAlias = Literal["native", "json_block", "regex", "fallback", "inference"]

PLACES: Final = 64
_NEAR: Final = 120
"""How far behind a declared name its JSON may begin, in characters."""
_NAMES: Final = ("name", "function", "tool_name", "tool", "function_name")
_ARGUMENTS: Final = ("arguments", "parameters", "args", "input")
_OPENING: Final = re.compile(r"[{\[]")
_FENCE_BEFORE: Final = re.compile(r"```[\w+-]*[ \t]*\n?\s*\Z")
_FENCE_BEHIND: Final = re.compile(r"\s*```")
_PATTERN: Final = re.compile(
    r"(?:\[(?:tool|function)_call\]\s*([\w.:/-]+)\s*(?::\s*)?|(?<![\w.:/-])(?:call[:\s]\s*)?([A-Za-z_][\w.:/-]*)\(\s*)(?=\{)"
)
_ROUND_CLOSED: Final = re.compile(r"\s*\)")
_DECODER: Final = json.JSONDecoder(strict=False, parse_constant=refuse_constant)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One strategy tried on one text: the calls that it found, or why it found none."""

    strategy: Strategy
    calls: tuple[ToolCall, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the strategies made of a text; `content` is the text without the calls."""

    content: str
    calls: tuple[ToolCall, ...]
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    start: int
    end: int
    calls: tuple[ToolCall, ...]


def recover(text: str, declared: Declared) -> Recovered:
    """Try the strategies on `text`, a reply in which the native notation found no call.

    `declared` maps each tool's name to its parameters' schema; None means that any name goes.
    """
    attempts: list[Attempt] = []
    for strategy, read in _STRATEGIES.items():
        found = [] if declared is not None and not declared else list(read(text, declared))
        calls = tuple(call for f in found for call in f.calls)
        attempts.append(Attempt(strategy, calls, "" if calls else "no call found"))
        if calls:
            return Recovered(_without(text, found), calls, tuple(attempts))
    return Recovered(text, (), tuple(attempts))


def _without(text: str, found: list[_Found]) -> str:
    kept: list[str] = []
    pos = 0
    for f in found:
        before, behind = _FENCE_BEFORE.search(text, pos, f.start), _FENCE_BEHIND.match(text, f.end)
        fenced = before is not None and behind is not None
        kept.append(text[pos : before.start() if before and fenced else f.start])
        pos = behind.end() if behind and fenced else f.end
    kept.append(text[pos:])
    return "".join(kept)


def _json_values(text: str) -> Iterator[tuple[int, int, object]]:
    """The JSON objects and arrays in `text`, outermost first, with where they begin and end."""
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


def _json_block(text: str, declared: Declared) -> Iterator[_Found]:
    for start, end, value in _json_values(text):
        calls = tuple(call for item in _items(value) if (call := _named_call(item, declared)))
        if calls:
            yield _Found(start, end, calls)


def _items(value: object) -> list[object]:
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        return list(value["tool_calls"])
    return value if isinstance(value, list) else [value]


def _parts(item: object) -> tuple[str | None, object]:
    """The name and the arguments that a JSON value gives; None for what it does not."""
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
    if name is None or (declared is not None and name not in declared):
        return None
    written_id = item.get("id") if isinstance(item, dict) else None
    return _call(name, arguments, declared, written_id if isinstance(written_id, str) and written_id else None)


def _call(name: str, arguments: object, declared: Declared, call_id: str | None = None) -> ToolCall | None:
    if isinstance(arguments, str):
        try:
            arguments = _DECODER.decode(arguments)
        except (ValueError, RecursionError):
            return None
    if not isinstance(arguments, dict):
        return None
    schema = (declared or {}).get(name, {})
    try:
        pieces = [
            f"{coerce.quote_json(key)}: {_typed(value, coerce.member(schema, key, schema), schema)}"
            for key, value in arguments.items()
        ]
    except RecursionError:
        return None
    return ToolCall(call_id or new_call_id(), name, "{" + ", ".join(pieces) + "}")


def _typed(value: object, node: coerce.Schema | None, root: coerce.Schema) -> str:
    if isinstance(value, str):
        return coerce.delimited(value, coerce.types_of(node, root))
    return coerce.to_json(value)


def _regex(text: str, declared: Declared) -> Iterator[_Found]:
    pos = 0
    for _ in range(PLACES):
        pattern = _PATTERN.search(text, pos)
        if not pattern:
            return
        pos = pattern.end()
        name = (pattern[1] or pattern[2]).rstrip(":")
        if declared is not None and name not in declared:
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
            yield _Found(pattern.start(), end, (call,))
            pos = end


def _fallback(text: str, declared: Declared) -> Iterator[_Found]:
    if not declared:
        return
    names = re.compile("|".join(rf"(?<![\w.]){re.escape(name)}(?![\w])" for name in sorted(declared, key=len, reverse=True)))
    for start, end, value in _json_values(text):
        near = list(names.finditer(text, max(0, start - _NEAR), start))
        name = near[-1][0] if near else None
        if name and isinstance(value, dict) and (not declared[name].get("properties") or _knows(declared[name], value)):
            call = _call(name, value, declared)
            if call:
                yield _Found(start, end, (call,))


def _knows(schema: Mapping[str, Any], arguments: Mapping[str, object]) -> bool:
    properties = schema.get("properties") or {}
    required = schema.get("required") or []
    return all(key in properties for key in arguments) and all(key in arguments for key in required)


def infer(arguments: Mapping[str, object], declared: Declared) -> str | None:
    """The one declared tool that has all the keys of `arguments` and whose required keys are all there; two are none."""
    fitting = [name for name, schema in (declared or {}).items() if arguments and _knows(schema, arguments)]
    return fitting[0] if len(fitting) == 1 else None


def _inference(text: str, declared: Declared) -> Iterator[_Found]:
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
            yield _Found(start, end, tuple(calls))


_STRATEGIES: Final[dict[Strategy, Callable[[str, Declared], Iterator[_Found]]]] = {
    "json_block": _json_block,
    "regex": _regex,
    "fallback": _fallback,
    "inference": _inference,
}


def with_recovery(
    make: Callable[[Sequence[Any] | None], ReplyParser], tools: Sequence[Any] | None, level: Recovery
) -> ReplyParser:
    """The parser that `make` gives for `tools`, with the strategies behind it at level "eager"."""
    if level != "eager":
        return make(tools)
    return EagerParser(make(tools), declared_tools(tools), make(None))


class EagerParser:
    """A native parser, and the strategies on what it left when it found no call.

    Content is held back until the native notation shows a call, or the text ends: only then is it known what it is.
    """

    def __init__(self, native: ReplyParser, declared: Declared, any_name: ReplyParser) -> None:
        self._native = native
        self._any_name = any_name
        self._declared = declared
        self._held: list[Event] = []
        self._called = False
        self._recovered: Recovered | None = None
        self._problems: tuple[Problem, ...] = ()

    def feed(self, text: str) -> list[Event]:
        """Take the next piece and return what is certain by now."""
        return self._pass(self._native.feed(text))

    def close(self, finish: Literal["stop", "length"] = "stop") -> list[Event]:
        """The text has ended, and how; return what was held back, calls of other notations among it."""
        events = self._pass(self._native.close(finish))
        reply = self._native.reply
        held, self._held = self._held, []
        if self._called or self._recovered or reply.finish_reason == "length":
            return events + held
        self._recovered = found = self._recover(reply)
        if not found.calls:
            return events + held
        if found.content.strip():
            events.append(ContentDelta(found.content))
        strategy: Any = found.attempts[-1].strategy
        for index, call in enumerate(found.calls):
            events += (
                ToolCallStarted(index, call.id, call.name),
                ToolCallDelta(index, call.arguments_json),
                ToolCallEnded(index),
            )
            problem = Problem(strategy, "a call in another notation", index=index)
            self._problems += (problem,)
            events.append(problem)
        return events

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every strategy that was tried, in order; complete after `close`."""
        calls = self._native.reply.tool_calls
        native = Attempt("native", calls, "" if calls else "no call found")
        return (native, *(self._recovered.attempts if self._recovered else ()))

    @property
    def finished(self) -> bool:
        """See `ReplyParser.finished`."""
        return self._native.finished

    @property
    def reply(self) -> Reply:
        """Everything read so far; complete after `close`."""
        reply, found = self._native.reply, self._recovered
        if not found or not found.calls:
            return reply
        return Reply(
            content=found.content if found.content.strip() else None,
            reasoning=reply.reasoning,
            tool_calls=found.calls,
            finish_reason="tool_calls",
            problems=reply.problems + self._problems,
        )

    def _pass(self, events: list[Event]) -> list[Event]:
        if self._called:
            return events
        self._called = any(isinstance(event, ToolCallStarted) for event in events)
        if self._called:
            held, self._held = self._held, []
            return held + events
        self._held += [event for event in events if isinstance(event, ContentDelta)]
        return [event for event in events if not isinstance(event, ContentDelta)]

    def _recover(self, reply: Reply) -> Recovered:
        content = reply.content or ""
        found = recover(content, self._declared)
        if found.calls:
            return found
        # A call in native tags that cannot be one: its inside may be another notation, or a call of no declared name.
        refused = "".join(p.text for p in reply.problems if p.kind in ("unreadable", "undeclared"))
        if not refused or not self._declared:
            return found
        inner = recover(refused, self._declared)
        if inner.calls:
            return Recovered(content, inner.calls, found.attempts + inner.attempts)
        self._any_name.feed(refused)
        self._any_name.close()
        calls = []
        for call in self._any_name.reply.tool_calls:
            inferred = infer(call.arguments, self._declared)
            if inferred:
                calls.append(ToolCall(call.id, inferred, call.arguments_json))
        if not calls:
            return found
        return Recovered(content, tuple(calls), (*found.attempts, Attempt("inference", tuple(calls))))
