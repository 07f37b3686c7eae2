"""What is promised on a real vLLM, which holds grammars by xgrammar; `nox -s "engines(vllm)"` installs and starts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle, product
from typing import Any

import pytest

from gemma_tools import BaseModelBackend, FunctionGemmaModel, Gemma3Model, Gemma4Model
from gemma_tools.data import tiny_path
from gemma_tools.engines import Constraint, Engine, GenerationRequest, Sampling
from gemma_tools.errors import EngineRejected, InvalidRequest
from gemma_tools.tokens import GemmaTokenizer
from support.chat import WEATHER, user
from support.engines import Opened, opened, vllm_server
from support.promises import ANSWERS, Demand, broken_answer, broken_call, broken_json, choices, demands, json_format
from support.servers.templates import GEMMA4
from support.tiny import GREEDY, PARIS, WEATHER_TOKENS, play, weather, written
from support.tool_program import EXPECTED, QUESTION, ran

FAMILIES: dict[str, Callable[..., BaseModelBackend]] = {
    "functiongemma": FunctionGemmaModel,
    "gemma4": Gemma4Model,
    "gemma3-pythonic": lambda *given, **more: Gemma3Model(*given, tool_style="pythonic", **more),
    "gemma3-json": lambda *given, **more: Gemma3Model(*given, tool_style="json", **more),
}
REQUESTS = 8
"""Requests of each kind. Each tool of `support.promises` is among them."""
HOT: dict[str, Any] = {"temperature": 1.0, "max_tokens": 500}


@pytest.fixture(scope="module")
def model(installed_name: str) -> Iterator[Opened]:
    if installed_name != "vllm":
        pytest.skip("vLLM's own")
    with opened(installed_name) as model:
        yield model


@pytest.fixture(scope="module")
def engine(model: Opened) -> Iterator[Engine]:
    with model.make() as engine:
        yield engine


@pytest.fixture(scope="module", params=FAMILIES)
def backend(request: pytest.FixtureRequest, engine: Engine) -> Iterator[BaseModelBackend]:
    with FAMILIES[request.param]("tiny", HOT, engine=engine) as backend:
        yield backend


def strict(demand: Demand) -> list[dict[str, Any]]:
    return [{**tool, "function": {**tool["function"], "strict": True}} for tool in demand.tools]


@pytest.mark.parametrize("kind", ["required", "named"])
@pytest.mark.parametrize("parallel", [True, False])
def test_a_forced_call_is_valid(backend: BaseModelBackend, kind: str, parallel: bool) -> None:
    for seed, demand in enumerate(demands(REQUESTS)):
        answer = backend.run(
            demand.messages, tools=demand.tools, tool_choice=choices(demand)[kind], parallel_tool_calls=parallel, seed=seed
        )
        if answer.choices[0].finish_reason != "length":  # a model that writes on and on is cut, and says so
            assert broken_call(answer, demand, named=kind == "named") is None
            assert parallel or len(answer.choices[0].message.tool_calls or ()) == 1


@pytest.mark.parametrize("parallel", [True, False])
def test_strict_tools_are_enforced_where_the_model_may_also_talk(backend: BaseModelBackend, parallel: bool) -> None:
    for seed, demand in enumerate(demands(REQUESTS)):
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in demand.tools}
        answer = backend.run(demand.messages, tools=strict(demand), parallel_tool_calls=parallel, seed=seed)
        for call in answer.choices[0].message.tool_calls or ():
            assert broken_json(call.function.arguments, schemas[call.function.name]) is None


@pytest.mark.parametrize("think", [False, True])
def test_an_answer_is_the_json_that_was_asked_for(backend: BaseModelBackend, think: bool) -> None:
    for seed, (demand, schema) in enumerate(zip(demands(REQUESTS), cycle(ANSWERS))):
        thought = {"enable_thinking": think}
        answer = backend.run(demand.messages, json_format(schema), chat_template_kwargs=thought, seed=seed)
        assert broken_answer(answer, schema) is None


def test_the_notation_that_it_takes_is_known(engine: Engine) -> None:
    assert written(engine, weather(), GREEDY, constraint=Constraint(ebnf='root ::= "maybe " ("yes" | "no")')) in (
        "maybe yes",
        "maybe no",
    )
    assert engine.capabilities.constraints == {"ebnf", "json_schema"}
    with pytest.raises(EngineRejected):
        written(engine, weather(), GREEDY, constraint=Constraint(ebnf="root ::= nothing"))
    assert engine.capabilities.constraints == {"ebnf", "json_schema"}


def test_more_stop_sequences_than_it_takes(engine: Engine) -> None:
    for stop in product(("her{ci", "q1"), ("q2", "q3"), ("q4",), ("q5",), ("her{ci",)):
        pieces, generation = play(engine.generate(GenerationRequest(weather(), GREEDY, stop=stop)))
        assert "".join(pieces) == "<start_function_call>call:get_weat"
        assert generation.finish == "stop"


@pytest.mark.parametrize("stop", [(), ("q1", "q2", "q3", "q4", "q5", "her{ci")])
def test_prompts_and_replies_as_ids(engine: Engine, stop: tuple[str, ...]) -> None:
    tokenizer = GemmaTokenizer.from_file(tiny_path())
    pieces, generation = play(engine.generate(GenerationRequest(weather(), GREEDY, stop=stop, tokenizer=tokenizer)))
    assert "".join(pieces).startswith(PARIS[:34])
    assert ("her{ci" in "".join(pieces)) is not bool(stop)
    assert stop or generation.usage.prompt_tokens == WEATHER_TOKENS


def test_it_reports_its_context_and_counts(engine: Engine) -> None:
    assert engine.context_length == 4096
    assert engine.count_tokens(weather().text) == WEATHER_TOKENS
    ids = engine.encode("<bos>what?")
    assert ids is not None
    assert engine.decode(ids) == "<bos>what?"


def test_a_setting_that_it_does_not_take_is_named(engine: Engine) -> None:
    for setting in ({"temperature": 2.5}, {"top_p": 1.5}):
        with pytest.raises(InvalidRequest) as caught:
            play(engine.generate(GenerationRequest(weather(), replace(Sampling(max_tokens=1), **setting))))
        assert [caught.value.param] == [*setting]


@pytest.mark.parametrize("tokenizer", [False, True])
def test_the_prompt_is_scored_as_its_words_are_when_they_are_written(engine: Engine, tokenizer: bool) -> None:
    known = GemmaTokenizer.from_file(tiny_path()) if tokenizer else None
    written = replace(GREEDY, max_tokens=6, logprobs=2)
    pieces, first = play(engine.generate(GenerationRequest(weather(), written, tokenizer=known)))
    longer = weather().begun("".join(pieces))
    asked = replace(GREEDY, max_tokens=1, logprobs=2, prompt_logprobs=True)
    more, second = play(engine.generate(GenerationRequest(longer, asked, tokenizer=known)))
    told = second.prompt_logprobs
    assert "".join(entry["token"] for entry in told) == longer.text
    assert "".join(entry["token"] for entry in second.logprobs) == "".join(more)
    assert told[0]["logprob"] is None
    before = [entry["logprob"] for entry in first.logprobs]
    assert [entry["logprob"] for entry in told[-len(before) :]] == pytest.approx(before, abs=1e-3)
    assert len(told) == second.usage.prompt_tokens


PARSER = ("--enable-auto-tool-choice", "--tool-call-parser", "gemma4")
COMPACT = ("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}')
"""JSON without white space: where any of it is allowed, the tiny model writes nothing else."""


@pytest.fixture(scope="module")
def chat(
    request: pytest.FixtureRequest, installed_name: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., BaseModelBackend]]:
    """The chat endpoint of a vLLM whose template has tools; with a parser of calls, and without."""
    if installed_name != "vllm":
        pytest.skip("vLLM's own")
    template = tmp_path_factory.mktemp("vllm") / "gemma4.jinja"
    template.write_text(GEMMA4, encoding="utf-8")
    with vllm_server("--chat-template", str(template), *COMPACT, *request.param) as server:
        engine = {"engine": "openai-chat", "url": f"{server.url}/v1", "server": "vllm"}
        yield partial(Gemma4Model, "tiny", {"temperature": 0, "max_tokens": 400}, **engine)


@pytest.mark.parametrize("chat", [PARSER], ids=["parser"], indirect=True)
@pytest.mark.parametrize("way", ["native", "auto"])
def test_one_program_by_its_chat_endpoint(chat: Callable[..., BaseModelBackend], way: str) -> None:
    with chat(way=way) as backend:
        assert ran(backend) == EXPECTED


@pytest.mark.parametrize("chat", [()], ids=["no parser"], indirect=True)
@pytest.mark.parametrize("way", ["prompted", "auto"])
def test_one_program_in_text_where_it_reads_no_calls(chat: Callable[..., BaseModelBackend], way: str) -> None:
    with chat(way=way) as backend:
        assert ran(backend) == EXPECTED


@pytest.mark.parametrize("chat", [PARSER], ids=["parser"], indirect=True)
def test_a_call_removed_from_the_text_is_not_an_empty_answer(chat: Callable[..., BaseModelBackend]) -> None:
    with chat(way="prompted") as backend, pytest.raises(EngineRejected, match="way='native'"):
        backend.run(user(QUESTION), tools=[WEATHER])
