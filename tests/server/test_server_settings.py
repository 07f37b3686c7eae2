"""What the server is told, from three places, and what it will not be told."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from gemma_tools.cli.app import run
from gemma_tools.errors import GemmaToolsError, InvalidRequest, MissingDependency
from gemma_tools.server.app import create_app
from gemma_tools.server.settings import DEFAULT_MODEL, DEFAULT_SYSTEM_PROMPT, Settings, load_settings
from support.serving import QUESTION, scripted, serving

TINY = {"models": ["tiny"]}


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(options: Mapping[str, Any] = TINY, environ: Mapping[str, str] | None = None, toml: str | None = None) -> Settings:
    if toml is None:
        return load_settings(options, environ or {})
    Path("settings.toml").write_text(toml, encoding="utf-8")
    return load_settings(options, environ or {}, Path("settings.toml"))


def test_each_place_is_stronger_than_the_one_before() -> None:
    toml = 'models = ["tiny"]\nport = 1\nqueue = 1\nconcurrency = 1\n[sampling]\nseed = 1\ntop_k = 1\ntop_p = 0.1'
    environ = {"GEMMA_TOOLS_QUEUE": "2", "GEMMA_TOOLS_CONCURRENCY": "2", "GEMMA_TOOLS_TOP_K": "2", "GEMMA_TOOLS_TOP_P": "0.2"}
    settings = load({"concurrency": 3, "top_p": 0.3, "timeout": None}, environ, toml)
    assert (settings.port, settings.queue, settings.concurrency) == (1, 2, 3)
    assert (settings.sampling.seed, settings.sampling.top_k, settings.sampling.top_p) == (1, 2, 0.3)
    assert settings.timeout == Settings().timeout


def test_every_setting_can_come_from_the_environment() -> None:
    values = {
        "host": "::1",
        "models": "tiny, big=gemma4:31b",
        "api_keys": "a,b",
        "allowed_hosts": "x",
        "log_content": "true",
        "thinking": "false",
        "run_tools": "get_system_info",
        "temperature": "0.5",
        "url": "http://127.0.0.1:9",
        "max_body_bytes": "7",
    }
    settings = load({}, {f"GEMMA_TOOLS_{name.upper()}": value for name, value in values.items()})
    assert {name: one.model for name, one in settings.models.items()} == {"tiny": "tiny", "big": "gemma4:31b"}
    assert (settings.api_keys, settings.allowed_hosts, settings.run_tools) == (("a", "b"), ("x",), ("get_system_info",))
    assert (settings.log_content, settings.thinking, settings.max_body_bytes) == (True, False, 7)
    assert settings.sampling.temperature == 0.5


def test_the_file_can_be_named_by_the_environment() -> None:
    Path("here.toml").write_text('models = "tiny"\nport = 7', encoding="utf-8")
    assert load({}, {"GEMMA_TOOLS_CONFIG": "here.toml"}).port == 7


def test_models_in_a_table() -> None:
    toml = """
    [models.assistant]
    model = "gemma4:e2b"
    engine = "ollama"
    url = "http://127.0.0.1:9"
    options = {recovery = "strict"}
    [models]
    small = "tiny"
    """
    models = load({}, toml=toml).models
    assert models["small"].model == "tiny"
    assert models["assistant"].model_dump() == {
        "model": "gemma4:e2b",
        "engine": "ollama",
        "url": "http://127.0.0.1:9",
        "options": {"recovery": "strict"},
    }


def test_the_conventional_files_are_used_where_they_exist() -> None:
    for file in (DEFAULT_MODEL, DEFAULT_SYSTEM_PROMPT):
        file.parent.mkdir(parents=True)
        file.touch()
    settings = load({})
    assert {name: one.model for name, one in settings.models.items()} == {"gemma-3-4b-it": str(DEFAULT_MODEL)}
    assert settings.system_prompt == DEFAULT_SYSTEM_PROMPT
    assert (settings.host, settings.port) == ("127.0.0.1", 1337)
    assert list(load().models) == ["tiny"]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({}, "models"),
        ({"models": []}, "models"),
        ({"models": [3]}, "models"),
        ({**TINY, "port": 70_000}, "port"),
        ({**TINY, "queue": -1}, "queue"),
        ({**TINY, "concurrency": 0}, "concurrency"),
        ({**TINY, "temperature": "hot"}, "sampling.temperature"),
        ({**TINY, "frobnicate": 1}, "frobnicate"),
        ({**TINY, "host": "0.0.0.0"}, "api_keys"),
        ({**TINY, "host": "192.0.2.1"}, "api_keys"),
        ({**TINY, "host": "gemma.example"}, "api_keys"),
        ({**TINY, "host": "0.0.0.0", "run_tools": "get_system_info"}, "api_keys"),
        ({**TINY, "run_tools": "execute_python"}, "scripts_dir"),
        ({**TINY, "run_tools": "execute_python", "scripts_dir": "nowhere"}, "scripts_dir"),
        ({**TINY, "run_tools": "shell"}, "run_tools"),
        ({**TINY, "system_prompt": "nowhere.md"}, "system_prompt"),
        ({**TINY, "system_prompt": "."}, "system_prompt"),
        ({**TINY, "system_prompt": "settings.bin"}, "system_prompt"),
        ({**TINY, "api_keys": ["k", ""]}, "api_keys"),
        ({**TINY, "api_keys": [" "]}, "api_keys"),
        ({**TINY, "context": 0}, "context"),
        ({**TINY, "gpu_layers": -2}, "gpu_layers"),
        ({"models": ["gemma3:4b"], "threads": 2}, "threads"),
        ({"models": ["gemma3:4b"], "max_line_bytes": 0}, "max_line_bytes"),
        ({**TINY, "max_answer_bytes": 2**20}, "max_answer_bytes"),
        ({"models": ["gemma3:4b"], "engine": "vllm"}, "url"),
    ],
)
def test_what_does_not_fit_is_named(options: Mapping[str, Any], param: str) -> None:
    Path("settings.bin").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequest) as caught:
        create_app(load(options))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("model", "option", "told"),
    [
        ("tiny", {"context": 0}, "at least 1, got 0"),
        ("tiny", {"context": "many"}, "got 'many'"),
        ("tiny", {"threads": 1.5}, "got 1.5"),
        ("tiny", {"gpu_layers": -2}, "at least -1"),
        ("tiny", {"mmproj": 3}, "path of a file"),
        ("tiny", {"lora": "x.gguf"}, "list"),
        ("tiny", {"temprature": 0}, "did you mean temperature"),
        ("tiny", {"frobnicate": 1}, "does not have this option; known options"),
        ("tiny", {"temperature": "hot"}, "number"),
        ("tiny", {"recovery": "never"}, "strict"),
        ("gemma3:4b", {"context": 0}, "at least 1"),
        ("gemma3:4b", {"max_answer_bytes": 0}, "at least 1, got 0"),
        ("gemma3:4b", {"max_line_bytes": "long"}, "got 'long'"),
        ("tiny", {"parallel": 0}, "at least 1"),
        ("tiny", {"cache_ram": "much"}, "got 'much'"),
        ("gemma3:4b", {"threads": 2}, "ollama does not have this option"),
        ("gemma3:4b", {"engine": "openai-chat", "url": "x", "way": "x"}, "native"),
    ],
)
def test_a_model_s_options_are_checked_before_anything_is_loaded(model: str, option: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told) as caught:
        create_app(load({"models": {"a": {"model": model, "options": option}}}))
    assert caught.value.param == f"models.a.options.{list(option)[-1]}"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"engine": "olama"}, "there is no engine 'olama'"),
        ({"engine": "gemini"}, "GEMINI_API_KEY"),
        ({"options": {"mmproj": "nowhere.gguf"}}, r"nowhere\.gguf cannot be read"),
        ({"threads": 1}, r"models\.a\.threads: write it .* options = { threads = "),
        ({"frobnicate": 1}, r"models\.a\.frobnicate: unknown setting"),
    ],
)
def test_so_is_what_is_to_run_a_model(settings: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(GemmaToolsError, match=told):
        create_app(load({"models": {"a": {"model": "tiny", **settings}}}))


def test_a_setting_that_is_nearly_one() -> None:
    with pytest.raises(InvalidRequest, match="did you mean port"):
        load({**TINY, "prot": 1})


@pytest.mark.parametrize(
    ("package", "model", "extra"),
    [
        ("xllamacpp", "tiny", "local"),
        ("huggingface_hub", "hf:o/gemma-3-4b-it/x.gguf", "hub"),
        ("litert_lm", "gemma-3-4b-it", "litert-lm"),
    ],
)
def test_a_missing_package_is_named_at_the_start(package: str, model: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    engine = "litert-lm" if package == "litert_lm" else None
    with pytest.raises(MissingDependency, match=rf"gemma-tools\[{extra}\]"):
        create_app(load({"models": {"a": {"model": model, "engine": engine}}}))


@pytest.mark.parametrize("toml", ["port = ", "port = 1\nport = 2", "\x00"])
def test_a_broken_file_is_named(toml: str) -> None:
    with pytest.raises(InvalidRequest, match=r"settings\.toml"):
        load(TINY, toml=toml)


def test_sampling_is_a_table() -> None:
    with pytest.raises(InvalidRequest) as caught:
        load(TINY, toml="sampling = 3")
    assert caught.value.param == "sampling"


def test_with_keys_others_may_come() -> None:
    assert load({**TINY, "host": "0.0.0.0", "api_keys": "k"}).host == "0.0.0.0"
    assert all(load({**TINY, "host": host}).on_loopback for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1"))


def serve(*arguments: str, **environ: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gemma_tools", "serve", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ})


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop(stop: signal.Signals) -> None:
    with serve("--model", "small=tiny", "--port", "0", GEMMA_TOOLS_MAX_TOKENS="4") as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        found = re.fullmatch(r"gemma-tools: serving small at (http://127\.0\.0\.1:\d+/v1)\n", told)
        assert found, told + process.stderr.read()
        body = {"model": "small", "messages": [{"role": "user", "content": "Hi"}]}
        answer = httpx.post(f"{found[1]}/chat/completions", json=body, timeout=60).json()
        assert answer["usage"]["completion_tokens"] <= 4
        process.send_signal(stop)
        rest = process.stderr.read()
    assert process.returncode in (0, -stop)
    assert '"path": "/v1/chat/completions"' in rest
    assert "Traceback" not in rest


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "name a model"),
        ("--model tiny --host 0.0.0.0", "api_keys"),
        ("--model nosuch", "there is no model"),
        ("--model tiny --run-tools rm", "run_tools"),
        ("--model tiny --config nowhere.toml", "nowhere.toml"),
        ("--model tiny --port TAKEN", "cannot listen on 127.0.0.1:TAKEN"),
        ("--model tiny --host no.such.host.invalid --api-keys k", "cannot listen"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(
    arguments: str, said: str, taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", *arguments.replace("TAKEN", str(taken)).split()]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert said.replace("TAKEN", str(taken)) in told


def test_aliases_are_names_of_the_first_model() -> None:
    with serving(scripted("one", "two"), scripted("other"), alias=["gpt-4o"]) as url:
        assert [card["id"] for card in httpx.get(f"{url}/models").json()["data"]] == ["m", "m1", "gpt-4o"]
        for name, content in (("gpt-4o", "one"), ("m", "two"), ("m1", "other")):
            answer = httpx.post(f"{url}/chat/completions", json={"model": name, "messages": QUESTION}).json()
            assert (answer["model"], answer["choices"][0]["message"]["content"]) == (name, content)
        refused = httpx.post(f"{url}/chat/completions", json={"model": "gpt-4o-mini", "messages": QUESTION})
        assert refused.status_code == 404
        assert "--alias" in refused.json()["error"]["message"]


def test_one_alias_is_every_name() -> None:
    with serving(scripted("one"), scripted("other"), alias="*") as url:
        for name, content in (("anything", "one"), ("m1", "other")):
            answer = httpx.post(f"{url}/chat/completions", json={"model": name, "messages": QUESTION}).json()
            assert answer["choices"][0]["message"]["content"] == content
        assert [card["id"] for card in httpx.get(f"{url}/models").json()["data"]] == ["m", "m1"]
