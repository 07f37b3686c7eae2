"""The engine that runs a model in this process: what it takes, and that it lets go."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from gemma_tools.data import tiny_path
from gemma_tools.engines import GenerationRequest, create_engine
from gemma_tools.engines.llama_cpp import LlamaCppEngine
from gemma_tools.errors import ContextExceeded, InvalidRequest, MissingDependency, ModelNotFound
from gemma_tools.prompt import Prompt
from support.endings import ENDINGS, ended
from support.servers.hub import hub as serving_hub
from support.servers.llama import TINY_CONTROL
from support.tiny import GREEDY, PARIS, WEATHER_TOKENS, endless, play, weather, written


def test_the_context_is_the_models_or_less() -> None:
    with LlamaCppEngine("tiny", threads=1) as engine:
        assert engine.context_length == 4096
    with LlamaCppEngine(tiny_path(), context=256, parallel=1, threads=1) as engine:
        assert engine.context_length == 256
        with pytest.raises(ContextExceeded) as caught:
            play(engine.generate(GenerationRequest(weather("again " * 200), GREEDY)))
        assert caught.value.context == 256
        assert (caught.value.prompt_tokens or 0) > 256


def test_all_layers_on_a_missing_gpu() -> None:
    with LlamaCppEngine("tiny", threads=1, gpu_layers=-1) as engine:
        assert written(engine, weather(), GREEDY).startswith(PARIS)


@pytest.mark.parametrize(("cache_ram", "kept"), [(64, True), (0, False)])
def test_a_conversation_outside_the_slots_is_cached_if_memory_allows(cache_ram: int, kept: bool) -> None:
    with LlamaCppEngine("tiny", threads=1, parallel=1, cache_ram=cache_ram) as engine:
        for text in ("one " * 100, "two " * 100, "one " * 100):
            request = GenerationRequest(Prompt(f"<bos>{text}", ()), replace(GREEDY, max_tokens=1))
            usage = play(engine.generate(request))[1].usage
    assert ((usage.cached_tokens or 0) > usage.prompt_tokens / 2) == kept


def test_an_engine_that_was_just_opened_can_be_closed() -> None:
    for _ in range(20):
        LlamaCppEngine("tiny", threads=1).close()


def test_a_path_is_enough_to_name_the_engine() -> None:
    with create_engine(str(TINY_CONTROL), threads=1) as engine:
        assert written(engine, weather(), GREEDY).startswith(PARIS)
        assert engine.count_tokens(weather().text) == WEATHER_TOKENS


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"nowhere\.gguf cannot be read"):
        create_engine(str(tmp_path / "nowhere.gguf"))


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"not a model at all")
    with pytest.raises(ModelNotFound, match="not a GGUF file"):
        create_engine(str(tmp_path / "x.gguf"))


def test_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(tiny_path().read_bytes()[:5000])
    with pytest.raises(ModelNotFound, match="cannot load"):
        create_engine(str(tmp_path / "x.gguf"))


@pytest.mark.parametrize("name", ["hf:owner", "hf:owner/repo", "hf:owner//x.gguf"])
def test_a_hub_name_of_another_form(name: str) -> None:
    with pytest.raises(InvalidRequest, match="hf:owner/repo/file"):
        create_engine(name)


@pytest.mark.parametrize(
    ("module", "model", "extra"), [("xllamacpp", "tiny", "local"), ("huggingface_hub", "hf:owner/repo/x.gguf", "hub")]
)
def test_a_missing_package_is_named(module: str, model: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=rf"pip install 'gemma-tools\[{extra}\]'"):
        create_engine(model)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A Hub on this machine: it has owner/repo with folder/x.gguf, which is the tiny model, and a gated repository."""
    from huggingface_hub import constants

    with serving_hub(tiny_path()) as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        yield


@pytest.mark.usefixtures("hub")
def test_a_file_from_the_hub_is_fetched_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from huggingface_hub import constants

    create_engine("hf:owner/repo/folder/x.gguf", threads=1).close()
    assert "downloading hf:owner/repo/folder/x.gguf from the Hugging Face Hub" in caplog.messages
    caplog.clear()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    create_engine("hf:owner/repo/folder/x.gguf", threads=1).close()
    assert not caplog.messages


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("hf:owner/gated/x.gguf", "accept the terms at https://huggingface.co/owner/gated, then log in with `hf auth login`"),
        ("hf:owner/repo/y.gguf", "owner/repo does not contain the file y.gguf"),
        ("hf:nobody/repo/x.gguf", "nobody/repo does not exist, or it is private"),
    ],
)
def test_what_is_wrong_at_the_hub_is_said_in_one_line(model: str, told: str) -> None:
    with pytest.raises(ModelNotFound, match=told) as caught:
        create_engine(model)
    assert caught.value.__suppress_context__
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("hub")
def test_without_a_network_it_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelNotFound, match="the Hub cannot be reached, and the file is not downloaded yet"):
        create_engine("hf:owner/repo/folder/x.gguf")


def test_a_number_that_makes_no_sense() -> None:
    with pytest.raises(InvalidRequest, match="context"):
        create_engine("tiny", context=0)


def test_an_engine_without_references_is_freed() -> None:
    engine = create_engine("tiny", threads=1)
    pieces = engine.generate(GenerationRequest(endless(), GREEDY))
    next(pieces)
    freed = Event()
    weakref.finalize(engine, freed.set)
    del engine, pieces
    for _ in range(1200):  # the cancelled generation lets go in its own time
        gc.collect()
        if freed.wait(timeout=0.05):
            break
    assert freed.is_set()


def test_only_the_engine_itself_may_use_its_port() -> None:
    import httpx

    with LlamaCppEngine("tiny", threads=1) as engine:
        answer = httpx.post(f"{engine._url}/completion", json={"prompt": "hello"})
    assert answer.status_code == 401


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_may_end_at_any_time(ending: str) -> None:
    assert ended("tiny", ending) == (0, "")
