"""Tools that the server runs itself: added to every request; their calls are answered before the client sees anything."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gemma_tools.completion import Accumulator, with_delta, with_usage
from gemma_tools.engines.base import Cancellation
from gemma_tools.errors import EngineUnavailable, InvalidRequest
from gemma_tools.openai_api.wire import Responder
from gemma_tools.request import ChatRequest, ToolChoice
from gemma_tools.server.settings import Settings
from gemma_tools.tools import Ask, Run, ToolBox, Transcript, rounds, run_calls
from gemma_tools.tools.ending import ended_by
from gemma_tools.tools.scripts import script_runner
from gemma_tools.validation import validate, validate_tools


def own_tools(settings: Settings) -> ToolBox:
    """The tools in `settings.run_tools`.

    Raises:
        InvalidRequest: an unknown name, or no directory for `execute_python`.
        MissingDependency: `get_system_info` needs psutil.
    """
    box = []
    for name in settings.run_tools:
        if name == "execute_python":
            if settings.scripts_dir is None:
                raise InvalidRequest("execute_python needs the directory of its scripts: set scripts_dir", param="scripts_dir")
            box.append(script_runner(settings.scripts_dir, venvs=settings.venvs))
        elif name == "get_system_info":
            from gemma_tools.tools.system import get_system_info

            box.append(get_system_info)
        else:
            raise InvalidRequest(f"{name!r} is not one of execute_python, get_system_info", param="run_tools")
    return ToolBox(box)


def with_own_tools(box: ToolBox, request: ChatRequest) -> ChatRequest:
    """`request` with the tools of `box` before its own. If a name is in both, the server's tool is used."""
    theirs = (tool for tool in request.tools if tool.name not in box)
    return replace(request, tools=(*validate_tools(list(map(_without_defaults, box.schemas()))), *theirs))


def _without_defaults(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The declaration without defaults, because not every format has a place for them: the descriptions contain them."""
    function = tool["function"]
    properties = {
        name: {key: value for key, value in schema.items() if key != "default"}
        for name, schema in function["parameters"]["properties"].items()
    }
    return {**tool, "function": {**function, "parameters": {**function["parameters"], "properties": properties}}}


def respond_with(
    box: ToolBox, model: Responder, request: ChatRequest, cancel: Cancellation
) -> ChatCompletion | Iterator[ChatCompletionChunk]:
    """Answer `request` like `model`, with the tools of `box` added to the request's own, and run them.

    The text of all rounds is one answer, or that of the last round if the answer must be JSON. Calls of the request's own tools
    go to the client; a reply with such a call ends the loop, and none of its calls is run.
    """
    if request.n > 1:
        raise InvalidRequest("a server that runs tools returns only one answer", param="n", code="unsupported_value")
    chunks = _converse(box, model, request, cancel)
    return chunks if request.stream else _whole(chunks)


def _converse(
    box: ToolBox, model: Responder, request: ChatRequest, cancel: Cancellation
) -> Generator[ChatCompletionChunk, None, None]:
    theirs = [tool for tool in request.tools if tool.name not in box]
    asked = replace(with_own_tools(box, request), stream=True, include_usage=True, legacy_functions=False)
    steps = rounds((), ToolBox([box, *({"type": "function", "function": tool.function} for tool in theirs)]))
    wanted = request.response_format
    relay = _Relay(last_only=wanted is not None and wanted.type != "text")
    step = next(steps)
    while not isinstance(step, Transcript):
        answer: Any = None
        if isinstance(step, Ask):
            choice = request.tool_choice if step.round == 1 else ToolChoice("auto", request.tool_choice.names)
            answer = yield from relay.ask(model, _going_on(asked, step.messages, choice), cancel)
        elif isinstance(step, Run):
            with ended_by(cancel):
                answer = run_calls(box, step.calls)
            if cancel.cancelled:
                return
        step = steps.send(answer)
    if step.stopped in ("max_rounds", "repeated"):
        # The model would call tools without end. It sees the results so far, and must answer from them.
        seen = step.messages[: -1 if step.pending else None]
        yield from relay.ask(model, _going_on(asked, seen, ToolChoice("none")), cancel)
    yield from relay.end({tool.name for tool in theirs}, legacy=request.legacy_functions)


def _going_on(request: ChatRequest, added: Sequence[Mapping[str, Any]], choice: ToolChoice) -> ChatRequest:
    more = validate(added).messages if added else ()
    return replace(request, messages=(*request.messages, *more), tool_choice=choice)


_TEXTS = ("content", "reasoning", "reasoning_content")


class _Relay:
    """Makes one stream from the replies of several rounds: text is sent as it arrives; calls, the end and usage are held.

    With `last_only` content is held, too, and only that of the last round is sent.
    """

    def __init__(self, *, last_only: bool) -> None:
        self._last_only = last_only
        self._content: str | None = None
        self._heading: dict[str, Any] = {}
        self._role: dict[str, str] = {"role": "assistant"}
        self._written: set[str] = set()
        self._problems: list[Any] = []
        self._usage: list[CompletionUsage] = []
        self._last: ChatCompletionChunk | None = None
        self._calls: list[dict[str, Any]] = []

    def ask(
        self, model: Responder, request: ChatRequest, cancel: Cancellation
    ) -> Generator[ChatCompletionChunk, None, ChatCompletion]:
        """One round: yield what may be sent now, and return the whole reply."""
        whole = Accumulator()
        earlier, now = frozenset(self._written), set[str]()
        chunks: Any = model.respond(request, cancel=cancel)
        with closing(chunks):
            for chunk in chunks:
                whole.add(chunk)
                if chunk.usage:
                    self._usage.append(chunk.usage)
                for choice in chunk.choices:
                    if choice.finish_reason:
                        self._last = chunk
                        self._problems += getattr(choice.delta, "problems", ())
                    text = {name: value for name in _TEXTS if (value := getattr(choice.delta, name, None))}
                    if self._last_only:
                        text.pop("content", None)
                    # The text of one round is separated from that of an earlier one.
                    text |= {name: f"\n\n{text[name]}" for name in text.keys() & earlier - now}
                    now |= text.keys()
                    self._written |= now
                    if text:
                        yield self._chunk(chunk, text)
        reply = whole.completion()
        self._content = reply.choices[0].message.content
        self._calls = [call.model_dump() for call in reply.choices[0].message.tool_calls or ()]
        return reply

    def end(self, theirs: Container[str], *, legacy: bool) -> Iterator[ChatCompletionChunk]:
        """The held part of the last reply; of its calls, those whose names are in `theirs`."""
        assert self._last is not None
        if self._last_only and self._content:
            yield self._chunk(self._last, {"content": self._content})
        calls = [call for call in self._calls if call["function"]["name"] in theirs]
        for index, call in enumerate(calls):
            yield self._chunk(
                self._last, {"function_call": call["function"]} if legacy else {"tool_calls": [{**call, "index": index}]}
            )
        finish = self._last.choices[0].finish_reason
        if finish == "tool_calls":
            finish = "stop" if not calls else "function_call" if legacy else finish
        problems = {"problems": self._problems} if self._problems else {}
        last = self._chunk(self._last, problems, finish_reason=finish, logprobs=self._last.choices[0].logprobs)
        yield last
        yield with_usage(last, self._usage)

    def _chunk(self, chunk: ChatCompletionChunk, delta: dict[str, Any], **more: Any) -> ChatCompletionChunk:
        """`chunk` with another delta, under the id of the first."""
        self._heading = self._heading or {"id": chunk.id, "created": chunk.created}
        role, self._role = self._role, {}
        return with_delta(chunk, {**role, **delta}, **self._heading, **more)


def _whole(chunks: Iterable[ChatCompletionChunk]) -> ChatCompletion:
    whole = Accumulator()
    begun = False
    for chunk in chunks:
        whole.add(chunk)
        begun = True
    if not begun:
        raise EngineUnavailable("the request ended before there was an answer")
    return whole.completion()
