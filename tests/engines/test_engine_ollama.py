"""What is Ollama's own: its fields beside the options, and how it gives an answer up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gemma_tools import create_model
from gemma_tools.data import tiny_path
from gemma_tools.engines import GenerationRequest, Sampling, create_engine
from gemma_tools.errors import ContextExceeded, EngineRejected, EngineUnavailable, ModelNotFound
from gemma_tools.prompt import Prompt
from support.chat import user
from support.servers.llama import llama_server
from support.servers.ollama import ollama_server
from support.tiny import CONTROLS, GREEDY, PARIS, endless, play, weather, written

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    with llama_server(tiny_path()) as url:
        yield url


def test_a_raw_prompt_is_neither_cut_nor_searched_for_thoughts(llama: str) -> None:
    seen: list[dict[str, Any]] = []
    with ollama_server(llama, seen=seen) as url, create_engine("ollama", model="tiny", url=url) as engine:
        assert written(engine, weather()).startswith(PARIS)
        with pytest.raises(ContextExceeded):
            play(engine.generate(GenerationRequest(Prompt("<bos>" + "a " * 9000, CONTROLS), GREEDY)))
    fields = {"raw": True, "truncate": False, "shift": False, "think": False}
    assert all(fields.items() <= body.items() and not fields.keys() & body["options"].keys() for body in seen)


def test_what_is_missing_is_said_with_what_brings_it(llama: str) -> None:
    def told(error: type[Exception], url: str) -> str:
        with create_model("gemma-3-4b-it", url=url, max_retries=0) as model, pytest.raises(error) as caught:
            model.run(user("hello"))
        return str(caught.value)

    with ollama_server(llama) as url:
        assert told(ModelNotFound, url).endswith("model 'gemma3:4b' not found; `ollama pull gemma3:4b` fetches it")
    assert "`ollama serve` starts it, and url=..., --url or OLLAMA_HOST sets another address" in told(EngineUnavailable, url)


def test_keep_alive_is_a_field_that_is_separate(llama: str) -> None:
    seen: list[dict[str, Any]] = []
    with ollama_server(llama, seen=seen) as url, create_engine("ollama", model="tiny", url=url) as engine:
        played = Sampling(max_tokens=1, extra={"keep_alive": "10m", "num_ctx": 4096})
        play(engine.generate(GenerationRequest(weather(), played)))
        options = {"keep_alive": -1}
        with create_model("functiongemma", engine=engine, engine_options=options) as model:
            model.run(user("hello"))
    assert [body["keep_alive"] for body in seen if "Paris" in body["prompt"] or "hello" in body["prompt"]] == ["10m", -1]
    assert all("keep_alive" not in body["options"] for body in seen)
    assert seen[0]["options"]["num_ctx"] == 4096


@pytest.mark.parametrize(("repeats", "says_so"), [(30, False), (100, True)], ids=["before September 2026", "since then"])
def test_an_answer_that_repeats_one_token_is_given_up(llama: str, repeats: int, says_so: bool) -> None:
    with (
        ollama_server(llama, repeats=repeats, says_so=says_so) as url,
        create_engine("ollama", model="tiny", url=url) as engine,
    ):
        pieces = engine.generate(GenerationRequest(endless(), replace(GREEDY, max_tokens=400)))
        with pytest.raises(EngineRejected, match=r"without end|token repeat limit") as caught:
            play(pieces)
        assert len(caught.value.text) > repeats
        assert written(engine, weather()).startswith(PARIS)


def test_logprobs_that_are_not_answered_are_said_so(llama: str, caplog: pytest.LogCaptureFixture) -> None:
    asked = GenerationRequest(weather(), replace(GREEDY, max_tokens=3, logprobs=1))
    for answers in (True, False):
        with (
            ollama_server(llama, logprobs=answers) as url,
            create_engine("ollama", model="tiny", url=url) as engine,
            caplog.at_level(logging.WARNING, logger="gemma_tools"),
        ):
            _, generation = play(engine.generate(asked))
        assert bool(generation.logprobs) is answers
        assert ("without the requested logprobs" in caplog.text) is not answers
