"""POST /v1/completions: a prompt as it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from gemma_tools import BaseModelBackend, FunctionGemmaModel, async_openai_client, create_model, openai_client
from gemma_tools.engines.base import Capabilities
from gemma_tools.errors import ContextExceeded, EngineUnavailable
from gemma_tools.openai_api.wire import ApiRequest
from gemma_tools.routes import handle
from gemma_tools.testing import Script, ScriptedEngine
from support.serving import CALL, EndlessEngine, ProbableEngine, scripted, serving

PROMPT = "<start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n"


@pytest.fixture(scope="module")
def tiny() -> Iterator[Any]:
    with create_model("tiny") as model:
        yield model


def asked(model: BaseModelBackend) -> Any:
    engine: Any = getattr(model, "engine")  # noqa: B009
    return engine.asked


def test_the_prompt_reaches_the_engine_as_it_is() -> None:
    model = scripted(CALL + "<end_of_turn>")
    with openai_client(model) as client:
        answer = client.completions.create(model="m", prompt=PROMPT, max_tokens=50, temperature=0, stop=["\n\n"], seed=3)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason, choice.index) == (CALL, "stop", 0)
    (request,) = asked(model)
    assert (request.prompt.text, request.stop) == (PROMPT, ("\n\n",))
    assert (request.sampling.max_tokens, request.sampling.temperature, request.sampling.seed) == (50, 0, 3)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_sixteen_tokens_where_nothing_is_said() -> None:
    model = scripted("a")
    with openai_client(model) as client:
        client.completions.create(model="m", prompt="a")
    assert asked(model)[0].sampling.max_tokens == 16


def test_a_stream_is_the_whole() -> None:
    with openai_client(scripted("It is sunny.", "It is sunny.")) as client:
        whole = client.completions.create(model="m", prompt="a", max_tokens=50)
        chunks = list(
            client.completions.create(model="m", prompt="a", max_tokens=50, stream=True, stream_options={"include_usage": True})
        )
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert len(chunks) > 3
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_several_prompts_and_several_answers_each() -> None:
    model = scripted("a", "b", "c", "d")
    with openai_client(model) as client:
        answer = client.completions.create(model="m", prompt=["x", "y"], n=2, seed=5, max_tokens=9, echo=True)
    assert [(choice.index, choice.text) for choice in answer.choices] == [(0, "xa"), (1, "xb"), (2, "yc"), (3, "yd")]
    assert [request.sampling.seed for request in asked(model)] == [5, 6, 5, 6]


def test_token_ids_are_a_prompt(tiny: Any) -> None:
    ids = tiny.token_counter.encode(PROMPT)
    with openai_client({"m": tiny}) as client:
        by_text = client.completions.create(model="m", prompt=PROMPT, max_tokens=8, temperature=0)
        by_ids = client.completions.create(model="m", prompt=ids, max_tokens=8, temperature=0)
        several = client.completions.create(model="m", prompt=[ids, ids], max_tokens=8, temperature=0)
    assert by_ids.choices[0].text == by_text.choices[0].text == several.choices[1].text
    assert by_ids.usage.prompt_tokens == by_text.usage.prompt_tokens == len(ids)  # type: ignore[union-attr]


def test_a_raw_prompt_gives_what_the_chat_gives(tiny: Any) -> None:
    messages: Any = [{"role": "user", "content": "What is 2 + 2?"}]
    prompt = tiny.format.render(messages).text
    with openai_client({"m": tiny}) as client:
        raw = client.completions.create(model="m", prompt=prompt, max_tokens=30, temperature=0).choices[0]
        chat = client.chat.completions.create(model="m", messages=messages, max_tokens=30, temperature=0).choices[0]
    assert raw.text.strip() == (chat.message.content or "").strip()


def test_log_probabilities(tiny: Any) -> None:
    with openai_client({"m": tiny}) as client:
        (choice,) = client.completions.create(model="m", prompt=PROMPT, max_tokens=4, temperature=0, logprobs=2).choices
    told = choice.logprobs
    assert told is not None
    assert told.tokens is not None and told.text_offset is not None and told.top_logprobs is not None  # noqa: PT018
    assert 0 < len(told.tokens) == len(told.token_logprobs or ()) == len(told.top_logprobs) == len(told.text_offset)
    assert told.text_offset[0] == 0
    assert all(len(top) <= 2 for top in told.top_logprobs)


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_of_the_prompt(stream: bool) -> None:
    with openai_client(FunctionGemmaModel("m", engine=ProbableEngine(" four", cut=100))) as client:
        create: Any = client.completions.create
        answer = create(model="m", prompt="one two three", max_tokens=1, logprobs=1, echo=True, stream=stream)
        choices = [choice for chunk in answer for choice in chunk.choices] if stream else answer.choices
    assert "".join(choice.text for choice in choices) == "one two three four"
    told = choices[-1].logprobs
    assert told.tokens == ["one", " two", " three", " four"]
    assert told.token_logprobs == [None, -1.0, -2.0, -0.0]
    assert told.top_logprobs == [None, {"x": -0.5}, {"x": -0.5}, {"x": -0.5}]
    assert told.text_offset == [0, 3, 7, 13]


def test_a_prompt_alone_can_be_scored() -> None:
    with openai_client(FunctionGemmaModel("m", engine=ProbableEngine(" four", cut=100))) as client:
        answer = client.completions.create(model="m", prompt="one two", max_tokens=0, logprobs=1, echo=True)
    assert answer.choices[0].text == "one two"
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.tokens == ["one", " two"]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 0


def test_without_an_echo_the_prompt_is_not_scored() -> None:
    with openai_client(FunctionGemmaModel("m", engine=ProbableEngine(" four", cut=100))) as client:
        answer = client.completions.create(model="m", prompt="one two", logprobs=1)
    assert answer.choices[0].logprobs is not None
    assert (answer.choices[0].logprobs.tokens, answer.choices[0].logprobs.text_offset) == ([" four"], [0])


def test_a_grammar_holds() -> None:
    engine = ScriptedEngine(
        ["yes"], capabilities=Capabilities(settings=frozenset(["max_tokens"]), constraints=frozenset(["gbnf"]))
    )
    model = FunctionGemmaModel("m", engine=engine)
    with openai_client(model) as client:
        client.completions.create(model="m", prompt="a", extra_body={"grammar": 'root ::= "yes"'})
    assert engine.asked[0].constraint is not None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": [[1], "a", [True]]}, "prompt[2]"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "best_of": 3}, "best_of"),
        ({"prompt": "a", "messages": []}, "messages"),
        ({"prompt": "a", "tools": []}, "tools"),
        ({"prompt": "a", "echo": 1}, "echo"),
        ({"prompt": "a", "echo": True, "logprobs": 1}, "logprobs"),
        ({"prompt": "a", "logprobs": 50}, "logprobs"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "temperature": 9}, "temperature"),
        ({"prompt": "a", "model": "other"}, "model"),
    ],
)
def test_a_wrong_request_names_its_place(fields: Any, param: str, tiny: Any) -> None:
    body = json.dumps({"model": "m", **fields}).encode()
    response = handle(ApiRequest("POST", "/v1/completions", body), {"m": tiny})
    assert isinstance(response.body, bytes)
    assert (response.status // 100, json.loads(response.body)["error"]["param"]) == (4, param)


def test_what_is_not_known_is_left_out(tiny: Any) -> None:
    body = json.dumps({"model": "m", "prompt": "a", "max_tokens": 1, "foo": 1}).encode()
    assert handle(ApiRequest("POST", "/completions", body), {"m": tiny}).status == 200


def test_faults_before_and_in_a_stream() -> None:
    with openai_client(scripted(ContextExceeded("too long", engine="e"))) as client, pytest.raises(openai.BadRequestError):
        client.completions.create(model="m", prompt="a", stream=True)
    broken = scripted(Script(["It is"], error=EngineUnavailable("down", engine="e")))
    with openai_client(broken) as client, pytest.raises(openai.APIError):
        list(client.completions.create(model="m", prompt="a", stream=True))


def test_leaving_a_stream_stops_the_engine() -> None:
    endless = EndlessEngine()
    with openai_client(FunctionGemmaModel("m", engine=endless)) as client:
        stream = client.completions.create(model="m", prompt="a", stream=True)
        assert next(iter(stream)).choices[0].text
        stream.close()
        assert endless.stopped.wait(60)


async def ask(model: BaseModelBackend) -> str:
    async with async_openai_client(model) as client:
        answer = await client.completions.create(model="m", prompt="a")
    return answer.choices[0].text


def test_in_asyncio_and_over_a_socket() -> None:
    assert asyncio.run(ask(scripted("yes"))) == "yes"
    with serving(scripted("yes")) as url, openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        assert client.completions.create(model="m", prompt="a").choices[0].text == "yes"
