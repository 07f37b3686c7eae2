"""The server over real HTTP: what it answers, when it stops, and what it writes down."""

from __future__ import annotations

import json
import logging
import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from gemma_tools import FunctionGemmaModel, Gemma4Model, create_model, openai_client, register_backend
from gemma_tools.data import tiny_path
from gemma_tools.errors import EngineUnavailable
from gemma_tools.testing import ScriptedEngine
from support.serving import CALL, QUESTION, WEATHER, EchoEngine, EndlessEngine, GatedEngine, scripted, serving, texts

BODY = {"model": "m", "messages": QUESTION}


def address(url: str) -> tuple[str, int]:
    """Host and port of a URL."""
    parsed = httpx.URL(url)
    assert parsed.port is not None
    return parsed.host, parsed.port


def head(url: str, body: str) -> bytes:
    """A whole chat request, for a socket."""
    host, port = address(url)
    lines = ["POST /v1/chat/completions HTTP/1.1", f"Host: {host}:{port}", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode()


def chat(url: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{url}/chat/completions", json={**BODY, **fields}, timeout=60)


class City(BaseModel):
    """What `.parse()` fills in."""

    city: str


def program(client: openai.OpenAI) -> Iterator[Any]:
    """An OpenAI program: everything that it sees, without ids and times."""
    create: Callable[..., Any] = client.chat.completions.create
    called = create(**BODY, tools=[WEATHER])
    yield [(call.function.name, call.function.arguments) for call in called.choices[0].message.tool_calls]
    yield called.usage.model_dump()
    chunks = list(create(**BODY, tools=[WEATHER], stream=True))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    yield [(call.index, call.function.name, call.function.arguments) for call in calls]
    yield chunks[-1].choices[0].finish_reason
    yield texts(list(create(**BODY, stream=True)))
    parse: Callable[..., Any] = client.chat.completions.parse
    yield parse(**BODY, response_format=City).choices[0].message.parsed
    yield client.responses.create(model="m", input="Hi").output_text
    yield [model.id for model in client.models.list()]
    for wrong in ({"model": "other"}, {"temperature": "hot"}, {"messages": []}, {}):
        try:
            create(**{**BODY, **wrong})
        except openai.APIStatusError as error:
            message = str(error).partition("; --alias")[0]  # of the server alone
            yield (type(error), error.status_code, error.code, error.param, message)


def test_the_same_program_sees_the_same_in_process_and_over_http() -> None:
    def model() -> FunctionGemmaModel:
        return scripted(CALL, CALL + CALL, "It is sunny.", '{"city": "Lisbon"}', "Yes.", EngineUnavailable("gone"))

    with openai_client({"m": model()}) as client:
        in_process = list(program(client))
    with serving(model()) as url, openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        assert list(program(client)) == in_process


def test_health_needs_nothing() -> None:
    with serving(scripted(), api_keys=["secret"]) as url:
        assert httpx.get(url.replace("/v1", "/health")).json() == {"status": "ok"}


def test_models_are_loaded_when_they_are_first_asked_for() -> None:
    loaded: list[str] = []

    def load(name: str, **options: Any) -> FunctionGemmaModel:
        loaded.append(name)
        return scripted("one", "two")

    register_backend("test-lazy", load)
    with serving(models={"a": {"model": "test-lazy"}, "b": {"model": "test-lazy"}}) as url:
        assert [model["id"] for model in httpx.get(f"{url}/models").json()["data"]] == ["a", "b"]
        assert not loaded
        with ThreadPoolExecutor(2) as pool:
            assert [r.status_code for r in pool.map(lambda _: chat(url, model="a"), range(2))] == [200, 200]
        assert len(loaded) == 1


def test_a_model_that_cannot_be_loaded_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "moved.gguf"
    shutil.copy(tiny_path(), file)
    with serving(models={"m": {"model": str(file)}}) as url:
        file.unlink()
        response = chat(url)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_system_text_sampling_and_thinking_are_filled_in(tmp_path: Path) -> None:
    engine = ScriptedEngine(["a", "b", "c"])
    prompt = tmp_path / "system.md"
    prompt.write_text("I am {model}, today is {date}, I have {tools}. {else}\n", encoding="utf-8")
    model = Gemma4Model("x", engine=engine)
    with serving(model, system_prompt=prompt, sampling={"temperature": 0.3, "seed": 7}, thinking=True) as url:
        assert chat(url, tools=[WEATHER]).status_code == 200
        own = [{"role": "system", "content": "Mine."}, *QUESTION]
        assert chat(url, messages=own, temperature=0.9, reasoning_effort="none").status_code == 200
        assert chat(url).status_code == 200
    filled, said, bare = engine.asked
    assert f"I am m, today is {date.today()}, I have get_weather. {{else}}" in filled.prompt.text
    assert "<|think|>" in filled.prompt.text
    assert (filled.sampling.temperature, filled.sampling.seed) == (0.3, 7)
    assert "I am m" not in said.prompt.text
    assert "Mine." in said.prompt.text
    assert "<|think|>" not in said.prompt.text
    assert said.sampling.temperature == 0.9
    assert "I have none." in bare.prompt.text


def test_a_caller_that_leaves_a_stream_stops_the_engine() -> None:
    engine = EndlessEngine()
    with serving(FunctionGemmaModel("x", engine=engine)) as url:
        with httpx.stream("POST", f"{url}/chat/completions", json={**BODY, "stream": True}) as response:
            assert next(response.iter_lines())
        assert engine.stopped.wait(60)


def test_a_caller_that_leaves_a_silent_engine_stops_it() -> None:
    engine = EndlessEngine(silent=True)
    with serving(FunctionGemmaModel("x", engine=engine)) as url:
        with socket.create_connection(address(url)) as raw:
            raw.sendall(head(url, json.dumps(BODY)))
            assert engine.started.wait(60)
        assert engine.stopped.wait(60)


def test_what_has_no_place_is_turned_away_until_one_is_free() -> None:
    engine = EndlessEngine(silent=True)
    answers = scripted(*["yes"] * 1000)
    with serving(FunctionGemmaModel("x", engine=engine), answers, concurrency=1, queue=0) as url:
        with socket.create_connection(address(url)) as raw:
            raw.sendall(head(url, json.dumps(BODY)))
            assert engine.started.wait(60)
            full = chat(url, model="m1")
            assert (full.status_code, full.json()["error"]["code"], full.headers["retry-after"]) == (503, "overloaded", "1")
            assert httpx.get(f"{url}/models").status_code == 200
        assert engine.stopped.wait(60)
        while (response := chat(url, model="m1")).status_code == 503:
            pass
        assert response.status_code == 200


def test_those_who_wait_come_in_their_turn() -> None:
    answers = [f"answer {i}" for i in range(12)]
    with serving(scripted(*answers), concurrency=2, queue=12) as url, ThreadPoolExecutor(12) as pool:
        told = list(pool.map(lambda _: chat(url).json()["choices"][0]["message"]["content"], answers))
    assert sorted(told) == sorted(answers)


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_time_runs_out_before_the_answer(path: str) -> None:
    engine = EndlessEngine(silent=True)
    with serving(FunctionGemmaModel("x", engine=engine), timeout=0.1) as url:
        body = BODY if path == "chat/completions" else {"model": "m", "input": "Hi"}
        response = httpx.post(f"{url}/{path}", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "engine_timeout")
    assert engine.stopped.is_set()


def test_time_runs_out_in_a_stream() -> None:
    engine = EndlessEngine()
    with serving(FunctionGemmaModel("x", engine=engine), timeout=2) as url:
        response = chat(url, stream=True)
    assert response.status_code == 200
    *_, last = [line for line in response.text.split("\n\n") if line]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_timeout"
    assert engine.stopped.is_set()


def test_a_caller_that_does_not_read_is_not_written_to_for_ever() -> None:
    engine = EndlessEngine()
    with serving(FunctionGemmaModel("x", engine=engine), timeout=0.5) as url, socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        raw.connect(address(url))
        raw.sendall(head(url, json.dumps({**BODY, "stream": True})))
        assert engine.stopped.wait(60)


def test_a_server_that_is_stopped_finishes_its_streams() -> None:
    engine = GatedEngine()
    told: list[str] = []
    with serving(FunctionGemmaModel("x", engine=engine)) as url:
        host, port = address(url)
        stream = httpx.stream("POST", f"{url}/chat/completions", json={**BODY, "stream": True})
        response = stream.__enter__()
        lines = response.iter_lines()
        told.append(next(lines))

        def refused() -> bool:
            try:
                socket.create_connection((host, port)).close()
            except OSError:
                return True
            return False

        def finish() -> None:
            while not refused():
                pass
            engine.gate.set()

        finishing = Thread(target=finish)
        finishing.start()
        reading = Thread(target=lambda: told.extend(lines))
        reading.start()
    finishing.join()
    reading.join()
    stream.__exit__(None, None, None)
    assert "data: [DONE]" in told
    assert any("after" in line for line in told)


def test_what_a_stopping_server_cuts_off_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    engine = EndlessEngine()
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.INFO, logger="gemma_tools.server.access"):
        with serving(FunctionGemmaModel("x", engine=engine), drain=0) as url:
            asked = pool.submit(httpx.post, f"{url}/chat/completions", json={**BODY, "stream": True}, timeout=120)
            assert engine.started.wait(60)
        answer = asked.result()
    assert engine.stopped.is_set()
    assert "the server is stopping" in answer.text
    assert answer.status_code == 503 or answer.text.count("data: {") > 1
    assert [entry["outcome"] for entry in entries(caplog)] == ["stopped"]


def test_a_server_that_is_stopped_does_not_wait_for_ever() -> None:
    engine = EndlessEngine()
    with serving(FunctionGemmaModel("x", engine=engine), drain=0) as url:
        raw = socket.create_connection(address(url))
        raw.sendall(head(url, json.dumps({**BODY, "stream": True})))
        assert raw.recv(10)
    assert engine.stopped.wait(60)
    raw.close()


def entries(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "gemma_tools.server.access"]


def test_the_log_has_one_line_a_request_and_no_content(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, logger="gemma_tools.server.access"),
        serving(scripted("Sunny.", "Sunny."), api_keys=["k"]) as url,
    ):
        headers = {"authorization": "Bearer k"}
        answered = httpx.post(f"{url}/chat/completions", json=BODY, headers=headers)
        httpx.post(f"{url}/chat/completions", json={**BODY, "stream": True}, headers=headers)
        chat(url)
        httpx.post(f"{url}/chat/completions", json={**BODY, "model": "x"}, headers=headers)
    plain, streamed, refused, wrong = entries(caplog)
    assert plain["id"] == answered.headers["x-request-id"]
    assert (plain["status"], plain["outcome"], plain["model"], plain["finish_reason"]) == (200, "answered", "m", "stop")
    assert plain["prompt_tokens"] == streamed["prompt_tokens"] > 0
    assert plain["completion_tokens"] == streamed["completion_tokens"] > 0
    assert (plain["stream"], streamed["stream"]) == (False, True)
    assert plain["caller"].startswith("key-")
    assert (refused["status"], refused["outcome"], refused["error"], refused["caller"]) == (
        401,
        "refused",
        "invalid_api_key",
        "127.0.0.1",
    )
    assert (wrong["status"], wrong["error"]) == (404, "model_not_found")
    assert "Lisbon" not in caplog.text
    assert "Sunny" not in caplog.text


def test_the_log_has_content_where_it_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, logger="gemma_tools.server.access"),
        serving(scripted("Sunny."), log_content=True) as url,
    ):
        answered = chat(url, stream=True)
    (entry,) = entries(caplog)
    assert json.loads(entry["request"]) == {**BODY, "stream": True}
    assert entry["response"] == answered.text


def test_many_streams_at_once_are_neither_lost_nor_mixed_up() -> None:
    with (
        serving(FunctionGemmaModel("x", engine=EchoEngine()), concurrency=32, queue=64) as url,
        ThreadPoolExecutor(16) as pool,
    ):

        def ask(number: int) -> str:
            message = {"role": "user", "content": f"<<{f'answer {number} ' * 20}>>"}
            lines = chat(url, messages=[message], stream=True).text.split("\n\n")
            assert lines[-2] == "data: [DONE]"
            chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
            return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)

        assert list(pool.map(ask, range(64))) == [f"answer {number} " * 20 for number in range(64)]


def test_the_real_model_after_the_server() -> None:
    with create_model("tiny") as model, serving(model) as url:
        (call,) = chat(url, tools=[WEATHER], temperature=0).json()["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Lisbon"}
