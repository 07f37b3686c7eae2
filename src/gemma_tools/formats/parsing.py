"""The ground that every reply parser stands on.

A parser is written as one generator that reads forward through `self._text` from `self._pos` and yields whenever it needs
more than is there, so that it is incremental by construction: `feed` appends and resumes it, `close` sets `self._ended` and
lets it finish. Two rules keep every way of cutting the text equal to feeding it whole:

- decide only on what is certain: where the text so far could still go another way, yield, unless it has ended;
- before a yield, `self._pos` is the start of what is held back, and positions kept across the yield count from there
  (consumed text is dropped between pieces), except while `self._pinned`: then no text is dropped and positions stay.
  No local variable may hold the text across a yield: appending to it would copy it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from gemma_tools.reply import (
    ContentDelta,
    Event,
    FinishReason,
    Problem,
    ReasoningDelta,
    Reply,
    ToolCall,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
    new_call_id,
)
from gemma_tools.validation import validate_tools

Reading: TypeAlias = Generator[None, None, None]
Declared: TypeAlias = Mapping[str, Mapping[str, Any]] | None
"""The parameters' schema of every declared tool by name; None means that any name goes."""


def declared_tools(tools: Sequence[Any] | None) -> Declared:
    """The parameters' schema of every tool by name; None if any name goes.

    Raises:
        InvalidRequest: the tools are not OpenAI's.
    """
    if tools is None:
        return None
    if not isinstance(tools, list):
        return _validated(tools)
    # A parser is made for every reply, and a list of plain dicts is what most callers have.
    declared: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        function = tool.get("function") if tool.__class__ is dict else None
        if function.__class__ is not dict:
            return _validated(tools)
        name, parameters = function.get("name"), function.get("parameters") or {}
        if name.__class__ is not str or parameters.__class__ is not dict:
            return _validated(tools)
        declared[name] = parameters
    return declared


def _validated(tools: Sequence[Any]) -> Declared:
    return {tool.name: tool.parameters or {} for tool in validate_tools(tools)}


class GeneratorParser:
    """Buffering, events and the reply; a subclass writes `_read`."""

    def __init__(self) -> None:
        self._text = ""
        self._pos = 0
        self._pinned = False
        self._ended = False
        self._finish: Literal["stop", "length"] = "stop"
        self._cut = False
        self._events: list[Event] = []
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._problems: list[Problem] = []
        self._calls: list[ToolCall] = []
        self._opened = 0
        self._open: tuple[str, str, list[str]] | None = None
        self._closed = False
        self._reader = self._read()

    def _read(self) -> Reading:
        raise NotImplementedError

    def feed(self, text: str) -> list[Event]:
        """Take the next piece and return what is certain by now. Never raises, whatever the text."""
        if self._closed:
            raise ValueError("the parser is closed")
        # Appending to a string that nothing else refers to is done in place: a long held-back text costs linear time.
        held = self._text
        self._text = ""
        if self._pos and not self._pinned:
            held = held[self._pos :]
            self._pos = 0
        held += text
        self._text = held
        del held
        return self._resume()

    def close(self, finish: Literal["stop", "length"] = "stop") -> list[Event]:
        """The text has ended, and how; return what was held back."""
        if self._closed:
            return []
        self._ended, self._finish = True, finish
        events = self._resume()
        self._closed = True
        return events

    @property
    def finished(self) -> bool:
        """Whether no more text will be read: never."""
        return False

    @property
    def reply(self) -> Reply:
        """Everything read so far; complete after `close`."""
        finish: FinishReason = "tool_calls" if self._calls else "stop"
        if self._cut or self._finish == "length":
            finish = "length"
        return Reply(
            content="".join(self._content) or None,
            reasoning="".join(self._reasoning) or None,
            tool_calls=tuple(self._calls),
            finish_reason=finish,
            problems=tuple(self._problems),
        )

    def _resume(self) -> list[Event]:
        next(self._reader, None)
        events, self._events = self._events, []
        return events

    def _pin(self) -> None:
        """Keep all text from `_pos` on, and positions as they are from now on, until `_pinned` is set to False."""
        if 2 * self._pos > len(self._text):
            self._text = self._text[self._pos :]
            self._pos = 0
        self._pinned = True

    def _emit_content(self, text: str) -> None:
        if text:
            self._content.append(text)
            self._events.append(ContentDelta(text))

    def _emit_reasoning(self, text: str) -> None:
        if text:
            self._reasoning.append(text)
            self._events.append(ReasoningDelta(text))

    def _emit_problem(self, kind: Any, message: str, text: str = "", *, index: int | None = None) -> None:
        problem = Problem(kind, message, text, index)
        self._problems.append(problem)
        self._events.append(problem)

    def _start_call(self, name: str, call_id: str | None = None) -> int:
        """Begin a call and return its index; `_end_call` completes it, `_drop_call` gives it up."""
        index, self._opened = self._opened, self._opened + 1
        call_id = call_id or new_call_id()
        self._open = (call_id, name, [])
        self._events.append(ToolCallStarted(index, call_id, name))
        return index

    def _emit_arguments(self, json_text: str) -> None:
        """A piece of the open call's JSON text."""
        if json_text:
            assert self._open is not None
            self._open[2].append(json_text)
            self._events.append(ToolCallDelta(self._opened - 1, json_text))

    def _end_call(self) -> None:
        assert self._open is not None
        call_id, name, pieces = self._open
        self._open = None
        self._calls.append(ToolCall(call_id, name, "".join(pieces)))
        self._events.append(ToolCallEnded(self._opened - 1))

    def _drop_call(self, *, cut: bool) -> None:
        """Give the open call up: it stays without its end. `cut` when the text ended inside it."""
        self._open = None
        self._cut |= cut
