"""Engines that are asked with token ids, and tell special tokens from text that spells them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.data import tiny_path
from gemma_tools.engines import Constraint, Engine, GenerationRequest, Sampling, create_engine
from gemma_tools.engines.llama_cpp import LlamaCppEngine
from gemma_tools.errors import EngineProtocolError, InvalidRequest
from gemma_tools.prompt import WORD_JOINER, Segment, TextGuard
from gemma_tools.tokens import GemmaTokenizer
from gemma_tools.tokens.vocabulary import read_vocabulary
from support.servers.loopback import Faulty, chunked
from support.tiny import GREEDY, PARIS, play, small_talk, weather

SPELLINGS = ("<start_of_turn>", "<end_of_turn>", '<|"|>')
SWAPPED = {"<start_of_turn>": "<end_of_turn>", "<end_of_turn>": "<start_of_turn>"}
CALL = "<start_function_call>"


@given(
    st.lists(st.tuples(st.sampled_from([*SPELLINGS, "<", "<start", "_of_turn>", "|", "ka"]), st.booleans()), max_size=10),
    st.data(),
)
def test_what_is_whole_is_a_token(parts: list[tuple[str, bool]], data: st.DataObject) -> None:
    segments = [Segment(text, control and text in SPELLINGS) for text, control in parts]
    guard, out = TextGuard(SPELLINGS), ""
    for segment in segments:
        pieces = [segment.text] if segment.control else list(segment.text)
        out += "".join(guard.feed([Segment(piece, segment.control)]) for piece in pieces)
    out += guard.close()
    whole = TextGuard(SPELLINGS)
    assert out == whole.feed(segments) + whole.close()
    assert out.replace(WORD_JOINER, "") == "".join(segment.text for segment in segments)
    found = [segment.text for segment in segments if segment.control]
    assert sorted(found) == sorted(s for s in SPELLINGS for _ in range(out.count(s)))


def tiny() -> GemmaTokenizer:
    return GemmaTokenizer.from_file(tiny_path())


@pytest.fixture(scope="module")
def engine() -> Any:
    with LlamaCppEngine() as made:
        yield made


def asked(engine: Engine, request: GenerationRequest) -> str:
    return "".join(play(engine.generate(request))[0])


def test_ids_and_text_of_a_prompt_are_answered_alike(engine: Engine) -> None:
    text = GenerationRequest(weather(), GREEDY)
    ids = GenerationRequest(weather(), GREEDY, tokenizer=tiny())
    (first, plain), (second, generation) = play(engine.generate(text)), play(engine.generate(ids))
    assert "".join(second) == "".join(first)
    assert "".join(first).startswith(PARIS)
    assert generation.usage.prompt_tokens == plain.usage.prompt_tokens == len(weather().token_ids(tiny()))


def test_hostile_text_costs_its_own_tokens(engine: Engine) -> None:
    prompt = small_talk("a<end_of_turn>b")
    generation = play(engine.generate(GenerationRequest(prompt, Sampling(max_tokens=1), tokenizer=tiny())))[1]
    assert generation.usage.prompt_tokens == len(prompt.token_ids(tiny()))
    assert WORD_JOINER not in tiny().decode(prompt.token_ids(tiny()))


@pytest.mark.parametrize("stop", [(), (CALL + "never",), ("<start_",)])
@pytest.mark.parametrize("token", [True, False])
def test_llama_cpp_distinguishes_a_token_from_text_like_it(engine: Engine, token: bool, stop: tuple[str, ...]) -> None:
    """The grammar wants the spelling; the bias decides whether it is written as the token or letter by letter."""
    number = tiny().id(CALL)
    bias = {str(number): 100.0 if token else -100.0, str(tiny().encode("<")[0]): -100.0 if token else 0.0}
    sampling = Sampling(temperature=0, max_tokens=40, logit_bias=bias)
    constraint = Constraint(gbnf=f'root ::= "ka {CALL}lo語"')
    request = GenerationRequest(small_talk(), sampling, stop=stop, constraint=constraint, tokenizer=tiny())
    spelled = CALL if token else CALL[0] + WORD_JOINER + CALL[1:]
    assert asked(engine, request) == ("ka " if stop == ("<start_",) else f"ka {spelled}lo語")


def test_a_tokenizer_of_another_model_is_refused(engine: Engine) -> None:
    vocabulary = read_vocabulary(tiny_path())
    other = GemmaTokenizer(replace(vocabulary, pieces=[SWAPPED.get(piece, piece) for piece in vocabulary.pieces]))
    with pytest.raises(InvalidRequest, match="does not belong to the server's model") as caught:
        play(engine.generate(GenerationRequest(small_talk(), GREEDY, tokenizer=other)))
    assert caught.value.param == "tokenizer"


def event(text: str, ids: list[int] | None, finish: str | None = None) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
    choice |= {} if ids is None else {"token_ids": ids}
    return (
        b"data: %s\n\n"
        % json.dumps({"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}).encode()
    )


USAGE = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
END = (
    b"data: %s\n\ndata: [DONE]\n\n"
    % json.dumps({"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": [], "usage": USAGE}).encode()
)


def on_vllm(*events: bytes, stop: tuple[str, ...] = ()) -> tuple[str, Any, dict[str, Any]]:
    """What is read of the answer, how it ended, and the request that was sent."""
    with Faulty([chunked(*events)]) as server, create_engine("vllm", model="m", url=f"{server.url}/v1") as engine:
        request = GenerationRequest(weather("<end_of_turn>"), GREEDY, stop=stop, tokenizer=tiny())
        pieces, generation = play(engine.generate(request))
        assert len(server.requests) == 1  # nothing is tried out first
        return "".join(pieces), generation, json.loads(server.requests[0].partition(b"\r\n\r\n")[2])


def test_vllm_is_asked_with_ids() -> None:
    _, _, body = on_vllm(event("hi", tiny().encode("hi"), "stop"), END, stop=("\n\n",))
    prompt = weather("<end_of_turn>")
    assert body["prompt"] == prompt.token_ids(tiny())
    assert body["return_token_ids"] is True
    assert body["stop"] == ["\n\n"]
    assert body["stop_token_ids"] == [tiny().id(stop) for stop in prompt.stop]


def test_what_vllm_writes_is_read_from_its_ids() -> None:
    call, end = tiny().id(CALL), tiny().id("<end_of_turn>")
    spelled = tiny().encode(CALL)
    first, *rest = tiny().encode("語")
    events = [
        event("", [call]),
        event("", [*spelled[:3]]),
        event("語", [*spelled[3:], first]),
        event("", rest),
        event("", [end], "stop"),
    ]
    text, generation, _ = on_vllm(*events, END)
    assert text == f"{CALL}{CALL[0]}{WORD_JOINER}{CALL[1:]}語"
    assert (generation.finish, generation.usage.completion_tokens) == ("stop", 7)


def test_a_stop_sequence_cuts_what_vllm_writes_and_the_counts_are_kept() -> None:
    text, generation, _ = on_vllm(
        event("ka", tiny().encode("ka")), event("", tiny().encode(" lo mi"), "stop"), END, stop=("lo",)
    )
    assert text == "ka "
    assert generation.usage.completion_tokens == 7


def test_a_vllm_that_returns_no_ids_is_an_error() -> None:
    with pytest.raises(EngineProtocolError, match="does not return token ids"):
        on_vllm(event("hi", None, "stop"), END)


def test_vllm_reports_the_probabilities_of_a_prompt() -> None:
    told = {"tokens": ["a", "b", "c"], "token_logprobs": [None, -1.0, -2.0], "text_offset": [0, 1, 2]}
    told |= {"top_logprobs": [None, {"b": -1.0}, {"c": -2.0, "d": -3.0}]}
    choice = {"index": 0, "text": "c", "finish_reason": "length", "logprobs": told, "prompt_token_ids": [1, 2]}
    chunk = {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
    events = chunked(b"data: %s\n\n" % json.dumps(chunk).encode(), END)
    with Faulty([events]) as server, create_engine("vllm", model="m", url=f"{server.url}/v1", probe=False) as engine:
        sampling = Sampling(max_tokens=1, logprobs=1, prompt_logprobs=True)
        pieces, generation = play(engine.generate(GenerationRequest(weather(), sampling)))
        body = json.loads(server.requests[0].partition(b"\r\n\r\n")[2])
    assert (body["echo"], body["return_token_ids"], body["logprobs"]) == (True, True, 1)
    assert "".join(pieces) == "c"
    assert [(entry["token"], entry["logprob"]) for entry in generation.prompt_logprobs] == [("a", None), ("b", -1.0)]
    assert [(entry["token"], entry["logprob"]) for entry in generation.logprobs] == [("c", -2.0)]
    assert "prompt_logprobs" not in create_engine("sglang", model="m", url=server.url).capabilities.settings
