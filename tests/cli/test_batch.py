"""`gemma-tools batch`, and `run_batch` behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from gemma_tools import FunctionGemmaModel, create_model
from gemma_tools.batch import run_batch
from gemma_tools.engines.base import Cancellation, Generation, GenerationRequest, Pieces
from gemma_tools.errors import EngineUnavailable, InvalidRequest
from support.cli import Ran, lines
from support.serving import CALL, QUESTION, WEATHER, EchoEngine, EndlessEngine, named, scripted


def chat(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "any", "messages": [{"role": "user", "content": f"<<{text}>>"}], **fields}


def line(name: str, body: Any, url: str = "/v1/chat/completions") -> dict[str, Any]:
    return {"custom_id": name, "method": "POST", "url": url, "body": body}


@pytest.fixture
def echo() -> str:
    return named(FunctionGemmaModel("m", engine=EchoEngine()))


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def contents(path: Path) -> dict[str, str]:
    return {
        row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"].strip() for row in lines(path.read_text())
    }


def test_every_line_is_answered_under_its_name(run: Callable[..., Ran], tmp_path: Path, echo: str) -> None:
    rows = [line(f"r{i}", chat(f"word{i} and more", stream=True)) for i in range(20)]
    out = tmp_path / "answers.jsonl"
    ran = run("batch", write(tmp_path / "in.jsonl", *rows, chat("bare")), "-o", out, "--model", echo, "--concurrency", 3)
    assert (ran.status, ran.out) == (0, "")
    assert contents(out) == {f"r{i}": f"word{i} and more" for i in range(20)} | {"request-21": "bare"}
    assert "21 answered; 0 failed" in ran.err
    for row in lines(out.read_text()):
        assert (row["error"], row["response"]["status_code"]) == (None, 200)
    assert [path.name for path in tmp_path.iterdir() if "errors" in path.name] == []


def test_the_other_faces(run: Callable[..., Ran], tmp_path: Path, echo: str) -> None:
    rows = [
        line("responses", {"model": "any", "input": "<<hello>>"}, "/v1/responses"),
        line("messages", {**chat("hello"), "max_tokens": 5}, "/v1/messages"),
    ]
    out = tmp_path / "answers.jsonl"
    assert run("batch", write(tmp_path / "in.jsonl", *rows), "-o", out, "--model", echo).status == 0
    bodies = {row["custom_id"]: row["response"]["body"] for row in lines(out.read_text())}
    assert bodies["responses"]["output"][0]["content"][0]["text"] == "hello "
    assert bodies["messages"]["content"][0]["text"] == "hello "


def test_a_stopped_run_goes_on(run: Callable[..., Ran], tmp_path: Path, echo: str) -> None:
    requests = write(tmp_path / "in.jsonl", *(line(f"r{i}", chat(f"word{i}")) for i in range(6)))
    out = tmp_path / "answers.jsonl"
    run("batch", requests, "-o", out, "--model", echo)
    rows = sorted(out.read_text().splitlines())
    out.write_text(rows[0] + "\n" + rows[1] + "\n" + rows[2][:40])  # killed while it wrote the third
    ran = run("batch", requests, "-o", out, "--model", echo)
    assert "4 answered; 0 failed; 2 were already answered" in ran.err
    assert contents(out) == {f"r{i}": f"word{i}" for i in range(6)}
    assert out.read_text().startswith(rows[0] + "\n" + rows[1] + "\n")


def test_what_failed_is_separate_and_is_tried_again(run: Callable[..., Ran], tmp_path: Path) -> None:
    requests = write(
        tmp_path / "in.jsonl",
        line("good", chat("a")),
        line("field", chat("a", temperature="hot")),
        line("url", chat("a"), "/v1/embeddings"),
        line("body", 5),
        {"custom_id": 5, "body": chat("a")},
        line("good", chat("b")),
    )
    out = tmp_path / "answers.jsonl"
    ran = run("batch", requests, "-o", out, "--model", named(scripted("yes")), "--concurrency", 1)
    assert ran.status == 1
    assert "1 answered; 5 failed" in ran.err
    failed = lines((tmp_path / "answers.errors.jsonl").read_text())
    assert [row["response"]["body"]["error"]["param"] for row in failed] == [
        "temperature",
        "url",
        "body",
        "custom_id",
        "custom_id",
    ]
    write(requests, line("good", chat("a")), line("field", chat("a")))
    ran = run("batch", requests, "-o", out, "--model", named(scripted("yes")))
    assert (ran.status, len(lines(out.read_text()))) == (0, 2)
    assert not (tmp_path / "answers.errors.jsonl").exists()


def test_the_summary_shows_calls_and_repairs(run: Callable[..., Ran], tmp_path: Path) -> None:
    model = named(scripted(CALL, CALL.replace("<end_function_call>", "")))
    body = {"messages": QUESTION, "tools": [WEATHER]}
    requests = write(tmp_path / "in.jsonl", line("a", body), line("b", body))
    ran = run("batch", requests, "-o", tmp_path / "out.jsonl", "--model", model, "--concurrency", 1)
    assert "2 calls" in ran.err
    assert "problems: " in ran.err


def test_a_line_that_is_not_json_is_named(run: Callable[..., Ran], tmp_path: Path, echo: str) -> None:
    requests = tmp_path / "in.jsonl"
    requests.write_text(json.dumps(line("a", chat("a"))) + "\n{\n")
    ran = run("batch", requests, "-o", tmp_path / "out.jsonl", "--model", echo)
    assert ran.status == 1
    assert "line 2" in ran.err


def test_as_many_at_once_as_were_asked_for() -> None:
    class Meeting(EchoEngine):
        """Answers once three requests are there."""

        meeting = Barrier(3, timeout=60)

        def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
            self.meeting.wait()
            yield "met"
            return Generation()

    model = FunctionGemmaModel("m", engine=Meeting())
    answers = list(run_batch({"m": model}, [chat("a", model="m")] * 9, concurrency=3))
    assert [answer.ok for answer in answers] == [True] * 9
    assert sorted(answer.custom_id for answer in answers) == [f"request-{i}" for i in range(1, 10)]


def test_requests_are_taken_as_there_is_room() -> None:
    taken = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield chat("a", model="m")

    answers = run_batch({"m": FunctionGemmaModel("m", engine=EchoEngine())}, endless(), concurrency=2)
    assert next(answers).ok
    answers.close()
    assert taken <= 4


def test_closing_stops_what_runs() -> None:
    endless, echo = EndlessEngine(), EchoEngine()
    models = {"endless": FunctionGemmaModel("m", engine=endless), "echo": FunctionGemmaModel("m", engine=echo)}
    answers = run_batch(models, [chat("a", model="endless"), chat("a", model="echo")], concurrency=2)
    assert next(answers).ok
    answers.close()
    assert endless.stopped.wait(20)


def test_a_fault_of_the_engine_is_an_answer() -> None:
    (answer,) = run_batch({"m": scripted(EngineUnavailable("down", engine="e"))}, [chat("a", model="m")])
    assert (answer.status, answer.body["error"]["code"]) == (503, "engine_unavailable")


def test_no_concurrency_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="concurrency"):
        list(run_batch({}, [], concurrency=0))


def test_on_a_real_engine() -> None:
    with create_model("tiny") as model:
        body = {"model": "tiny", "messages": QUESTION, "tools": [WEATHER], "temperature": 0, "tool_choice": "required"}
        answers = list(run_batch({"tiny": model}, [line(f"r{i}", body) for i in range(8)]))
    calls = {answer.body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] for answer in answers}
    assert len(calls) == 1
