"""What `/metrics` counts, and what OpenTelemetry is told of a request over HTTP."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gemma_tools import FunctionGemmaModel
from gemma_tools.errors import MissingDependency
from gemma_tools.server.app import create_app
from gemma_tools.server.settings import Settings
from support.observed import Collected
from support.serving import CALL, QUESTION, WEATHER, GatedEngine, scripted, serving

BODY = {"model": "m", "messages": QUESTION, "tools": [WEATHER]}
UNDECLARED = CALL.replace("get_weather", "get_time")
DAMAGED = CALL.replace("<end_function_call>", "")
Counts = dict[tuple[str, frozenset[tuple[str, str]]], float]


def counts(url: str, **headers: str) -> Counts:
    """Every sample of the page, by its name and labels."""
    page = httpx.get(f"{url.removesuffix('/v1')}/metrics", headers=headers)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(page.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def of(counted: Counts, name: str, **labels: str) -> float:
    """The sum of the samples of that name that have these labels; 0 where there is none."""
    wanted = labels.items()
    return sum(value for (found, has), value in counted.items() if found == f"gemma_tools_{name}" and wanted <= has)


def test_what_is_counted() -> None:
    model = FunctionGemmaModel(
        "m", engine=scripted(CALL, DAMAGED, CALL.replace("city", "town"), CALL, UNDECLARED, "Hello.").engine, on_invalid="retry"
    )
    with serving(model) as url:
        for path in ("chat/completions", "chat/completions", "chat/completions", "responses"):
            body = (
                BODY if path[0] == "c" else {"model": "m", "input": "?", "tools": [{"type": "function", **WEATHER["function"]}]}
            )
            assert httpx.post(f"{url}/{path}", json=body).status_code == 200
        assert httpx.post(f"{url}/completions", json={"model": "m", "prompt": "Hello"}).status_code == 200
        assert httpx.post(f"{url}/chat/completions", json={**BODY, "model": "nobody"}).status_code == 404
        assert httpx.get(f"{url}/nothing/here").status_code == 404
        counted = counts(url)
    assert of(counted, "requests_total", path="/chat/completions", status="200", outcome="answered") == 3
    assert of(counted, "requests_total", path="/responses", method="POST", status="200") == 1
    assert of(counted, "requests_total", path="/completions") == 1
    assert of(counted, "requests_total", path="/chat/completions", status="404") == 1
    assert of(counted, "requests_total", path="other", status="404") == 1
    assert of(counted, "request_seconds_count", path="/chat/completions") == 4
    assert of(counted, "tool_calls_total", model="m") == 3
    assert of(counted, "repairs_total", model="m", kind="end_tag_missing") == 1
    assert of(counted, "refused_calls_total", model="m", cause="invalid_arguments") == 1
    assert of(counted, "refused_calls_total", model="m", cause="undeclared") == 1
    assert of(counted, "repairs_total") == 1
    assert of(counted, "retries_total", model="m", cause="invalid_arguments") == 1
    assert of(counted, "completion_tokens_total", model="m") == sum(
        -(-len(text) // 4) for text in (CALL, DAMAGED, CALL, CALL, UNDECLARED, "Hello.")
    )
    assert of(counted, "prompt_tokens_total", model="m") > 0
    assert of(counted, "cached_tokens_total", model="m") == 0
    assert of(counted, "time_to_first_token_seconds_count", model="m") == 6
    assert of(counted, "tokens_per_second_count", model="m") == 6
    assert "nobody" not in str(counted)


def test_what_runs_and_what_waits() -> None:
    engine = GatedEngine()
    body = {"model": "m", "messages": QUESTION}
    with serving(FunctionGemmaModel("m", engine=engine), concurrency=1) as url, ThreadPoolExecutor() as pool:
        with httpx.stream("POST", f"{url}/chat/completions", json={**body, "stream": True}, timeout=60) as running:
            pieces = running.iter_raw()
            next(pieces)
            waiting = pool.submit(httpx.post, f"{url}/chat/completions", json=body, timeout=60)
            while not of(counted := counts(url), "requests_waiting"):
                assert not waiting.done()
            assert (of(counted, "requests_running"), of(counted, "requests_waiting")) == (1, 1)
            engine.gate.set()
            list(pieces)
        assert waiting.result().status_code == 200
        while of(counted := counts(url), "requests_running"):
            pass
    assert of(counted, "queue_seconds_sum") > 0


def test_the_page_asks_for_a_key_where_others_do() -> None:
    with serving(scripted(), api_keys=["secret"]) as url:
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert counts(url, authorization="Bearer secret")
        assert httpx.head(f"{url}/metrics", headers={"x-api-key": "secret"}).status_code == 200
        assert httpx.post(f"{url}/metrics", json={}, headers={"x-api-key": "secret"}).status_code == 405


def test_it_can_be_turned_off() -> None:
    with serving(scripted(), metrics=False) as url:
        assert httpx.get(f"{url}/metrics").status_code == 404


def test_servers_count_apart() -> None:
    model = scripted(CALL, CALL)
    with serving(model) as one, serving(model) as other:
        httpx.post(f"{one}/chat/completions", json=BODY)
        assert (of(counts(one), "tool_calls_total"), of(counts(other), "tool_calls_total")) == (1, 0)


@pytest.mark.parametrize(
    ("package", "setting", "line"),
    [("prometheus_client", "metrics", "gemma-tools[server]"), ("opentelemetry", "otel", "gemma-tools[otel]")],
)
def test_what_is_not_installed_is_reported(monkeypatch: pytest.MonkeyPatch, package: str, setting: str, line: str) -> None:
    for module in ("gemma_tools.server.metrics", "gemma_tools.otel"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr("gemma_tools.otel", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency) as raised:
        create_app(Settings.model_validate({"models": ["tiny"], setting: True}))
    assert f"pip install '{line}'" in str(raised.value)
    create_app(Settings.model_validate({"models": ["tiny"], "metrics": False}))


def test_every_name_is_on_the_page_about_it() -> None:
    page = (Path(__file__).parents[2] / "docs" / "observing.md").read_text(encoding="utf-8")
    described = {
        name for row in re.findall(r"^\| (`gemma_tools_[^|]+)", page, re.MULTILINE) for name in re.findall(r"\w+", row)
    }
    with serving(scripted()) as url:
        told = httpx.get(f"{url}/metrics").text
    assert described == set(re.findall(r"^# HELP (\w+?)(?:_created)? ", told, re.MULTILINE))


def test_a_request_over_http_is_one_trace(collected: Collected, tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("print('hello')", encoding="utf-8")
    call = "<start_function_call>call:execute_python{script:<escape>hello.py<escape>}<end_function_call>"
    settings: dict[str, Any] = {"run_tools": ["execute_python"], "scripts_dir": tmp_path, "otel": True}
    parent = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    with serving(scripted(call, "It said hello."), **settings) as url:
        answer = httpx.post(f"{url}/chat/completions", json={"model": "m", "messages": QUESTION}, headers=parent, timeout=60)
    assert answer.json()["choices"][0]["message"]["content"] == "It said hello."
    assert collected.tree == [
        ("POST /chat/completions", None),
        ("chat m", "POST /chat/completions"),
        ("generate m", "chat m"),
        ("execute_tool execute_python", "POST /chat/completions"),
        ("chat m", "POST /chat/completions"),
        ("generate m", "chat m"),
    ]
    span = collected.one("POST /chat/completions")
    assert span.parent is not None
    assert (f"{span.context.trace_id:x}", f"{span.parent.span_id:x}") == ("a" * 32, "b" * 16)
    told = collected.attributes("POST /chat/completions")
    assert (told["http.response.status_code"], told["gemma_tools.outcome"]) == (200, "answered")
