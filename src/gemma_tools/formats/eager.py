"""Level "eager": calls in other notations, if the format's own notation has none; and a hint about them at the lower levels.

`EagerParser` wraps a format's own parser and tries the strategies on the text that it left. `note_unread` makes a parser of a
lower level report what a higher level would have read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from gemma_tools.formats.base import Recovery
from gemma_tools.formats.reading import MOST_REPEATS, Declared, Parser
from gemma_tools.formats.strategies import NAMING, Attempt, Found, OtherNotation, infer, recover, without
from gemma_tools.reply import (
    ContentDelta,
    Event,
    Problem,
    Reply,
    ToolCall,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)

_REFUSED: Final = frozenset(("unreadable", "undeclared"))
_WHITE_AND_MARKS: Final = " \t\r\n`~"
_FULL: Final = {
    "call_limit": "after the last allowed call",
    "repeated_call": f"the same call {MOST_REPEATS + 1} times in a row",
}


class _Call(NamedTuple):
    """A call in another notation; `text` is its raw text, if that is nowhere else in the reply."""

    strategy: OtherNotation
    call: ToolCall
    text: str
    start: int | None
    end: int | None


class EagerParser:
    """A format's own parser, and the strategies on the text that it left if it found no call.

    Content is held back until the format's own notation shows a call, or the text ends. Only then is its meaning certain.
    """

    def __init__(
        self, native: Parser, declared: Declared, any_name: Callable[[], Parser], *, max_calls: int | None = None
    ) -> None:
        """`any_name` creates a parser of the same notation that reads calls with any name; `native` has `max_calls`."""
        self._native = native
        self._any_name = any_name
        self._declared = declared
        self._max_calls = max_calls
        self._held: list[Event] = []
        self._called = False
        self._attempts: tuple[Attempt, ...] = ()
        self._recovered: Reply | None = None

    def feed(self, text: str) -> list[Event]:
        """Take the next chunk and return the events that are certain so far."""
        return self._pass(self._native.feed(text))

    def close(self, finish: Literal["stop", "length"] = "stop") -> list[Event]:
        """The text has ended; return the events that were held back, including calls in other notations."""
        events = self._pass(self._native.close(finish))
        reply = self._native.reply
        held, self._held = self._held, []
        if self._called or self._attempts or reply.finish_reason == "length":
            return events + held
        found, attempts = recover(reply.content or "", self._declared)
        self._attempts = tuple(attempts)
        if found:
            return events + self._read(reply, found)
        refused = self._refused(reply)
        if refused:
            return events + held + self._add(reply, reply.content, refused, ())
        return events + held

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every strategy that was tried, in order; complete after `close`."""
        calls = self._native.reply.tool_calls
        return (Attempt("native", calls, "" if calls else "no call found"), *self._attempts)

    @property
    def finished(self) -> bool:
        """See `ReplyParser.finished`."""
        return self._native.finished

    @property
    def reply(self) -> Reply:
        """Everything read so far; complete after `close`."""
        return self._recovered or self._native.reply

    def _pass(self, events: list[Event]) -> list[Event]:
        if self._called:
            return events
        self._called = any(isinstance(event, ToolCallStarted) for event in events)
        if self._called:
            held, self._held = self._held, []
            return held + events
        self._held += [event for event in events if isinstance(event, ContentDelta)]
        return [event for event in events if not isinstance(event, ContentDelta)]

    def _read(self, reply: Reply, found: list[Found]) -> list[Event]:
        """Remove the calls that were found in the content from it."""
        content, output = reply.content or "", self._native.buffer.text
        taken, full = _allowed([call for f in found for call in f.calls], self._max_calls)
        calls: list[_Call] = []
        kept: list[Found] = []
        rest = len(content)
        for f in found:
            if len(calls) == taken:
                break
            kept.append(f)
            start, end = _place(content, f.start, f.end, output)
            new = f.calls[: taken - len(calls)]
            # The text is in one of several problems, so that they take no more space than the text.
            texts = (content[f.start : f.end], *[""] * (len(new) - 1))
            calls += [_Call(f.strategy, call, text, start, end) for call, text in zip(new, texts, strict=True)]
            rest = f.end if len(new) == len(f.calls) else f.start
        problems: tuple[Problem, ...] = ()
        if full and content[rest:].strip(_WHITE_AND_MARKS):
            problems = (Problem(full, _FULL[full], content[rest:], None, *_place(content, rest, len(content), output)),)
            content = content[: kept[-1].end]
        content = without(content, kept)
        events: list[Event] = [ContentDelta(content)] if content.strip() else []
        return events + self._add(reply, content if content.strip() else None, calls, problems)

    def _refused(self, reply: Reply) -> list[_Call]:
        """The calls in native tags that cannot be native calls: another notation, or a call whose name is not declared."""
        calls: list[_Call] = []
        for problem in reply.problems if self._declared else ():
            if problem.kind not in _REFUSED:
                continue
            found, _ = recover(problem.text, self._declared)
            new = [(f.strategy, call) for f in found for call in f.calls] or self._inferred(problem.text)
            if new:
                self._attempts += (Attempt(new[0][0], tuple(call for _, call in new)),)
            calls += [_Call(strategy, call, "", problem.start, problem.end) for strategy, call in new]
        taken, _ = _allowed([call.call for call in calls], self._max_calls)
        return calls[:taken]

    def _inferred(self, text: str) -> list[tuple[OtherNotation, ToolCall]]:
        """Calls with undeclared names, as calls of the only tool that they fit."""
        parser = self._any_name()
        parser.feed(text)
        parser.close()
        named = [(infer(call.arguments, self._declared), call) for call in parser.reply.tool_calls]
        return [("inference", ToolCall(call.id, name, call.arguments_json)) for name, call in named if name]

    def _add(self, reply: Reply, content: str | None, calls: list[_Call], problems: tuple[Problem, ...]) -> list[Event]:
        """The events of `calls`, which together with `content` replace the reply of the native parser."""
        events: list[Event] = []
        added: list[Problem] = []
        for index, (strategy, call, text, start, end) in enumerate(calls):
            added.append(Problem(strategy, "a call in another notation", text, index, start, end))
            events += (
                ToolCallStarted(index, call.id, call.name),
                ToolCallDelta(index, call.arguments_json),
                ToolCallEnded(index),
                added[-1],
            )
        self._recovered = Reply(
            content=content,
            reasoning=reply.reasoning,
            tool_calls=tuple(call.call for call in calls),
            finish_reason="tool_calls",
            problems=(*reply.problems, *added, *problems),
        )
        return [*events, *problems]


def _allowed(calls: Sequence[ToolCall], max_calls: int | None) -> tuple[int, Literal["call_limit", "repeated_call"] | None]:
    """How many of `calls` are used, and why reading ends after them."""
    repeats = 0
    for number, call in enumerate(calls):
        repeats = repeats + 1 if number and calls[number - 1] == call else 1
        if repeats > MOST_REPEATS:
            return number, "repeated_call"
        if number + 1 == max_calls:
            return max_calls, "call_limit"
    return len(calls), None


def _place(content: str, start: int, end: int, output: str) -> tuple[int | None, int | None]:
    """The position of a part of the content in the model's output; None if it is not certain."""
    for text, offset in ((content, start), (content[start:end], 0)):
        first = output.find(text)
        if first >= 0 and output.find(text, first + 1) < 0:
            return first + offset, first + offset + end - start
    return None, None


def note_unread(parser: Parser, declared: Declared, repairing: Callable[[], Parser] | None = None) -> None:
    """Report as `unread_call` what a higher level would have read, if `parser` has read its whole text without a call.

    `repairing` creates a parser of level "schema" if `parser` has level "strict".
    """
    builder, output = parser.builder, parser.buffer.text
    if parser.buffer.cut or not _may_name_a_call(output, declared):
        return
    reply = builder.reply("stop")
    if reply.finish_reason == "length":
        return
    if repairing is not None and not any(problem.kind in _REFUSED for problem in reply.problems):
        higher = repairing()
        higher.feed(output)
        higher.close()
        if higher.reply.tool_calls:
            repaired = set(higher.reply.problems) - set(reply.problems)
            start = min((p.start for p in repaired if p.start is not None), default=None)
            end = max((p.end for p in repaired if p.end is not None), default=None)
            builder.problem("unread_call", _unread("schema", higher.reply.tool_calls), start, end)
            return
    content = reply.content or ""
    for f in recover(content, declared, NAMING)[0]:
        builder.problem("unread_call", _unread("eager", f.calls), *_place(content, f.start, f.end, output))


def _may_name_a_call(output: str, declared: Declared) -> bool:
    """Whether the text can contain a call of a declared tool at all. Most answers cannot, and are not checked further."""
    return ("{" in output or "(" in output) and (declared is None or any(name in output for name in declared))


def _unread(level: Recovery, calls: Sequence[ToolCall]) -> str:
    names = ", ".join(dict.fromkeys(call.name for call in calls))
    return f'level "{level}" would read a call of {names}'
