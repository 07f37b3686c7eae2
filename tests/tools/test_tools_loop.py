"""The tool loop: rounds, guards, events and transcripts, the same in sync and async code, whole and streamed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gemma_tools import FunctionGemmaModel
from gemma_tools.errors import EngineError, InvalidRequest
from gemma_tools.reply import Reply, ToolCall
from gemma_tools.testing import ScriptedEngine
from gemma_tools.tools import (
    CallFinished,
    CallStarted,
    Delta,
    LoopEvent,
    Replied,
    ToolBox,
    Transcript,
    arun_tools,
    run_tools,
)


class Player:
    """A model that plays replies, the last one for ever, and keeps what it was asked. Any name may be called."""

    def __init__(self, *replies: Reply, config: dict[str, Any] | None = None) -> None:
        self.model_config_dict = config or {}
        self.asked: list[dict[str, Any]] = []
        self.closed = 0
        self._replies = replies

    def run(self, messages: Any, response_format: Any = None, tools: Any = None, *, stream: Any = None, **sampling: Any) -> Any:
        self.asked.append({"messages": messages, "tools": tools, "response_format": response_format, **sampling})
        reply = self._replies[min(len(self.asked), len(self._replies)) - 1]
        return self._chunks(reply) if stream else _completion(reply)

    def _chunks(self, reply: Reply) -> Iterator[ChatCompletionChunk]:
        try:
            for delta in _deltas(reply):
                yield _chunk(delta, None)
            yield _chunk({}, reply.finish_reason)
            yield ChatCompletionChunk.model_validate({**HEADING, **CHUNK, "choices": [], "usage": USAGE})
        finally:
            self.closed += 1

    async def arun(
        self, messages: Any, response_format: Any = None, tools: Any = None, *, stream: Any = None, **sampling: Any
    ) -> Any:
        reply = self.run(messages, response_format, tools, stream=stream, **sampling)
        return _async(reply) if stream else reply


HEADING = {"id": "chatcmpl-1", "created": 1, "model": "player"}
CHUNK = {"object": "chat.completion.chunk"}
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def _calls(reply: Reply) -> list[dict[str, Any]]:
    functions = ({"name": call.name, "arguments": call.arguments_json} for call in reply.tool_calls)
    return [{"id": c.id, "type": "function", "function": f} for c, f in zip(reply.tool_calls, functions, strict=True)]


def _completion(reply: Reply) -> ChatCompletion:
    message: dict[str, Any] = {"role": "assistant", "content": reply.content, "reasoning_content": reply.reasoning}
    message["tool_calls"] = _calls(reply) or None
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason, "logprobs": None}
    return ChatCompletion.model_validate({**HEADING, "object": "chat.completion", "choices": [choice], "usage": USAGE})


def _deltas(reply: Reply) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant"}
    if reply.reasoning:
        yield {"reasoning_content": reply.reasoning}
    for piece in reply.content or "":
        yield {"content": piece}
    for index, call in enumerate(_calls(reply)):
        yield {"tool_calls": [{"index": index, **call}]}


def _chunk(delta: dict[str, Any], finish: str | None) -> ChatCompletionChunk:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return ChatCompletionChunk.model_validate({**HEADING, **CHUNK, "choices": [choice]})


async def _async(stream: Iterator[ChatCompletionChunk]) -> AsyncIterator[ChatCompletionChunk]:
    try:
        for chunk in stream:
            yield chunk
    finally:
        stream.close()  # type: ignore[attr-defined]


def calling(*calls: tuple[str, Any], content: str | None = None, finish: Any = "tool_calls") -> Reply:
    made = (ToolCall(f"call_{i}", name, a if isinstance(a, str) else json.dumps(a)) for i, (name, a) in enumerate(calls))
    return Reply(content=content, tool_calls=tuple(made), finish_reason=finish)


def saying(text: str, finish: Any = "stop") -> Reply:
    return Reply(content=text, finish_reason=finish)


WAYS = [
    pytest.param(a, s, id=f"{'async' if a else 'sync'}-{'stream' if s else 'whole'}")
    for a in (False, True)
    for s in (False, True)
]


def converse(asynchronous: bool, stream: bool, model: Any, messages: Any, tools: Any, **options: Any) -> Transcript:
    if asynchronous:
        return asyncio.run(arun_tools(model, messages, tools, stream=stream, **options))
    return run_tools(model, messages, tools, stream=stream, **options)


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def ls(path: str = ".") -> list[str]:
    """Lists files."""
    return ["a"]


@pytest.mark.parametrize(("asynchronous", "stream"), WAYS)
def test_call_result_answer(asynchronous: bool, stream: bool) -> None:
    model = Player(calling(("add", {"a": 1, "b": 2}), content="Adding."), saying("It is 3."))
    events: list[LoopEvent] = []
    transcript = converse(asynchronous, stream, model, "1 + 2?", [add], on_event=events.append)
    assert (transcript.text, transcript.stopped, transcript.pending) == ("It is 3.", "answered", ())
    roles = [message["role"] for message in transcript.messages]
    assert roles == ["user", "assistant", "tool", "assistant"]
    assert transcript.messages[2] == {"role": "tool", "tool_call_id": "call_0", "content": "3"}
    assert transcript.messages[1]["content"] == "Adding."
    assert transcript.new_messages == transcript.messages[1:]
    assert model.asked[1]["messages"] == list(transcript.messages[:3])
    assert [(call.name, result.content) for call, result in transcript.outcomes] == [("add", "3")]
    kinds = [type(event) for event in events if not isinstance(event, Delta)]
    assert kinds == [Replied, CallStarted, CallFinished, Replied]
    said = "".join(c.choices[0].delta.content or "" for c in (e.chunk for e in events if isinstance(e, Delta)) if c.choices)
    assert said == ("Adding.It is 3." if stream else "")
    assert [c.usage.completion_tokens for c in transcript.completions if c.usage] == [1, 1]


def test_all_ways_leave_the_same_transcript() -> None:
    def shown(asynchronous: bool, stream: bool) -> list[str]:
        thinking = Reply(content="Well.", reasoning="hm", tool_calls=calling(("add", {"a": 1}), ("ls", {})).tool_calls)
        model = Player(thinking, calling(("nobody", {})), saying("Done.", "length"))
        events: list[LoopEvent] = []
        transcript = converse(asynchronous, stream, model, "go", [add, ls], on_event=events.append)
        steps = [str(e.call.name) for e in events if isinstance(e, CallStarted | CallFinished)]
        return [str(transcript), json.dumps(transcript.messages), *steps]

    first, *others = (shown(a, s) for a in (False, True) for s in (False, True))
    assert all(other == first for other in others)
    assert "hm" in first[0]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_calls_of_one_reply_run_at_the_same_time_in_order_of_the_calls(asynchronous: bool) -> None:
    meeting = threading.Barrier(3, timeout=60)

    def meet(n: int) -> int:
        meeting.wait()
        return n

    async def ameet(n: int) -> int:
        return await asyncio.to_thread(meet, n)

    model = Player(calling(("meet", {"n": 1}), ("ameet", {"n": 2}), ("meet", {"n": 3})), saying("met"))
    transcript = converse(asynchronous, False, model, "meet", [meet, ameet])
    assert [result.content for _, result in transcript.outcomes] == ["1", "2", "3"]


def test_sync_tools_never_block_the_event_loop() -> None:
    released = threading.Event()

    def block() -> bool:
        return released.wait(60)

    async def inside() -> Transcript:
        model = Player(calling(("block", {}), ("release", {})), saying("ok"))

        async def release() -> None:
            released.set()

        return await arun_tools(model, "go", [block, release])

    assert asyncio.run(inside()).outcomes[0][1].content == "true"


def test_a_single_call_runs_in_the_calling_thread_with_its_context() -> None:
    user: ContextVar[str] = ContextVar("user")
    user.set("ada")

    def who() -> str:
        return f"{user.get()} {threading.current_thread() is threading.main_thread()}"

    model = Player(calling(("who", {})), calling(("who", "{ }"), ("who", '{"x": 1}')), saying("ok"))
    results = [result for _, result in run_tools(model, "who?", [who]).outcomes]
    assert results[0].content == "ada True"
    assert results[1].content == "ada False"


@pytest.mark.parametrize(("asynchronous", "stream"), WAYS)
def test_faults_go_back_to_the_model_and_it_goes_on(asynchronous: bool, stream: bool) -> None:
    def fail() -> None:
        raise RuntimeError("no luck")

    model = Player(calling(("fail", {}), ("nobody", {}), ("add", '{"a": 1')), saying("Sorry."))
    transcript = converse(asynchronous, stream, model, "go", [fail, add])
    assert [result.fault for _, result in transcript.outcomes] == ["failed", "unknown_tool", "invalid_arguments"]
    errors = [json.loads(m["content"])["error"] for m in transcript.messages if m["role"] == "tool"]
    assert errors[0] == "fail failed: RuntimeError: no luck"
    assert "fail, add" in errors[1]
    assert transcript.text == "Sorry."


@pytest.mark.parametrize("fields", [{"messages": 3}, {"tools": 3}, {"max_rounds": 0}, {"max_repeats": 0}])
def test_what_cannot_be_looped_over_is_named(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        run_tools(Player(Reply()), **{"messages": "Hi", "tools": [], **fields})
    assert [caught.value.param] == list(fields)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_model_that_repeats_itself_is_reported_and_then_stopped(asynchronous: bool) -> None:
    runs: list[str] = []

    def look(path: str) -> str:
        runs.append(path)
        return "nothing"

    model = Player(calling(("look", '{"path": "."}')), calling(("look", '{"path":"."}')))
    transcript = converse(asynchronous, False, model, "look", [look], max_rounds=100)
    assert (len(runs), len(model.asked), transcript.stopped) == (2, 4, "repeated")
    assert [result.fault for _, result in transcript.outcomes] == [None, None, "repeated", "repeated"]
    assert "stopped: repeated" in str(transcript)


def test_equal_calls_in_one_reply_are_repeats_and_others_reset_the_limit() -> None:
    same = ("ls", {"path": "."})
    model = Player(
        calling(same, same, same), calling(same), calling(same, ("ls", {"path": "x"})), calling(same), saying("enough")
    )
    transcript = run_tools(model, "go", [ls])
    faults = [result.fault for _, result in transcript.outcomes]
    assert faults == [None, None, "repeated", "repeated", "repeated", None, "repeated"]
    assert transcript.stopped == "answered"


def test_max_repeats_and_max_rounds() -> None:
    counter = iter(range(100))
    model = Player(*(calling(("ls", {"path": str(next(counter))})) for _ in range(20)))
    transcript = run_tools(model, "go", [ls], max_rounds=3)
    assert (transcript.stopped, len(model.asked), len(transcript.outcomes)) == ("max_rounds", 3, 2)
    assert [call.arguments for call in transcript.pending] == [{"path": "2"}]
    assert [r.fault for _, r in run_tools(Player(calling(("ls", {}))), "go", [ls], max_repeats=1).outcomes][:2] == [
        None,
        "repeated",
    ]


@pytest.mark.parametrize("name", ["max_rounds", "max_repeats"])
def test_limits_must_be_positive(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        run_tools(Player(saying("x")), "go", [ls], **{name: 0})  # type: ignore[arg-type]
    assert caught.value.param == name


def test_the_calls_of_a_reply_that_was_cut_are_not_run() -> None:
    transcript = run_tools(Player(calling(("ls", {}), finish="length")), "go", [ls])
    assert (transcript.stopped, transcript.outcomes) == ("length", ())
    assert [call.name for call in transcript.pending] == ["ls"]


def test_a_tool_without_a_function_is_left_to_the_caller() -> None:
    declared = {"type": "function", "function": {"name": "ask_person", "parameters": {"type": "object", "properties": {}}}}
    model = Player(calling(("ls", {}), ("ask_person", {})), saying("ok"))
    transcript = run_tools(model, "go", ToolBox([ls, declared]))
    assert (transcript.stopped, transcript.outcomes) == ("pending", ())
    assert [call.name for call in transcript.pending] == ["ls", "ask_person"]
    answers = [{"role": "tool", "tool_call_id": call.id, "content": "yes"} for call in transcript.pending]
    assert run_tools(model, [*transcript.messages, *answers], ToolBox([ls, declared])).text == "ok"


def test_temperature_is_low_unless_it_is_set() -> None:
    def temperature(model: Player, **options: Any) -> Any:
        run_tools(model, "go", [ls], **options)
        return model.asked[0].get("temperature")

    assert temperature(Player(saying("x"))) == 0.1
    assert temperature(Player(saying("x")), temperature=0.9) == 0.9
    assert temperature(Player(saying("x"), config={"temperature": 0.5})) is None


def test_options_reach_the_model_and_a_forced_choice_applies_once() -> None:
    named = {"type": "function", "function": {"name": "ls"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}}
    unforced = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named]}}
    for choice, later in (("required", "auto"), (named, "auto"), ("none", "none"), ("auto", "auto"), (allowed, unforced)):
        model = Player(calling(("ls", {})), saying("x"))
        run_tools(model, "go", [ls], tool_choice=choice, seed=7)
        assert [asked["tool_choice"] for asked in model.asked] == [choice, later]
        assert {asked["seed"] for asked in model.asked} == {7}


def test_without_tools_none_are_declared() -> None:
    model = Player(saying("hello"))
    assert (run_tools(model, "hi", []).text, model.asked[0]["tools"]) == ("hello", None)


def test_async_event_handlers_are_awaited() -> None:
    seen: list[str] = []

    async def note(event: LoopEvent) -> None:
        await asyncio.sleep(0)
        seen.append(type(event).__name__)

    asyncio.run(arun_tools(Player(saying("hi")), "go", [ls], on_event=note))
    assert seen == ["Replied"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_handler_that_raises_stops_the_model(asynchronous: bool) -> None:
    def stop(event: LoopEvent) -> None:
        raise KeyboardInterrupt

    model = Player(saying("a long story"))
    with pytest.raises(KeyboardInterrupt):
        converse(asynchronous, True, model, "go", [ls], on_event=stop)
    assert model.closed == 1


def test_the_conversation_given_is_not_changed() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    ]
    before = json.dumps(messages)
    transcript = run_tools(Player(calling(("ls", {})), saying("ok")), messages, [ls])
    assert json.dumps(messages) == before
    assert transcript.messages[:2] == tuple(messages)
    assert str(transcript).splitlines() == [
        "system: Be brief.",
        "user: hi",
        "assistant → ls: {}",
        'tool ← ls: ["a"]',
        "assistant: ok",
    ]


def test_a_notebook_shows_the_transcript_escaped() -> None:
    model = Player(calling(("echo", {"text": "<b>"})), saying("<script>alert(1)</script>"))

    def echo(text: str) -> str:
        return text

    shown = run_tools(model, "<img src=x>", [echo])._repr_html_()
    assert "<dl" in shown
    for raw in ("<script", "<img", "<b>"):
        assert raw not in shown
    assert "&lt;script&gt;" in shown


# The same loop with a real backend: real prompts, real parsing.

CALL = "<start_function_call>call:{name}{{{arguments}}}<end_function_call>"


def scripted(*answers: Any) -> FunctionGemmaModel:
    return FunctionGemmaModel("functiongemma", engine=ScriptedEngine(answers))


@pytest.mark.parametrize(("asynchronous", "stream"), WAYS)
def test_functiongemma_calls_two_tools_and_answers(asynchronous: bool, stream: bool) -> None:
    calls = CALL.format(name="add", arguments="a:1,b:2") + CALL.format(name="ls", arguments="path:<escape>/x<escape>")
    model = scripted(calls + "<start_function_response>", "It is 3, and one file.<end_of_turn>")
    transcript = converse(asynchronous, stream, model, "1 + 2, and the files?", [add, ls])
    assert transcript.text == "It is 3, and one file."
    assert [(call.name, call.arguments, result.value) for call, result in transcript.outcomes] == [
        ("add", {"a": 1, "b": 2}, 3),
        ("ls", {"path": "/x"}, ["a"]),
    ]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_engine_that_fails_is_an_error_of_the_loop(asynchronous: bool) -> None:
    with pytest.raises(EngineError, match="out of luck"):
        converse(asynchronous, False, scripted(EngineError("out of luck")), "go", [ls])


def get_weather(city: str) -> str:
    """Gets the current weather for a city.

    Args:
        city: The city name
    """
    return "sunny, 21 degrees"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_tiny_model_calls_and_answers(asynchronous: bool) -> None:
    pytest.importorskip("xllamacpp")
    transcript = converse(asynchronous, False, "tiny", "What is the weather in Lisbon?", [get_weather], temperature=0)
    assert [(call.name, call.arguments) for call, _ in transcript.outcomes] == [("get_weather", {"city": "Lisbon"})]
    assert transcript.stopped == "answered"
