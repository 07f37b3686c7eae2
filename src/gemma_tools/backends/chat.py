"""Requests to a chat endpoint: if an engine has nothing else, or if raw text would hide special tokens.

The endpoint writes the prompt. It gets the conversation as messages, and returns chunks, some of them already parsed. The
format's parser still reads their text, because endpoints leave calls in it.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, cast

from gemma_tools.backends.plan import Plan
from gemma_tools.engines.base import Chat, ChatEngine, ChatPiece, Engine
from gemma_tools.engines.turns import ChatTurn, TurnCall, TurnPart, turns_of
from gemma_tools.formats.base import Format, ReplyParser
from gemma_tools.formats.gemma3 import Gemma3Format
from gemma_tools.formats.reading import Buffer, ReplyBuilder
from gemma_tools.jsontext import is_mapping, to_json
from gemma_tools.prompt import WORD_JOINER, Prompt
from gemma_tools.reply import (
    ContentDelta,
    Event,
    Problem,
    ProblemKind,
    ReasoningDelta,
    Reply,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)
from gemma_tools.request import MEDIA_PARTS, Content, Message, Tool

HIDDEN_TOKENS = "the engine hides special tokens, so its own chat endpoint wrote the prompt and read the calls"
"""A warning in every answer that came from a chat endpoint for this reason."""
MEDIA_BY_CHAT = "the engine takes images and audio only through its chat endpoint, which wrote the prompt and read the calls"
"""A warning in every answer that came from a chat endpoint for this reason."""


class Hiding(Protocol):
    """An engine that takes raw prompts and may hide special tokens in its text; it also has a chat endpoint."""

    def shows_markers(self, prompt: Prompt) -> bool | None:
        """Whether raw text shows the model's special tokens; None if that is not known."""
        ...


def needs_chat(engine: Engine, plan: Plan) -> ChatEngine | None:
    """`engine`, if its chat endpoint must be used: it has nothing else, or its text would hide special tokens.

    Raises:
        EngineError: the engine failed.
    """
    can = engine.capabilities
    if not can.chat:
        return None
    chat = cast(ChatEngine, engine)
    if not can.raw_prompt:
        return chat
    if plan.forced or plan.thought_end is not None or not plan.needs_markers:
        return None
    return chat if cast(Hiding, engine).shows_markers(plan.prompt) is False else None


def chat_of(plan: Plan, *, think: bool | None) -> Chat:
    """The request to the chat endpoint for `plan`."""
    if plan.way == "prompted":
        return Chat(turns=turns_of(plan.prompt), think=think)
    tools = [_guarded(_function(tool), plan.prompt.guard) for tool in (plan.tools if plan.must_call else plan.declared)]
    turns = tuple(_turns(plan.messages, plan.prompt.media, plan.prompt.guard))
    return Chat(turns=turns, tools=tools, must_call=plan.must_call, think=think)


def reader_of(plan: Plan, format: Format) -> ChatReader:
    """The reader of the answer to `chat_of`."""
    prompt, names = plan.prompt, {tool.name for tool in plan.tools}
    reading, expected = format, frozenset[ProblemKind]()
    if plan.call_as_json:
        reading = _JSON_CALLS
    elif plan.way == "prompted":
        expected = format.plain.repairs
        if getattr(format, "recovery", "") == "strict":  # calls in plain text are not in the exact notation
            reading = replace(format, recovery="schema")  # type: ignore[type-var]  # a `GemmaFormat` is a dataclass
    return ChatReader(
        reading.parser(plan.tools, guarded=prompt.guarded, max_calls=plan.max_calls),
        names,
        max_calls=plan.max_calls,
        guarded=prompt.guarded,
        expected=expected,
        reread=_rereading(format, plan.tools),
    )


_JSON_CALLS = Gemma3Format(tool_style="json")
"""Reads calls in the form of `call_schema`."""


class ChatReader:
    """Makes events and a reply from chunks, as a `ReplyParser` does from text.

    `parser` reads the content. A call that the endpoint has read counts if its name is in `names`; `reread` gets arguments that
    the endpoint could not read. Repairs of the kinds in `expected` are not reported. Positions are those in the chunks as
    `text_of` writes them.
    """

    def __init__(
        self,
        parser: ReplyParser,
        names: Collection[str],
        *,
        max_calls: int | None = None,
        guarded: Collection[str] = (),
        expected: Collection[ProblemKind] = (),
        reread: Callable[[str, str], Reply | None] = lambda name, arguments: None,
    ) -> None:
        self._parser = parser
        self._names = names
        self._unguard = _unguarding(guarded) if guarded else _as_it_is
        self._expected = expected
        self._reread = reread
        self._buffer = Buffer()
        self._builder = ReplyBuilder(self._buffer, max_calls=max_calls)
        self._finish: Literal["stop", "length"] = "stop"
        self._indices: dict[int, int] = {}
        self._content = 0
        self._places: tuple[list[int], list[int]] = ([0], [0])
        """Where chunks of content begin: in the content, and in the whole text."""
        self._unread: list[tuple[str, str, int, int]] = []

    def feed(self, piece: ChatPiece) -> list[Event]:
        """Take the next chunk and return its events."""
        end = len(self._buffer.text) + len(piece.reasoning)
        self._buffer.append(text_of(piece))
        self._builder.reasoning(self._unguard(piece.reasoning))
        if piece.content:
            for places, place in zip(self._places, (self._content, end), strict=True):
                places.append(place)
            self._content += len(piece.content)
            end += len(piece.content)
            self._take(self._parser.feed(piece.content))
        for name, arguments in piece.calls:
            start, end = end, end + len(_call_text(name, arguments))
            self._call(name, arguments, start, end)
        for name, text in piece.unread:
            start, end = end, end + len(f"{name}({text})")
            self._unread.append((name, text, start, end))
        return self._builder.take()

    def close(self, finish: Literal["stop", "length"] = "stop") -> list[Event]:
        """The chunks have ended, and how."""
        self._finish = finish
        self._take(self._parser.close(finish))
        if self._parser.reply.finish_reason == "length":
            self._builder.cut()
        for unread in self._unread:
            self._half_call(*unread)
        return self._builder.take()

    @property
    def finished(self) -> bool:
        """See `ReplyParser.finished`."""
        return self._builder.full is not None or self._parser.finished

    @property
    def reply(self) -> Reply:
        """Everything read so far; complete after `close`."""
        return self._builder.reply(self._finish)

    def _take(self, events: Sequence[Event]) -> None:
        """Add what the parser has read from the content."""
        builder = self._builder
        for event in events:
            match event:
                case ContentDelta(text):
                    builder.content(text)
                case ReasoningDelta(text):
                    builder.reasoning(text)
                case ToolCallStarted(index, call_id, name) if builder.full is None:
                    self._indices[index] = builder.start_call(name, call_id)
                case ToolCallDelta(index, arguments) if index in self._indices:
                    builder.pieces.append(arguments)
                case ToolCallEnded(index) if index in self._indices:
                    builder.end_call(0, 0)
                case Problem() if event.kind not in self._expected:
                    call = None if event.index is None else self._indices.get(event.index)
                    builder.report(replace(event, index=call, start=self._place(event.start), end=self._place(event.end)))

    def _place(self, place: int | None) -> int | None:
        """The position in the whole text for a position in the content."""
        if place is None:
            return None
        contents, wholes = self._places
        at = bisect_right(contents, place) - 1
        return wholes[at] + place - contents[at]

    def _call(self, name: str, arguments: Mapping[str, Any], start: int, end: int) -> None:
        builder = self._builder
        if builder.full is not None:
            builder.problem(builder.full, "a call after the last allowed one", start, end, quoted=True)
        elif name not in self._names:
            builder.problem("undeclared", f"no tool named {name!r} is declared", start, end, quoted=True)
        else:
            builder.start_call(name)
            builder.pieces.append(json.dumps(_mapped(arguments, self._unguard), ensure_ascii=False))
            builder.end_call(start, end)

    def _half_call(self, name: str, text: str, start: int, end: int) -> None:
        """A call whose arguments the endpoint has not read: cut, or in the model's own notation."""
        if self._finish == "length":
            self._builder.problem("cut", f"the call of {name or 'a tool'} is incomplete", start, end, quoted=True)
            return
        reply = self._reread(name, text)
        if reply is None or len(reply.tool_calls) != 1:
            self._builder.problem("unreadable", f"the arguments of {name} cannot be read", start, end, quoted=True)
            return
        [call] = reply.tool_calls
        self._call(call.name, call.arguments, start, end)
        for problem in reply.problems:
            self._builder.problem(problem.kind, problem.message, start, end, index=self._builder.last_index)


def text_of(piece: ChatPiece) -> str:
    """A chunk as text for people."""
    calls = (_call_text(name, arguments) for name, arguments in piece.calls)
    return "".join((piece.reasoning, piece.content, *calls, *(f"{name}({text})" for name, text in piece.unread)))


def _call_text(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name}({json.dumps(arguments, ensure_ascii=False)})"


def _rereading(format: Format, tools: Sequence[Tool]) -> Callable[[str, str], Reply | None]:
    """Reads the arguments of a call that an endpoint has separated but left in the model's notation."""

    def reread(name: str, text: str) -> Reply | None:
        before, after = format.call_opening or ("", "\x00")
        return format.parse(f"{before}{name}{text}", tools) if text.startswith(after) else None

    return reread


def _function(tool: Tool) -> dict[str, Any]:
    """A tool in OpenAI's format, with the fields that every endpoint knows."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters or _NO_PARAMETERS}
    return {"type": "function", "function": {**function, "strict": True} if tool.strict else function}


_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


def _turns(messages: Sequence[Message], media: Sequence[Mapping[str, Any]], guard: Callable[[str], str]) -> Iterator[ChatTurn]:
    """A conversation as messages; `media` are the loaded images and audio in the order of their parts.

    Calls without an id get one, and a result without an id answers the first open call.
    """
    loaded = iter(media)
    waiting: dict[str, str] = {}
    count = 0
    for message in messages:
        calls = []
        for call in message.tool_calls:
            call_id, count = call.id or f"call_{count}", count + 1
            waiting[call_id] = call.name
            calls.append(TurnCall(id=call_id, name=call.name, arguments=_guarded(call.arguments, guard)))
        parts = tuple(_parts(message.content, loaded, guard))
        if message.role == "tool":
            yield _result(message.tool_call_id, message.called or message.name, parts, waiting)
            continue
        role = "system" if message.role == "developer" else message.role
        answered = message.tool_responses  # in Gemma's own shape, the text is the model's answer after them
        said = () if answered else parts
        yield ChatTurn(role=role, parts=said, calls=tuple(calls), reasoning=guard(message.reasoning or ""))
        for response in answered:
            text = response.response if isinstance(response.response, str) else to_json(response.response)
            yield _result(None, response.name, (guard(text),), waiting)
        if answered and parts:
            yield ChatTurn(role=role, parts=parts)


def _result(call_id: str | None, name: str | None, parts: tuple[TurnPart, ...], waiting: dict[str, str]) -> ChatTurn:
    """A result; the call that it answers is no longer open."""
    found = call_id or next((known for known, called in waiting.items() if name in (None, called)), "call_unknown")
    name = waiting.pop(found, None) or name or "unknown"
    return ChatTurn(role="tool", parts=parts, call_id=found, name=name)


def _parts(content: Content, media: Iterator[Mapping[str, Any]], guard: Callable[[str], str]) -> Iterator[TurnPart]:
    if isinstance(content, tuple):
        yield from (next(media) if part["type"] in MEDIA_PARTS else guard(part["text"]) for part in content)
    elif content is not None:
        yield guard(content if isinstance(content, str) else to_json(content))


def _guarded(value: Mapping[str, Any], guard: Callable[[str], str]) -> Any:
    """A JSON value with the special tokens in it broken. Most values have none, which is detected at once."""
    return _mapped(value, guard) if "<" in to_json(value) else value


def _as_it_is(text: str) -> str:
    return text


def _unguarding(spellings: Collection[str]) -> Callable[[str], str]:
    """Joins special tokens again that were broken in the prompt."""

    def unguard(text: str) -> str:
        if WORD_JOINER in text:
            for spelling in spellings:
                text = text.replace(spelling[0] + WORD_JOINER + spelling[1:], spelling)
        return text

    return unguard


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every text in it changed, keys included."""
    if change is _as_it_is:
        return value
    root = [value]
    waiting: list[tuple[Any, Any]] = [(root, 0)]
    while waiting:
        container, place = waiting.pop()
        item = container[place]
        if isinstance(item, str):
            container[place] = change(item)
        elif is_mapping(item):
            container[place] = made = {change(key): member for key, member in item.items()}
            waiting += ((made, key) for key in made)
        elif isinstance(item, (list, tuple)):
            container[place] = copy = list(item)
            waiting += ((copy, index) for index in range(len(copy)))
    return root[0]
