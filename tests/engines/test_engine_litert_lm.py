"""The engine for LiteRT-LM, on the real runtime: `nox -s "engines(litert-lm)"` installs it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_tools import FunctionGemmaModel, create_model
from gemma_tools.engines import Engine, GenerationRequest, Sampling, create_engine
from gemma_tools.errors import ContextExceeded, InvalidRequest, ModelNotFound
from gemma_tools.prompt import Prompt
from support.chat import user
from support.endings import ENDINGS, ended
from support.tiny import CONTROLS, GREEDY, WEATHER_TOKENS, endless, play, small_talk, weather, written
from support.weights import tiny_litertlm

pytest.importorskip("litert_lm", reason="nox -s engines installs it")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with create_engine(str(tiny_litertlm()), threads=1, cache_dir=":nocache") as engine:
        yield engine


def test_a_path_is_enough_to_name_format_and_engine() -> None:
    with create_model(str(tiny_litertlm()), temperature=0) as model:
        assert isinstance(model, FunctionGemmaModel)
        assert model.engine.name == "litert-lm"
        assert model.token_counter.exact
        assert model.run(user("hello")).choices[0].message.content


def test_the_context_may_be_less_than_the_models() -> None:
    with create_engine(str(tiny_litertlm()), threads=1, context=256) as engine:
        assert engine.context_length == 256
        with pytest.raises(ContextExceeded) as caught:
            play(engine.generate(GenerationRequest(Prompt("<bos>" + "a " * 200, CONTROLS), GREEDY)))
        assert (caught.value.prompt_tokens, caught.value.context) == (401, 256)
        assert play(engine.generate(GenerationRequest(endless(), GREEDY)))[1].finish == "length"
    with create_engine(str(tiny_litertlm()), threads=1, context=1 << 20) as engine:
        assert engine.context_length == 4096


def test_without_a_seed_each_answer_is_another(engine: Engine) -> None:
    hot = Sampling(temperature=2.0, top_k=50, max_tokens=12)
    texts = {written(engine, small_talk("hello"), hot) for _ in range(8)}
    assert len(texts) > 1


def test_what_is_left_open_is_as_the_file_says(engine: Engine) -> None:
    """The file names no temperature, so that the likeliest token is taken."""
    assert written(engine, weather(), Sampling()) == written(engine, weather(), GREEDY)


def test_tokens_are_counted_with_the_one_that_ends_the_text(engine: Engine) -> None:
    pieces, whole = play(engine.generate(GenerationRequest(small_talk("hello"), GREEDY)))
    assert whole.usage.completion_tokens == len(pieces) + 1
    for limit, finish in ((len(pieces), "length"), (len(pieces) + 1, "stop")):
        asked = GenerationRequest(small_talk("hello"), replace(GREEDY, max_tokens=limit))
        shown, generation = play(engine.generate(asked))
        assert (shown, generation.finish) == (pieces, finish)


@pytest.mark.parametrize("name", ["temperature", "top_k", "top_p"])
def test_an_impossible_setting_is_named(engine: Engine, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        play(engine.generate(GenerationRequest(weather(), Sampling(**{name: -1}))))
    assert caught.value.param == name


@pytest.mark.parametrize(("option", "value"), [("context", 0), ("threads", -1), ("device", "npu")])
def test_an_impossible_option_is_named(option: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        create_engine(str(tiny_litertlm()), **{option: value})
    assert caught.value.param == option


def test_files_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        create_engine(str(tmp_path / "nowhere.litertlm"))
    (tmp_path / "cut.litertlm").write_bytes(tiny_litertlm().read_bytes()[:300_000])
    with pytest.raises(ModelNotFound):
        create_engine(str(tmp_path / "cut.litertlm"))


def test_the_prompts_bos_is_the_only_one(engine: Engine) -> None:
    assert engine.count_tokens(weather().text) == WEATHER_TOKENS
    assert play(engine.generate(GenerationRequest(weather(), GREEDY)))[1].usage.prompt_tokens == WEATHER_TOKENS


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_may_end_at_any_time(ending: str) -> None:
    assert ended(str(tiny_litertlm()), ending) == (0, "")
