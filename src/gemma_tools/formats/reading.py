"""The base of every reply parser: text that is read from start to end, and the reply that is built from it.

A family's reader consists of generators over one `Buffer` and one `ReplyBuilder`. A generator yields whenever it needs more
text, so reading is incremental by design. `Parser` appends each chunk and resumes the generator. Three rules ensure that every
way of splitting the text gives the same reply as the whole text, and that reading is linear:

- decide only what is certain: if the text so far has several possible meanings, yield, unless the text has ended;
- after a yield continue where the last search ended, never at the beginning of a run;
- keep no text and no match object in a local variable across a yield: appending to the text would then copy it.

The whole output stays in the buffer, so a position remains valid in the model's output while the parser lives.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, TypeVar

from gemma_tools.reply import (
    ContentDelta,
    Event,
    FinishReason,
    Problem,
    ProblemKind,
    ReasoningDelta,
    Reply,
    ToolCall,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
    new_call_id,
)
from gemma_tools.schema.shape import ANY, Shape, shape_of
from gemma_tools.schema.types import Schema
from gemma_tools.validation import validate_tools

T = TypeVar("T")
Reading: TypeAlias = Generator[None, None, T]
"""A reader: it yields when it needs more text, and returns what it read."""

MOST_REPEATS: Final = 4
"""Identical calls in a row. One more ends the reading, because a repeating model does not stop before the token limit."""

_LARGEST_KEY: Final = 65_536
"""The size of a schema that is cached for the next reply, in bytes."""


class Buffer:
    """The model's output so far. `ended` means that no more will come, and `cut` that the token limit ended it."""

    __slots__ = ("cut", "ended", "lane", "text")

    def __init__(self) -> None:
        self.text = ""
        self.ended = False
        self.cut = False
        self.lane: Callable[[str], bool] | None = None
        """Set by a reader that waits in a long run of plain text: it takes a chunk without resuming the reader, or refuses it.

        The chunk is already in `text` when it is called. A reader sets it directly before it yields, and clears it afterwards.
        """

    def append(self, piece: str) -> None:
        """Add `piece` to the text."""
        # Appending to a string without other references is done in place, so the text costs linear time, however it is split.
        text, self.text = self.text, ""
        text += piece
        self.text = text


class ReplyBuilder:
    """Collects the events of one generation, and the reply that they add up to."""

    def __init__(self, buffer: Buffer, *, max_calls: int | None = None) -> None:
        self._buffer = buffer
        self._max_calls = max_calls
        self._events: list[Event] = []
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._problems: list[Problem] = []
        self.calls: list[ToolCall] = []
        """The calls that are complete."""
        self._opened = 0
        self._open: tuple[str, str, list[str]] | None = None
        self.pieces: list[str] = []
        """The JSON text of the open call that is in no event yet: `take` and `end_call` make one Delta from it."""
        self._repeats = 0
        self._cut = False
        self.full: Literal["call_limit", "repeated_call"] | None = None
        """Why nothing more is read, if that is so; text after the calls goes into a problem of this kind."""

    def content(self, text: str) -> None:
        """Add a chunk of the answer."""
        if text:
            self._content.append(text)
            self._events.append(ContentDelta(text))

    def reasoning(self, text: str) -> None:
        """Add a chunk of the thought."""
        if text:
            self._reasoning.append(text)
            self._events.append(ReasoningDelta(text))

    def problem(
        self,
        kind: ProblemKind,
        message: str,
        start: int | None,
        end: int | None,
        *,
        quoted: bool = False,
        index: int | None = None,
    ) -> None:
        """Report the text from `start` to `end`; `quoted` if the text is nowhere else in the reply."""
        text = self._buffer.text[start:end] if quoted else ""
        self.report(Problem(kind, message, text, index, start, end))

    def report(self, problem: Problem) -> None:
        """Report an existing problem."""
        self._problems.append(problem)
        self._events.append(problem)

    def start_call(self, name: str, call_id: str | None = None) -> int:
        """Begin a call and return its index; `end_call` completes it, `drop_call` drops it."""
        index, self._opened = self._opened, self._opened + 1
        call_id = call_id or new_call_id()
        self._open = (call_id, name, [])
        self._events.append(ToolCallStarted(index, call_id, name))
        return index

    def _tell_arguments(self) -> None:
        pieces = self.pieces
        json_text = pieces[0] if len(pieces) == 1 else "".join(pieces)
        pieces.clear()
        if json_text and self._open is not None:
            self._open[2].append(json_text)
            self._events.append(ToolCallDelta(self._opened - 1, json_text))

    def end_call(self, start: int, end: int) -> bool:
        """Complete the open call from `start` to `end`; False if it repeats the last calls too often.

        Such a call is dropped and reported, and reading ends: see `full`.
        """
        self._tell_arguments()
        assert self._open is not None
        call_id, name, pieces = self._open
        call = ToolCall(call_id, name, "".join(pieces))
        self._open = None
        self._repeats = self._repeats + 1 if self.calls and self.calls[-1] == call else 1
        if self._repeats > MOST_REPEATS:
            self.full = "repeated_call"
            message = f"the same call {self._repeats} times in a row"
            self.problem("repeated_call", message, start, end, quoted=True, index=self._opened - 1)
            return False
        self.calls.append(call)
        self._events.append(ToolCallEnded(self._opened - 1))
        if len(self.calls) == self._max_calls:
            self.full = "call_limit"
        return True

    def drop_call(self) -> None:
        """Drop the open call: it never gets an end."""
        self._open = None
        self.pieces.clear()

    def cut(self) -> None:
        """The text ended inside a call: the finish reason is "length", whatever the engine reports."""
        self._cut = True

    @property
    def last_index(self) -> int:
        """The index of the call that started last."""
        return self._opened - 1

    @property
    def has_content(self) -> bool:
        """Whether there is any content so far."""
        return bool(self._content)

    def take(self) -> list[Event]:
        """The events since the last time."""
        if self.pieces:
            self._tell_arguments()
        events, self._events = self._events, []
        return events

    def reply(self, finish: Literal["stop", "length"]) -> Reply:
        """Everything so far, for a generation that ended with `finish`."""
        reason: FinishReason = "tool_calls" if self.calls else "stop"
        if self._cut or finish == "length":
            reason = "length"
        return Reply(
            content="".join(self._content) or None,
            reasoning="".join(self._reasoning) or None,
            tool_calls=tuple(self.calls),
            finish_reason=reason,
            problems=tuple(self._problems),
        )


class Parser:
    """A `ReplyParser` that resumes `reading` with each chunk of text.

    If the text ends without a call, `without_call` is called last.
    """

    def __init__(self, buffer: Buffer, builder: ReplyBuilder, reading: Reading[None]) -> None:
        self.buffer = buffer
        self.builder = builder
        self.without_call: Callable[[Parser], None] | None = None
        self._reading = reading
        self._finish: Literal["stop", "length"] = "stop"
        self._closed = False

    def feed(self, text: str) -> list[Event]:
        """Take the next chunk and return the events that are certain so far. Never raises for any text.

        Raises:
            ValueError: the parser is closed.
        """
        if self._closed:
            raise ValueError("the parser is closed")
        buffer = self.buffer
        buffer.append(text)
        lane = buffer.lane
        if lane is None or not lane(text):
            next(self._reading, None)
        return self.builder.take()

    def close(self, finish: Literal["stop", "length"] = "stop") -> list[Event]:
        """The text has ended; return the events that were held back."""
        if self._closed:
            return []
        self.buffer.ended, self.buffer.cut, self._finish = True, finish == "length", finish
        next(self._reading, None)
        if self.without_call is not None and not self.builder.calls:
            self.without_call(self)
        self._closed = True
        return self.builder.take()

    @property
    def finished(self) -> bool:
        """Whether nothing more will be read, because of `max_calls` or a repeated call: stop the engine."""
        return self.builder.full is not None

    @property
    def reply(self) -> Reply:
        """Everything read so far; complete after `close`."""
        return self.builder.reply(self._finish)


class Tools(dict[str, Schema]):
    """The parameters of the declared tools by name."""

    def __init__(self) -> None:
        super().__init__()
        self._shapes: dict[str, Shape] = {}

    def shape(self, name: str) -> Shape:
        """The types of a tool's parameters; any type if no tool with that name is declared.

        It is computed on demand: a reply calls few of many tools.
        """
        shape = self._shapes.get(name)
        if shape is None:
            if name not in self:
                return ANY
            shape = self._shapes[name] = _shape_of(self[name])
        return shape


Declared: TypeAlias = Tools | None
"""None means that any name is allowed."""


def declared_tools(tools: Sequence[Any] | None) -> Declared:
    """The tools that may be called; None if any name is allowed.

    Raises:
        InvalidRequest: the tools are not valid OpenAI objects.
    """
    if tools is None:
        return None
    if not isinstance(tools, list):
        return _validated(tools)
    # A parser is created for every reply, and most callers pass a list of plain dicts.
    declared = Tools()
    for tool in tools:
        function = tool.get("function") if tool.__class__ is dict else None
        if function.__class__ is not dict:
            return _validated(tools)
        name, schema = function.get("name"), function.get("parameters") or {}
        if name.__class__ is not str or schema.__class__ is not dict:
            return _validated(tools)
        declared[name] = schema
    return declared


def _validated(tools: Sequence[Any]) -> Tools:
    declared = Tools()
    declared.update((tool.name, tool.parameters or {}) for tool in validate_tools(tools))
    return declared


def _shape_of(parameters: Schema) -> Shape:
    """The types of parameters that are usually the same from one reply to the next."""
    try:
        key = marshal.dumps(parameters, 2)  # type: ignore[arg-type]
    except ValueError:  # too deep for marshal, or not plain Python values
        return shape_of(parameters)
    return _known_shape(key) if len(key) <= _LARGEST_KEY else shape_of(parameters)


@lru_cache(maxsize=1024)
def _known_shape(key: bytes) -> Shape:
    return shape_of(marshal.loads(key))
