"""Backends with real tokens, and the ways in which whole, streamed, blocking and asynchronous answers are one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gemma_tools import BaseModelBackend, FunctionGemmaModel, create_model
from gemma_tools.engines.base import Cancellation, Generation
from gemma_tools.errors import ContextExceeded
from gemma_tools.testing import ScriptedEngine
from gemma_tools.validation import parse_request
from support.chat import ALARM, OSLO, PARIS, WEATHER, accumulated, calls, facts, scripted, user


@pytest.fixture(scope="module", params=["tiny", "tiny-gemma4"])
def tiny(request: pytest.FixtureRequest) -> Iterator[BaseModelBackend]:
    with create_model(request.param, temperature=0, max_tokens=80) as model:
        yield model


def test_the_example_in_the_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "backends.md").read_text(encoding="utf-8")
    example = page.split("```python\n")[1].split("```")[0]
    exec(compile(example, "docs/backends.md", "exec"), {})
    assert "get_weather" in capsys.readouterr().out


def test_one_call(tiny: BaseModelBackend) -> None:
    answer = tiny.run(user("what is the weather in Paris?"), tools=[WEATHER, ALARM])
    assert calls(answer) == [("get_weather", '{"city": "Paris"}')]
    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 100
    assert answer.usage.completion_tokens > 5
    assert not hasattr(answer.usage, "estimated")


def test_parallel_calls(tiny: BaseModelBackend) -> None:
    answer = tiny.run(user("what is the weather in Paris and set an alarm for 07:30"), tools=[WEATHER, ALARM])
    assert calls(answer) == [("get_weather", '{"city": "Paris"}'), ("set_alarm", '{"time": "07:30"}')]
    ids = [call.id for call in answer.choices[0].message.tool_calls or ()]
    assert len(set(ids)) == 2


def test_an_answer_from_a_result(tiny: BaseModelBackend) -> None:
    call = tiny.run(user("what is the weather in Paris?"), tools=[WEATHER]).choices[0].message
    assert call.tool_calls is not None
    history = [*user("what is the weather in Paris?"), call.model_dump(exclude_none=True)]
    history.append({"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": '{"temperature": 21}'})
    answer = tiny.run(history, tools=[WEATHER])
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("what is the weather in Paris and set an alarm for 07:30", {}),
        ("hello", {}),
        ("what is the weather in Paris?", {"max_tokens": 8}),
        ("what is the weather in Paris?", {"stop": ["Par"]}),
        ("what is the weather in Paris?", {"n": 2}),
    ],
)
def test_a_stream_is_the_whole_and_async_is_sync(tiny: BaseModelBackend, text: str, more: dict[str, Any]) -> None:
    async def both() -> tuple[ChatCompletion, list[ChatCompletionChunk]]:
        whole = await tiny.arun(user(text), tools=[WEATHER, ALARM], **more)
        stream = await tiny.arun(user(text), tools=[WEATHER, ALARM], stream=True, **usage, **more)
        return whole, [chunk async for chunk in stream]

    usage = {"stream_options": {"include_usage": True}}
    whole = tiny.run(user(text), tools=[WEATHER, ALARM], **more)
    stream = list(tiny.run(user(text), tools=[WEATHER, ALARM], stream=True, **usage, **more))
    async_whole, async_stream = asyncio.run(both())
    assert facts(whole) == facts(async_whole) == facts(accumulated(stream)) == facts(accumulated(async_stream))


def test_a_call_that_is_cut_is_not_a_call(tiny: BaseModelBackend) -> None:
    answer = tiny.run(user("what is the weather in Paris?"), tools=[WEATHER], max_tokens=8)
    assert calls(answer) == []
    assert answer.choices[0].finish_reason == "length"
    assert "get_weather" in answer.choices[0].message.model_dump()["problems"][0]["text"]


def test_a_prompt_beyond_the_context_is_one_typed_error(tiny: BaseModelBackend) -> None:
    assert tiny.token_limit is not None
    with pytest.raises(ContextExceeded):
        tiny.run(user("Paris " * tiny.token_limit), tools=[WEATHER])


def test_tokens_are_counted_by_the_engine(tiny: BaseModelBackend) -> None:
    answer = tiny.run(user("hello"))
    assert answer.usage is not None
    assert tiny.token_counter.exact
    assert tiny.count_tokens_from_messages(user("hello")) == answer.usage.prompt_tokens


def test_equal_seeds_give_equal_answers_and_choices_have_different_seeds() -> None:
    with create_model("tiny", temperature=2, top_p=1, min_p=0, max_tokens=24) as model:
        first, again = (model.run(user("tell me"), seed=5, n=3) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) > 1


def test_logprobs_come_from_the_engine(tiny: BaseModelBackend) -> None:
    answer = tiny.run(user("hello"), logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    assert all(token.logprob <= 0 for token in logprobs.content)
    assert len(logprobs.content[0].top_logprobs) == 2


def test_leaving_a_stream_frees_the_engine(tiny: BaseModelBackend) -> None:
    for _ in range(4):
        stream = tiny.run(user("hello"), stream=True, max_tokens=4000, temperature=2.0)
        next(stream)
        stream.close()
    assert tiny.run(user("hello")).choices[0].message.content


def test_a_cancellation_from_another_thread_ends_an_answer(tiny: BaseModelBackend) -> None:
    cancel = Cancellation()
    request = parse_request({"messages": user("hello"), "stream": True, "max_tokens": 4000, "temperature": 2})
    stream = tiny.respond(request, cancel=cancel)
    next(stream)
    cancel.cancel()
    assert sum(1 for _ in stream) < 4000


def test_blocking_calls_work_inside_a_running_loop(tiny: BaseModelBackend) -> None:
    async def notebook() -> ChatCompletion:
        return tiny.run(user("hello"))

    assert asyncio.run(notebook()).choices[0].message.content


def test_cancelling_the_task_stops_the_engine() -> None:
    begun, stopped = Event(), Event()

    class Waiting(ScriptedEngine):
        def generate(self, *args: Any, cancel: Cancellation | None = None, **options: Any) -> Any:
            assert cancel is not None
            with cancel.calling(stopped.set):
                begun.set()
                yield "on and "
                assert stopped.wait(60)
            return Generation()

    async def main() -> None:
        task = asyncio.create_task(FunctionGemmaModel("x", engine=Waiting([])).arun(user("hi")))
        assert await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(stopped.wait, 10)

    asyncio.run(main())


def test_an_async_stream_is_an_async_iterator() -> None:
    async def main() -> str:
        stream = await scripted("Hello there").arun(user("hi"), stream=True)
        assert isinstance(stream, AsyncIterator)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(main()) == "Hello there"


TEXTS = st.lists(st.sampled_from([PARIS, OSLO, "Hello. ", "<start_function_call>call:", "<escape>", "}", "<end_of_turn>"]))


@given(TEXTS, st.integers(1, 9), st.sampled_from(["whole", "live"]), st.booleans())
def test_any_text_streams_as_it_is_answered(texts: list[str], cut: int, how: Any, parallel: bool) -> None:
    def model() -> Any:
        return scripted("".join(texts), cut=cut, stream_arguments=how)

    request = {"tools": [WEATHER], "parallel_tool_calls": parallel}
    whole = model().run(user("go"), **request)
    stream = accumulated(list(model().run(user("go"), stream=True, stream_options={"include_usage": True}, **request)))
    if how == "live" and any("call" in problem for problem in _problems(whole)):
        return  # live shows the beginning of calls that were given up
    assert facts(stream) == facts(whole)
    if not parallel:
        assert len(calls(whole)) <= 1


def _problems(answer: ChatCompletion) -> list[dict[str, Any]]:
    problems: list[dict[str, Any]] = answer.choices[0].message.model_dump().get("problems", [])
    return problems
