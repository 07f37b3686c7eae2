"""OpenTelemetry's spans and metrics, collected by its own SDK."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing, closing
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from gemma_tools import FunctionGemmaModel, openai_client, otel
from gemma_tools.engines.openai_completions import OpenAICompletionsEngine
from gemma_tools.errors import EngineUnavailable, InvalidRequest, UnusableAnswer
from gemma_tools.tools import arun_tools, run_tools
from support.chat import PARIS, WEATHER, user
from support.observed import Collected
from support.serving import EndlessEngine, scripted, thinker

DAMAGED = PARIS.replace("<end_function_call>", "")
ABOUT = user("How is the weather in Paris?")


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    disable = otel.enable()
    yield
    disable()


def test_a_request_and_its_generation(collected: Collected) -> None:
    scripted(PARIS, model="one").run(ABOUT, tools=[WEATHER], temperature=0.5, max_tokens=40, stop=["STOP"])
    assert collected.tree == [("chat one", None), ("generate one", "chat one")]
    span = collected.one("chat one")
    told = collected.attributes("chat one")
    assert span.kind is SpanKind.INTERNAL
    assert str(told.pop("gen_ai.response.id")).startswith("chatcmpl-")
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gemma_tools",
        "gen_ai.request.model": "one",
        "gen_ai.response.model": "one",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 40,
        "gen_ai.request.stop_sequences": ("STOP",),
        "gen_ai.response.finish_reasons": ("tool_calls",),
        "gen_ai.usage.input_tokens": told["gen_ai.usage.input_tokens"],
        "gen_ai.usage.output_tokens": -(-len(PARIS) // 4),
        "gen_ai.usage.cache_read.input_tokens": 0,
    }
    inner = collected.attributes("generate one")
    assert inner["gemma_tools.engine"] == "scripted"
    assert inner["gemma_tools.tool_calls"] == 1
    assert inner["gemma_tools.usage.output_tokens"] == told["gen_ai.usage.output_tokens"]
    assert not [name for name in inner if name.startswith("gen_ai.usage")]  # the sum would count them twice


def test_metrics(collected: Collected) -> None:
    model = scripted("Hello there, you.", "Good.", EngineUnavailable("gone"), model="metered")
    for _ in range(2):
        model.run(ABOUT)
    with pytest.raises(EngineUnavailable):
        model.run(ABOUT)
    usage = collected.metric("gen_ai.client.token.usage", "metered")
    by_type = {attributes["gen_ai.token.type"]: (total, count) for attributes, total, count in usage}
    assert by_type["output"] == (5 + 2, 2)
    assert by_type["input"][1] == 2
    durations = collected.metric("gen_ai.client.operation.duration", "metered")
    assert sorted((attributes.get("error.type", ""), count) for attributes, _, count in durations) == [
        ("", 2),
        ("EngineUnavailable", 1),
    ]
    assert [count for _, _, count in collected.metric("gen_ai.server.time_to_first_token", "metered")] == [2]
    assert [count for _, _, count in collected.metric("gen_ai.server.time_per_output_token", "metered")] == [2]


def test_repairs_are_events_without_content(collected: Collected) -> None:
    scripted(DAMAGED).run(ABOUT, tools=[WEATHER])
    [event] = [event for event in collected.one("generate m").events if event.name == "gemma_tools.repair"]
    assert dict(event.attributes or {}) == {"gemma_tools.repair.kind": "end_tag_missing", "gemma_tools.repair.call": 0}


def test_nothing_that_was_said_is_logged_unless_it_is_asked_for(collected: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    def session() -> str:
        collected.clear()
        model = thinker("<|channel>thought\nThe secret.<channel|>A SECRET answer", model="quiet")
        model.run([{"role": "system", "content": "Be SECRET."}, *user("SECRET?")], enable_thinking=True)
        run_tools(scripted(CALLED, "It is SECRET."), "SECRET weather?", _weather)
        with pytest.raises(UnusableAnswer):
            scripted("SECRET", "SECRET still").run(ABOUT, {"type": "json_object"})
        return " ".join(span.to_json() for span in collected.spans)

    assert "SECRET" not in session()
    assert "Paris" not in session()
    monkeypatch.setenv(otel.CAPTURE, "true")
    assert "SECRET" in session()
    told = collected.attributes("chat quiet")
    assert json.loads(told["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be SECRET."}]
    assert json.loads(told["gen_ai.input.messages"]) == [{"role": "user", "parts": [{"type": "text", "content": "SECRET?"}]}]
    [reply] = json.loads(told["gen_ai.output.messages"])
    assert reply["parts"] == [{"type": "reasoning", "content": "The secret."}, {"type": "text", "content": "A SECRET answer"}]
    assert reply["finish_reason"] == "stop"
    tool = collected.attributes("execute_tool weather")
    assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"city": "Paris"}
    assert tool["gen_ai.tool.call.result"] == "Sunny in Paris."


def _weather(city: str) -> str:
    """Tells the weather."""
    return f"Sunny in {city}."


_weather.__name__ = "weather"
CALLED = PARIS.replace("get_weather", "weather")
LOOP = [
    ("invoke_agent", None),
    ("chat m", "invoke_agent"),
    ("generate m", "chat m"),
    ("execute_tool weather", "invoke_agent"),
    ("chat m", "invoke_agent"),
    ("generate m", "chat m"),
]


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop_is_one_trace(collected: Collected, stream: bool) -> None:
    transcript = run_tools(scripted(CALLED, "It is sunny."), ABOUT, _weather, stream=stream)
    assert transcript.text == "It is sunny."
    assert collected.tree == LOOP
    told = collected.attributes("execute_tool weather")
    [(call, _)] = transcript.outcomes
    assert told == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "weather",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": call.id,
    }
    assert len({span.context.trace_id for span in collected.spans}) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_for_async_code(collected: Collected, stream: bool) -> None:
    asyncio.run(arun_tools(scripted(CALLED, "It is sunny."), ABOUT, _weather, stream=stream))
    assert collected.tree == LOOP


def test_what_tools_do_is_inside_of_their_spans(collected: Collected) -> None:
    def look() -> str:
        """Looks."""
        with trace.get_tracer("mine").start_as_current_span("inside"):
            raise OSError("no eyes")

    run_tools(scripted(CALLED.replace("weather", "look").replace("city:<escape>Paris<escape>", ""), "No."), ABOUT, look)
    assert ("inside", "execute_tool look") in collected.tree
    span = collected.one("execute_tool look")
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {})["error.type"] == "failed"


def test_a_request_that_is_asked_again(collected: Collected) -> None:
    wrong = PARIS.replace("city", "town")
    model = FunctionGemmaModel("m", engine=scripted(wrong, PARIS).engine, on_invalid="retry")
    model.run(ABOUT, tools=[WEATHER])
    assert collected.tree == [("chat m", None), ("generate m", "chat m"), ("generate m", "chat m")]
    first, second = [dict(span.attributes or {}) for span in collected.spans if span.name == "generate m"]
    assert first["gemma_tools.refused"] == "invalid_arguments"
    assert "gemma_tools.retry.cause" not in first
    assert second["gemma_tools.retry.cause"] == "invalid_arguments"
    [event] = collected.one("chat m").events
    assert (event.name, dict(event.attributes or {})) == (
        "gemma_tools.retry",
        {"gemma_tools.retry.cause": "invalid_arguments"},
    )
    used = [span["gemma_tools.usage.output_tokens"] for span in (first, second)]
    assert collected.attributes("chat m")["gen_ai.usage.output_tokens"] == sum(used)


def test_an_engine_that_is_asked_again(collected: Collected) -> None:
    model = FunctionGemmaModel("m", engine=OpenAICompletionsEngine("m", url="http://127.0.0.1:9", max_retries=1, probe=False))
    with pytest.raises(EngineUnavailable):
        model.run(ABOUT)
    assert collected.tree == [
        ("chat m", None),
        ("generate m", "chat m"),
        ("retry", "generate m"),
    ]
    for name in ("chat m", "generate m"):
        assert collected.attributes(name)["error.type"] == "EngineUnavailable"
        assert collected.one(name).status.status_code is StatusCode.ERROR


def test_a_request_that_is_refused(collected: Collected) -> None:
    with pytest.raises(InvalidRequest):
        scripted(PARIS).run(ABOUT, tools=[WEATHER], tool_choice="required", grammar='root ::= "a"')
    assert collected.attributes("chat m")["error.type"] == "InvalidRequest"


def test_streams_end_when_they_are_left(collected: Collected) -> None:
    model = FunctionGemmaModel("m", engine=EndlessEngine())
    with closing(model.run(ABOUT, stream=True)) as stream:
        next(stream)
    model.run(ABOUT, stream=True).close()
    assert collected.tree == [("chat m", None), ("generate m", "chat m"), ("chat m", None)]

    async def left() -> None:
        async with aclosing(await model.arun(ABOUT, stream=True)) as chunks:
            await anext(chunks)

    collected.clear()
    engine = EndlessEngine()
    model = FunctionGemmaModel("m", engine=engine)
    asyncio.run(left())
    assert engine.stopped.wait(60)
    assert all(span.status.status_code is not StatusCode.ERROR for span in collected.spans)


def test_the_reader_of_a_stream_keeps_its_own_span(collected: Collected) -> None:
    tracer = trace.get_tracer("mine")
    with tracer.start_as_current_span("outside") as outside:
        for _ in scripted("One two three four.").run(ABOUT, stream=True):
            assert trace.get_current_span() is outside
            with tracer.start_as_current_span("mine"):
                pass
    assert ("chat m", "outside") in collected.tree
    assert ("generate m", "chat m") in collected.tree
    assert {parent for name, parent in collected.tree if name == "mine"} == {"outside"}


def test_the_client_in_process(collected: Collected) -> None:
    with openai_client({"m": scripted("Yes.", "Yes.", " sir")}) as client:
        client.responses.create(model="m", input="Are you there?")
        list(client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}], stream=True))
        client.completions.create(model="m", prompt="Yes", n=1)
    assert collected.tree == [
        ("chat m", None),
        ("generate m", "chat m"),
        ("chat m", None),
        ("generate m", "chat m"),
        ("text_completion m", None),
        ("generate m", "text_completion m"),
    ]


def test_the_page_about_observers_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "observing.md").read_text(encoding="utf-8")
    [_, block] = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    exec(compile(block, "observing.md", "exec"), {})
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "begins: ModelRequest",
        "Begun",
        "begins: GenerationWork",
        "FirstPiece",
        "Generated",
        "ends: GenerationWork",
        "Answered",
        "ends: ModelRequest",
    ]


def test_nothing_is_imported_that_nobody_asked_for() -> None:
    program = (
        "import sys\nfrom gemma_tools import openai_client\n"
        "openai_client('tiny').chat.completions.create(model='tiny', messages=[{'role': 'user', 'content': 'Hi'}])\n"
        "print([name for name in ('gemma_tools.otel', 'prometheus_client') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
