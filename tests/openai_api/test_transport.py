"""The OpenAI SDK, answered in process. Runs under openai 2 (httpx) and openai 3 (httpx2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib.util import find_spec
from threading import Thread
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from gemma_tools import FunctionGemmaModel, GemmaTransport, async_openai_client, create_model, openai_client
from gemma_tools.errors import EngineUnavailable, UnknownName
from gemma_tools.testing import Script, ScriptedEngine
from support.serving import CALL, QUESTION, WEATHER, EndlessEngine, scripted, texts, thinker

Ask = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Make a chat request of a model through either client, and read the stream if it is one."""
    way: Literal["sync", "async"] = request.param

    def ask(model: Any, *, name: str = "m", **fields: Any) -> Any:
        if way == "sync":
            with openai_client(model) as client:
                answer: Any = client.chat.completions.create(model=name, messages=QUESTION, **fields)
                return list(answer) if fields.get("stream") else answer

        async def aask() -> Any:
            async with async_openai_client(model) as client:
                answer: Any = await client.chat.completions.create(model=name, messages=QUESTION, **fields)
                return [chunk async for chunk in answer] if fields.get("stream") else answer

        return asyncio.run(aask())

    return ask


def test_a_call(ask: Ask) -> None:
    (call,) = ask(scripted(CALL), tools=[WEATHER]).choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Lisbon"})


def test_a_stream(ask: Ask) -> None:
    chunks = ask(scripted("It is sunny."), stream=True)
    assert len(chunks) > 3
    assert texts(chunks) == "It is sunny."
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_parallel_calls_in_a_stream(ask: Ask) -> None:
    chunks = ask(scripted(CALL + CALL), tools=[WEATHER], stream=True)
    calls = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()]
    assert [call.index for call in calls] == [0, 1]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_several_models_by_name(ask: Ask) -> None:
    models = {"one": scripted("first"), "two": scripted("second")}
    assert ask(models, name="two").choices[0].message.content == "second"
    assert ask(models, name="one").choices[0].message.content == "first"


def test_an_unknown_model(ask: Ask) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(scripted("never"), name="other")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_wrong_field(ask: Ask) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(scripted("never"), tool_choice="sometimes")
    assert caught.value.param == "tool_choice"


def test_an_error_is_not_tried_again(ask: Ask) -> None:
    engine = ScriptedEngine([EngineUnavailable("gone"), "never"])
    with pytest.raises(openai.InternalServerError) as caught:
        ask(FunctionGemmaModel("m", engine=engine))
    assert caught.value.status_code == 503
    assert len(engine.asked) == 1


def test_an_error_is_not_tried_again_by_an_sdk_that_retries() -> None:
    engine = ScriptedEngine([EngineUnavailable("gone"), "never"])
    client = openai_client(FunctionGemmaModel("m", engine=engine), max_retries=3)
    with client, pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="m", messages=QUESTION)  # type: ignore[arg-type]
    assert len(engine.asked) == 1


def test_an_error_in_a_stream(ask: Ask) -> None:
    with pytest.raises(openai.APIError, match="gone"):
        ask(scripted(Script(("So ", "far"), error=EngineUnavailable("gone"))), stream=True)


def test_models_are_listed() -> None:
    with openai_client({"one": scripted(), "two": scripted()}) as client:
        assert [model.id for model in client.models.list()] == ["one", "two"]
        assert client.models.retrieve("two").owned_by == "gemma-tools"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("three")


class Weather(BaseModel):
    """What a model is asked to fill in."""

    city: str
    degrees: int


def test_parse_with_a_model_and_with_tools() -> None:
    class GetWeather(BaseModel):
        """Gets the weather."""

        city: str

    call = "<start_function_call>call:GetWeather{city:<escape>Lisbon<escape>}<end_function_call>"
    with openai_client(scripted('{"city": "Lisbon", "degrees": 21}', call)) as client:
        filled: Any = client.chat.completions.parse(model="m", messages=QUESTION, response_format=Weather)  # type: ignore[arg-type]
        assert filled.choices[0].message.parsed == Weather(city="Lisbon", degrees=21)
        called: Any = client.chat.completions.parse(
            model="m",
            messages=QUESTION,  # type: ignore[arg-type]
            tools=[openai.pydantic_function_tool(GetWeather)],
        )
        assert called.choices[0].message.tool_calls[0].function.parsed_arguments == GetWeather(city="Lisbon")


def test_the_stream_helper() -> None:
    with (
        openai_client(scripted("It is sunny.")) as client,
        client.chat.completions.stream(model="m", messages=QUESTION) as stream,  # type: ignore[arg-type]
    ):
        told = [event.delta for event in stream if event.type == "content.delta"]
        assert "".join(told) == "It is sunny."
        assert stream.get_final_completion().choices[0].message.content == "It is sunny."


def test_raw_responses() -> None:
    with openai_client(scripted("Sunny.", "Sunny.")) as client:
        raw = client.chat.completions.with_raw_response.create(model="m", messages=QUESTION)  # type: ignore[arg-type]
        assert raw.headers["content-type"] == "application/json"
        assert raw.parse().choices[0].message.content == "Sunny."
        streaming = client.chat.completions.with_streaming_response
        with streaming.create(model="m", messages=QUESTION, stream=True) as response:  # type: ignore[arg-type]
            assert list(response.iter_lines())[-2:] == ["data: [DONE]", ""]


def test_responses_and_their_helpers() -> None:
    text = '{"city": "Lisbon", "degrees": 21}'
    with openai_client(thinker("Sunny.", text, text)) as client:
        assert client.responses.create(model="m", input="Hi").output_text == "Sunny."
        parsed = client.responses.parse(model="m", input="Hi", text_format=Weather).output_parsed
        assert parsed == Weather(city="Lisbon", degrees=21)
        with client.responses.stream(model="m", input="Hi") as stream:
            assert "".join(event.delta for event in stream if event.type == "response.output_text.delta") == text
            assert stream.get_final_response().output_text == text


def test_leaving_a_stream_stops_the_engine() -> None:
    engine = EndlessEngine()
    with openai_client(FunctionGemmaModel("m", engine=engine)) as client:
        with client.chat.completions.create(model="m", messages=QUESTION, stream=True) as stream:  # type: ignore[arg-type]
            next(iter(stream))
        assert engine.stopped.is_set()


def test_closing_a_stream_from_another_thread_stops_a_silent_engine() -> None:
    engine = EndlessEngine()
    with openai_client(FunctionGemmaModel("m", engine=engine)) as client:
        stream = client.chat.completions.create(model="m", messages=QUESTION, stream=True)  # type: ignore[arg-type]
        reader = Thread(target=lambda: [None for _ in stream])
        reader.start()
        stream.close()
        reader.join()
    assert engine.stopped.is_set()


def test_leaving_an_async_stream_stops_the_engine() -> None:
    engine = EndlessEngine()

    async def leave() -> None:
        async with async_openai_client(FunctionGemmaModel("m", engine=engine)) as client:
            async with await client.chat.completions.create(model="m", messages=QUESTION, stream=True) as stream:  # type: ignore[arg-type]
                await anext(aiter(stream))
            assert await asyncio.to_thread(engine.stopped.wait, 30)

    asyncio.run(leave())


def test_cancelling_a_task_stops_the_engine_and_the_loop_was_free() -> None:
    engine = EndlessEngine(silent=True)

    async def leave() -> None:
        async with async_openai_client(FunctionGemmaModel("m", engine=engine)) as client:
            asking = asyncio.create_task(client.chat.completions.create(model="m", messages=QUESTION))  # type: ignore[arg-type]
            await asyncio.to_thread(engine.started.wait)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await asyncio.to_thread(engine.stopped.wait)

    asyncio.run(leave())


@pytest.mark.parametrize("stream", [False, True])
def test_a_timeout_is_the_sdks_own(ask: Ask, stream: bool) -> None:
    engine = EndlessEngine(silent=True)
    with pytest.raises(openai.APITimeoutError):
        ask(FunctionGemmaModel("m", engine=engine), timeout=0.05, stream=stream)
    assert engine.stopped.wait(60)


def test_a_timeout_is_for_each_chunk_and_not_for_the_reader(ask: Ask) -> None:
    assert texts(ask(scripted("It is sunny. " * 50), stream=True, timeout=60)) == "It is sunny. " * 50


@pytest.mark.parametrize("package", [name for name in ("httpx", "httpx2") if find_spec(name)])
def test_the_transport_serves_both_packages(package: str) -> None:
    lib: Any = pytest.importorskip(package)
    body = {"model": "m", "messages": QUESTION}
    with lib.Client(transport=GemmaTransport(scripted("one", "two")), base_url="http://any/v1") as client:
        whole = client.post("/chat/completions", json=body)
        assert type(whole).__module__.partition(".")[0] == package
        assert whole.json()["choices"][0]["message"]["content"] == "one"
        with client.stream("POST", "/chat/completions", json={**body, "stream": True}) as response:
            assert "data: [DONE]" in list(response.iter_lines())

    async def aask() -> None:
        transport = GemmaTransport(scripted("one", "two"))
        async with lib.AsyncClient(transport=transport, base_url="http://any/v1") as client:
            assert (await client.post("/chat/completions", json=body)).json()["choices"][0]["message"]["content"] == "one"
            async with client.stream("POST", "/chat/completions", json={**body, "stream": True}) as response:
                assert "data: [DONE]" in [line async for line in response.aiter_lines()]

    asyncio.run(aask())


def test_closing_the_client_closes_the_models_it_made_and_no_others() -> None:
    with create_model("tiny") as given:
        client = openai_client({"given": given, "made": "tiny"})
        question: Any = {"messages": QUESTION, "max_tokens": 4}
        assert client.chat.completions.create(model="made", **question).choices
        client.close()
        assert given.run(**question).choices  # type: ignore[union-attr]


def test_an_unknown_name_is_an_error_at_once() -> None:
    with pytest.raises(UnknownName):
        openai_client("gamma-9")


def test_the_real_model_calls_a_tool(ask: Ask) -> None:
    (call,) = ask("tiny", name="tiny", tools=[WEATHER], temperature=0).choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Lisbon"})


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with openai_client(scripted("Sunny.")) as client:
        assert client.chat.completions.create(model="m", messages=QUESTION).choices  # type: ignore[arg-type]
