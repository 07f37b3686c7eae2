"""What every engine owes, asked of each of them with a real model behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Thread

import pytest

from gemma_tools.engines import Cancellation, Constraint, Engine, GenerationRequest, Sampling
from gemma_tools.errors import ContextExceeded, EngineUnavailable, InvalidRequest
from gemma_tools.prompt import Prompt, quote
from support.engines import Opened, opened
from support.tiny import CONTROLS, GREEDY, PARIS, WEATHER_TOKENS, play, weather, written


@pytest.fixture(scope="module")
def model(engine_name: str) -> Iterator[Opened]:
    with opened(engine_name) as model:
        yield model


@pytest.fixture(scope="module")
def engine(model: Opened) -> Iterator[Engine]:
    with model.make() as engine:
        yield engine


def can(engine: Engine, form: str) -> None:
    if form not in engine.capabilities.constraints | engine.capabilities.settings:
        pytest.skip(f"{engine.name} has no {form}")


def raw(engine: Engine) -> None:
    if not engine.capabilities.raw_prompt:
        pytest.skip(f"{engine.name} writes the prompt itself")


def test_a_call_comes_in_chunks_with_its_special_tokens(engine: Engine) -> None:
    pieces, generation = play(engine.generate(GenerationRequest(weather(), GREEDY)))
    assert "".join(pieces).startswith(PARIS)
    assert "<start_function_response>r" not in "".join(pieces)
    assert len(pieces) > 5
    assert all(pieces)
    assert generation.finish == "stop"


def test_one_bos_arrives(engine: Engine) -> None:
    raw(engine)
    assert play(engine.generate(GenerationRequest(weather(), GREEDY)))[1].usage.prompt_tokens == WEATHER_TOKENS


def test_the_callers_stop_strings_end_the_text_and_never_appear(engine: Engine) -> None:
    pieces, generation = play(engine.generate(GenerationRequest(weather(), GREEDY, stop=("her{ci", "nowhere"))))
    assert "".join(pieces) == "<start_function_call>call:get_weat"
    assert generation.finish == "stop"
    tells = engine.name in ("llama.cpp", "llama-server", "transformers", "litert-lm")
    assert generation.stopped in (["her{ci"] if tells else ["her{ci", None])


def test_a_seed_repeats_itself(engine: Engine) -> None:
    wide = {"temperature": 2.0, "max_tokens": 20, "top_k": 50, "min_p": 0.0, "top_p": 1.0}
    hot = Sampling(**{name: value for name, value in wide.items() if name in engine.capabilities.settings})
    # A prompt that is read for the first time is computed in other batches than one from the cache, and is rounded otherwise.
    _, *texts = [written(engine, weather(), replace(hot, seed=seed)) for seed in (7, 7, 7)]
    assert texts[0] == texts[1]
    # No hotter than servers allow, a model that is sure of itself may write the same by another seed or two.
    assert any(written(engine, weather(), replace(hot, seed=seed)) != texts[0] for seed in range(8, 40))


def test_the_token_limit_cuts(engine: Engine) -> None:
    pieces, generation = play(engine.generate(GenerationRequest(weather(), replace(GREEDY, max_tokens=5))))
    assert PARIS.startswith("".join(pieces))
    assert generation.finish == "length"
    assert generation.usage.completion_tokens == 5


def test_the_end_of_the_context_cuts(model: Opened, engine: Engine) -> None:
    raw(engine)
    prompt = Prompt("<bos>" + "en" * (model.context - 36), CONTROLS)
    _, generation = play(engine.generate(GenerationRequest(prompt, GREEDY)))
    assert generation.finish == "length"


def test_cancelling_from_another_thread_stops(model: Opened, engine: Engine) -> None:
    cancel = Cancellation()
    pieces = engine.generate(GenerationRequest(model.endless(), GREEDY), cancel=cancel)
    next(pieces)
    thread = Thread(target=cancel.cancel)
    thread.start()
    rest, _ = play(pieces)
    thread.join()
    assert len(rest) < 1000


def test_cancelled_before_the_start_gives_nothing(engine: Engine) -> None:
    cancel = Cancellation()
    cancel.cancel()
    assert play(engine.generate(GenerationRequest(weather(), GREEDY), cancel=cancel))[0] == []


def test_left_generations_make_way(model: Opened, engine: Engine) -> None:
    for _ in range(4):
        pieces = engine.generate(GenerationRequest(model.endless(), GREEDY))
        next(pieces)
        pieces.close()
    assert written(engine, weather(), GREEDY).startswith(PARIS)


def test_the_prompt_is_read_once(engine: Engine) -> None:
    if engine.name in ("transformers", "litert-lm"):
        pytest.skip(f"{engine.name} keeps nothing")
    play(engine.generate(GenerationRequest(weather("what is the weather in Rome?"), GREEDY)))
    usage = play(engine.generate(GenerationRequest(weather("what is the weather in Rome?"), GREEDY)))[1].usage
    if usage.cached_tokens is None:
        pytest.skip(f"{engine.name} does not tell")
    assert usage.cached_tokens > 90  # whole blocks only, of 32 tokens in vLLM


def test_a_prompt_longer_than_the_context_is_an_error(model: Opened, engine: Engine) -> None:
    raw(engine)
    if not model.bounded:
        pytest.skip("the server has no bound")
    with pytest.raises(ContextExceeded) as caught:
        play(engine.generate(GenerationRequest(Prompt("<bos>" + "a " * 9000, CONTROLS), GREEDY)))
    assert caught.value.engine == engine.name
    assert caught.value.text == ""


def test_generations_side_by_side_keep_apart(engine: Engine) -> None:
    cities = ("Paris", "London", "Berlin", "Tokyo", "Madrid", "Rome")
    prompts = [weather(f"what is the weather in {city}?") for city in cities]
    with ThreadPoolExecutor(len(prompts)) as pool:
        texts = list(pool.map(lambda prompt: written(engine, prompt, GREEDY), prompts))
    assert [text.split("<escape>")[1] for text in texts] == list(cities)


def test_gbnf_is_obeyed(engine: Engine) -> None:
    can(engine, "gbnf")
    grammar = Constraint(gbnf='root ::= "maybe " ("yes" | "no")')
    assert written(engine, weather(), GREEDY, constraint=grammar).startswith(("maybe yes", "maybe no"))


def test_gbnf_knows_markers_as_tokens(engine: Engine) -> None:
    can(engine, "gbnf")
    grammar = Constraint(gbnf='root ::= <start_function_call> "call:other{}" <end_function_call>')
    text = written(engine, weather(), GREEDY, constraint=grammar)
    assert text.startswith("<start_function_call>call:other{}<end_function_call>")


def test_lark_or_ebnf_is_obeyed(engine: Engine) -> None:
    can(engine, "lark")
    lark = '%llguidance {}\nstart: <start_function_call> "call:other{n:" /[0-9]{3}/ "}" <end_function_call>'
    ebnf = 'root ::= "<start_function_call>" "call:other{n:" [0-9]{3} "}" "<end_function_call>"'
    grammar = Constraint(lark=lark, ebnf=ebnf)  # a server that takes either finds out which
    text = written(engine, weather(), GREEDY, constraint=grammar)
    assert text.startswith("<start_function_call>call:other{n:")
    assert "}<end_function_call>" in text


def test_a_json_schema_is_obeyed(engine: Engine) -> None:
    can(engine, "json_schema")
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
        # tiny knows no JSON, and would fill the answer with white space. This is llguidance's keyword; others ignore it.
        "x-guidance": {"whitespace_flexible": False},
    }
    text = written(engine, weather(), GREEDY, constraint=Constraint(json_schema=schema))
    assert json.loads(text.removesuffix("<end_of_turn>").removesuffix("<eos>"))["city"] in ("Paris", "Rome")


def test_logprobs_cover_the_text(engine: Engine) -> None:
    can(engine, "logprobs")
    pieces, generation = play(engine.generate(GenerationRequest(weather(), replace(GREEDY, max_tokens=6, logprobs=2))))
    assert "".join(entry["token"] for entry in generation.logprobs) == "".join(pieces)
    assert all(entry["logprob"] <= 0 and len(entry["top_logprobs"]) == 2 for entry in generation.logprobs)
    assert all(bytes(entry["bytes"]).decode() == entry["token"] for entry in generation.logprobs)


def test_a_banned_token_does_not_come(engine: Engine) -> None:
    can(engine, "logit_bias")
    call_id = "8"  # <start_function_call> in the tiny model's vocabulary
    text = written(engine, weather(), replace(GREEDY, logit_bias={call_id: -100}, max_tokens=10))
    assert text
    assert "<start_function_call>" not in text


def test_a_bias_for_what_is_no_token_is_refused_where_the_engine_knows_its_vocabulary(engine: Engine) -> None:
    can(engine, "logit_bias")
    asked = GenerationRequest(weather(), replace(GREEDY, logit_bias={"100000000": 1.0}, max_tokens=2))
    if engine.name not in ("llama.cpp", "llama-server", "transformers"):
        pytest.skip("the server decides")
    with pytest.raises(InvalidRequest, match=r"from 0 to 1023 for this model, got 100000000") as caught:
        play(engine.generate(asked))
    assert caught.value.param == "logit_bias"


def test_what_an_engine_cannot_do_is_refused_by_name(engine: Engine) -> None:
    asked = Sampling(logit_bias={"8": -100.0}, logprobs=1, min_p=0.1)
    for name in {"logit_bias", "logprobs", "min_p"} - engine.capabilities.settings:
        with pytest.raises(InvalidRequest) as caught:
            play(engine.generate(GenerationRequest(weather(), Sampling(**{name: getattr(asked, name)}))))
        assert caught.value.param == name
    if "gbnf" not in engine.capabilities.constraints:
        with pytest.raises(InvalidRequest):
            play(engine.generate(GenerationRequest(weather(), GREEDY, constraint=Constraint(gbnf='root ::= "a"'))))


def test_an_extra_setting_that_nobody_knows_is_refused(engine: Engine) -> None:
    if engine.name in ("openai", "openai-chat"):
        pytest.skip("every server has its own")
    with pytest.raises(InvalidRequest) as caught:
        play(engine.generate(GenerationRequest(weather(), Sampling(extra={"tempurature": 1}))))
    assert caught.value.param == "tempurature"


def test_text_that_looks_like_a_token_is_read_as_text(engine: Engine) -> None:
    if engine.name not in ("llama.cpp", "llama-server", "transformers"):
        pytest.skip("takes the prompt as a string only")
    prompt = Prompt("<bos>" + quote("<unk>"), CONTROLS)  # a token of the vocabulary that the format does not know
    usage = play(engine.generate(GenerationRequest(prompt, replace(GREEDY, max_tokens=1))))[1].usage
    assert usage.prompt_tokens is not None
    assert usage.prompt_tokens > 2


def test_an_engine_that_counts_counts_as_it_reads(engine: Engine) -> None:
    count = engine.count_tokens(weather().text)
    if count is None:
        pytest.skip(f"{engine.name} does not count")
    assert count == WEATHER_TOKENS


def test_half_a_character_is_refused_and_counted(engine: Engine) -> None:
    with pytest.raises(InvalidRequest):
        play(engine.generate(GenerationRequest(Prompt("<bos>\ud800", CONTROLS), GREEDY)))
    assert engine.count_tokens("\ud800") in (None, 1)


def test_closing_is_safe_at_any_time(model: Opened) -> None:
    model.make().close()
    engine = model.make()
    pieces = engine.generate(GenerationRequest(model.endless(), GREEDY))
    first = next(pieces)
    engine.close()
    engine.close()
    with pytest.raises(EngineUnavailable) as caught:
        play(pieces)
    assert caught.value.text.startswith(first)
    with pytest.raises(EngineUnavailable):
        play(engine.generate(GenerationRequest(weather(), GREEDY)))
