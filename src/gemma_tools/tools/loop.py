"""The tool loop: ask the model, run its calls, return the results to it, until it answers.

The loop is written once, as a generator without I/O. `rounds` yields what to do (`Ask` the model, `Run` these calls) and what
happened (`Replied`, `CallStarted`, `CallFinished`, finally the `Transcript`), and gets the results. `run_tools` and
`arun_tools` run it, with threads and with tasks.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, aclosing, closing
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, Unpack

from gemma_tools.completion import Accumulator
from gemma_tools.errors import InvalidRequest
from gemma_tools.observe import LoopWork, working
from gemma_tools.policy import RequestFields
from gemma_tools.reply import ToolCall
from gemma_tools.tools.ending import ended_if_left
from gemma_tools.tools.toolbox import Toolable, ToolBox, ToolResult, fault
from gemma_tools.tools.transcript import Stopped, Transcript

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

Messages: TypeAlias = str | Sequence[Mapping[str, Any]]
"""A conversation as OpenAI's messages, or one user message as a string."""

DEFAULT_TEMPERATURE = 0.1
"""Low, because a call is either right or wrong: used if neither the caller nor the model's configuration sets one."""

_MAX_THREADS = 16


class ChatModel(Protocol):
    """What the loop needs from a model; every `BaseModelBackend` is one."""

    def run(
        self,
        messages: Any,
        response_format: Any = None,
        tools: Any = None,
        *,
        stream: Any = None,
        **fields: Unpack[RequestFields],
    ) -> Any:
        """A `ChatCompletion`, or an iterator of its chunks with `stream=True`."""

    async def arun(
        self,
        messages: Any,
        response_format: Any = None,
        tools: Any = None,
        *,
        stream: Any = None,
        **fields: Unpack[RequestFields],
    ) -> Any:
        """The same, awaited."""


@dataclass(frozen=True, slots=True)
class Delta:
    """With `stream=True`: a chunk of the reply, as the model writes it."""

    chunk: ChatCompletionChunk


@dataclass(frozen=True, slots=True)
class Replied:
    """The model's reply is complete. `round` counts from 1."""

    round: int
    completion: ChatCompletion


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call is about to run. Calls of one reply all start before the first finishes."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A call has its result; reported in the order of the calls."""

    call: ToolCall
    result: ToolResult


LoopEvent: TypeAlias = Delta | Replied | CallStarted | CallFinished


@dataclass(frozen=True, slots=True)
class Ask:
    """To do: ask the model with `messages`, and send back the `ChatCompletion`. `round` counts from 1."""

    round: int
    messages: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Run:
    """To do: run these calls, at the same time, and send back the list of their `ToolResult`s."""

    calls: tuple[ToolCall, ...]


Step: TypeAlias = Ask | Run | Replied | CallStarted | CallFinished | Transcript


def rounds(messages: Messages, box: ToolBox, *, max_rounds: int = 10, max_repeats: int = 2) -> Generator[Step, Any, None]:
    """The loop without I/O; the last item that it yields is the transcript.

    Limits: at most `max_rounds` replies; the calls of the last one, and of a cut reply, are not run. A call with the same name
    and arguments runs at most `max_repeats` times; then its result says so, and a second reply in a row with only such calls
    ends the loop. A call of a tool that is declared without a function also ends it: the caller answers it.
    """
    for name, limit in (("max_rounds", max_rounds), ("max_repeats", max_repeats)):
        if limit < 1:
            raise InvalidRequest("must be at least 1", param=name)
    if not isinstance(messages, Sequence):
        raise InvalidRequest("must be a string or an array of messages", param="messages", code="invalid_type")
    history: list[Mapping[str, Any]] = [{"role": "user", "content": messages}] if isinstance(messages, str) else [*messages]
    given = len(history)
    completions: list[ChatCompletion] = []
    outcomes: list[tuple[ToolCall, ToolResult]] = []
    runs: Counter[tuple[str, str]] = Counter()
    idle = False

    def transcript(stopped: Stopped, pending: Iterable[ToolCall] = ()) -> Transcript:
        return Transcript(tuple(history), given, tuple(completions), tuple(outcomes), stopped, tuple(pending))

    number = 0
    while True:
        number += 1
        completion: ChatCompletion = yield Ask(number, tuple(history))
        completions.append(completion)
        choice = completion.choices[0]
        history.append(choice.message.model_dump(mode="json", exclude_none=True))
        yield Replied(number, completion)
        calls = _calls_of(completion)
        if stopped := _stopped(choice.finish_reason, calls, box, last=number == max_rounds):
            yield transcript(stopped, calls)
            return
        results: dict[int, ToolResult] = {}
        fresh: dict[int, ToolCall] = {}
        for i, call in enumerate(calls):
            key = call.name, _canonical(call.arguments_json)
            if runs[key] < max_repeats:
                runs[key] += 1
                fresh[i] = call
            else:
                results[i] = _repeated(call, max_repeats)
        for call in fresh.values():
            yield CallStarted(call)
        if fresh:
            ran = yield Run(tuple(fresh.values()))
            results.update(zip(fresh, ran, strict=True))
        for i, call in enumerate(calls):
            result = results[i]
            outcomes.append((call, result))
            history.append({"role": "tool", "tool_call_id": call.id, "content": result.content})
            yield CallFinished(call, result)
        if not fresh and idle:
            yield transcript("repeated")
            return
        idle = not fresh


def _stopped(finish: str, calls: Sequence[ToolCall], box: ToolBox, *, last: bool) -> Stopped | None:
    """Why the calls of a reply are not run; None: they are."""
    if finish == "length":
        return "length"
    if not calls:
        return "answered"
    if not all(box.runs(call.name) for call in calls):
        return "pending"
    return "max_rounds" if last else None


def run_tools(
    model: ChatModel | str,
    messages: Messages,
    tools: Iterable[Toolable] | Toolable,
    *,
    max_rounds: int = 10,
    max_repeats: int = 2,
    on_event: Callable[[LoopEvent], object] | None = None,
    stream: bool = False,
    **options: Any,
) -> Transcript:
    """Let the model call `tools` until it answers, and return the transcript.

    Args:
        model: a backend, or a name for `create_model`, which is then closed at the end.
        messages: the conversation, or one user message as a string.
        tools: a `ToolBox` or its contents. Calls of one reply run at the same time, in threads; a single call runs in
            the calling thread.
        max_rounds: the maximum number of replies; the calls of the last one are not run.
        max_repeats: how often a call with the same name and arguments may run.
        on_event: called in this thread with each event: `Replied`, `CallStarted`, `CallFinished`, and `Delta` with `stream`.
        stream: ask for each reply as a stream.
        options: other arguments of `model.run`, such as `temperature` (0.1 unless set here or in the model's configuration),
            `response_format` or `tool_choice`. A choice that forces a call applies to the first reply only.

    Raises:
        InvalidRequest: the messages, tools or options are invalid.
        EngineError: the engine failed. Exceptions of a tool are not raised: they go to the model as the call's result.
    """
    box = tools if isinstance(tools, ToolBox) else ToolBox(tools)
    steps = rounds(messages, box, max_rounds=max_rounds, max_repeats=max_repeats)
    emit = on_event or _ignore
    with ExitStack() as stack:
        stack.enter_context(working(LoopWork()))
        backend = stack.enter_context(_created(model)) if isinstance(model, str) else model
        step = next(steps)
        while not isinstance(step, Transcript):
            answer: Any = None
            match step:
                case Ask(number, history):
                    answer = _ask(backend, history, _fields(backend, box, options, number), stream, emit)
                case Run(calls):
                    answer = run_calls(box, calls)
                case _:
                    emit(step)
            step = steps.send(answer)
    return step


async def arun_tools(
    model: ChatModel | str,
    messages: Messages,
    tools: Iterable[Toolable] | Toolable,
    *,
    max_rounds: int = 10,
    max_repeats: int = 2,
    on_event: Callable[[LoopEvent], object] | None = None,
    stream: bool = False,
    **options: Any,
) -> Transcript:
    """`run_tools` for async code: the same arguments, limits, events and transcript.

    Calls of one reply run as tasks; sync functions run in threads, so nothing blocks the event loop. The result of `on_event`
    is awaited if it is awaitable. Cancelling stops the model, the async functions, scripts and MCP
    calls; any other sync function runs to its end.
    """
    box = tools if isinstance(tools, ToolBox) else ToolBox(tools)
    steps = rounds(messages, box, max_rounds=max_rounds, max_repeats=max_repeats)

    async def emit(event: LoopEvent) -> None:
        told = (on_event or _ignore)(event)
        if inspect.isawaitable(told):
            await told

    with ExitStack() as stack:
        stack.enter_context(working(LoopWork()))
        backend = stack.enter_context(await asyncio.to_thread(_created, model)) if isinstance(model, str) else model
        step = next(steps)
        while not isinstance(step, Transcript):
            answer: Any = None
            match step:
                case Ask(number, history):
                    answer = await _aask(backend, history, _fields(backend, box, options, number), stream, emit)
                case Run(calls):
                    answer = await asyncio.gather(*(box.acall(call.name, call.arguments_json, id=call.id) for call in calls))
                case _:
                    await emit(step)
            step = steps.send(answer)
    return step


def _created(name: str) -> AbstractContextManager[ChatModel]:
    from gemma_tools.backends import create_model

    model: AbstractContextManager[ChatModel] = create_model(name)
    return model


def _ignore(event: LoopEvent) -> None:
    return None


def _fields(backend: ChatModel, box: ToolBox, options: Mapping[str, Any], number: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"tools": box.schemas() or None, **options}
    if "temperature" not in getattr(backend, "model_config_dict", ()):
        fields.setdefault("temperature", DEFAULT_TEMPERATURE)
    if number > 1 and "tool_choice" in fields:
        fields["tool_choice"] = _unforced(fields["tool_choice"])
    return fields


def _unforced(choice: Any) -> Any:
    # A choice that forces a call would never let the model answer.
    if isinstance(choice, Mapping) and isinstance(choice.get("allowed_tools"), Mapping):
        return {**choice, "allowed_tools": {**choice["allowed_tools"], "mode": "auto"}}
    return choice if choice in (None, "none") else "auto"


def _ask(
    backend: ChatModel,
    history: Iterable[Mapping[str, Any]],
    fields: Mapping[str, Any],
    stream: bool,
    emit: Callable[[LoopEvent], object],
) -> ChatCompletion:
    reply = backend.run(list(history), stream=stream, **fields)
    if not stream:
        completion: ChatCompletion = reply
        return completion
    whole = Accumulator()
    with closing(reply):
        for chunk in reply:
            whole.add(chunk)
            emit(Delta(chunk))
    return whole.completion()


async def _aask(
    backend: ChatModel,
    history: Iterable[Mapping[str, Any]],
    fields: Mapping[str, Any],
    stream: bool,
    emit: Callable[[LoopEvent], Awaitable[None]],
) -> ChatCompletion:
    reply = await backend.arun(list(history), stream=stream, **fields)
    if not stream:
        completion: ChatCompletion = reply
        return completion
    whole = Accumulator()
    async with aclosing(reply):
        async for chunk in reply:
            whole.add(chunk)
            await emit(Delta(chunk))
    return whole.completion()


def run_calls(box: ToolBox, calls: Sequence[ToolCall]) -> list[ToolResult]:
    """Do what a `Run` asks for: the calls at the same time, in threads; a single one in the calling thread."""
    if len(calls) == 1:
        return [box.call(calls[0].name, calls[0].arguments_json, id=calls[0].id)]
    pool = ThreadPoolExecutor(min(len(calls), _MAX_THREADS), thread_name_prefix="gemma-tools")
    try:
        with ended_if_left():
            running = [
                pool.submit(copy_context().run, partial(box.call, call.name, call.arguments_json, id=call.id)) for call in calls
            ]
            return [future.result() for future in running]
    finally:
        # Nothing is left to wait for, unless this thread was interrupted, and then it must not wait.
        pool.shutdown(wait=False, cancel_futures=True)


def _calls_of(completion: ChatCompletion) -> tuple[ToolCall, ...]:
    calls = completion.choices[0].message.tool_calls or ()
    return tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in calls if call.type == "function")


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments


def _repeated(call: ToolCall, times: int) -> ToolResult:
    return fault(
        "repeated",
        f"{call.name} was already called {times} times with these arguments, and was not run again; "
        "use the results above, or use other arguments",
    )
