"""Backends in front of servers: their names, urls and errors reach the right place, and words are kept there too."""

from __future__ import annotations

import json
from collections.abc import Iterator

import jsonschema_rs
import pytest

from gemma_tools import BaseModelBackend, FunctionGemmaModel
from gemma_tools.data import tiny_path
from gemma_tools.errors import ModelNotFound
from support.chat import ALARM, WEATHER, accumulated, calls, facts, user
from support.servers.llama import llama_server
from support.servers.ollama import ollama_server

SETTINGS = {"temperature": 0, "max_tokens": 100}
FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "schema": {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"], "maxProperties": 1},
    },
}


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    with llama_server(tiny_path()) as url:
        yield url


@pytest.fixture(scope="module", params=["llama-server", "ollama"])
def model(request: pytest.FixtureRequest, llama: str) -> Iterator[BaseModelBackend]:
    if request.param == "llama-server":
        with FunctionGemmaModel("tiny", SETTINGS, url=llama, engine="llama-server") as model:
            yield model
    else:
        with ollama_server(llama) as url, FunctionGemmaModel("tiny", SETTINGS, url=url, engine="ollama") as model:
            yield model


def test_calls(model: BaseModelBackend) -> None:
    request = user("what is the weather in Paris and set an alarm for 07:30")
    answer = model.run(request, tools=[WEATHER, ALARM])
    assert calls(answer) == [("get_weather", '{"city": "Paris"}'), ("set_alarm", '{"time": "07:30"}')]
    stream = model.run(request, tools=[WEATHER, ALARM], stream=True, stream_options={"include_usage": True})
    assert facts(accumulated(list(stream))) == facts(answer)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 100


@pytest.mark.parametrize("text", ["hello", "what is the weather in Paris?"])
def test_forced_calls(model: BaseModelBackend, text: str) -> None:
    choice = {"type": "function", "function": {"name": "set_alarm"}}
    assert {name for name, _ in calls(model.run(user(text), tools=[WEATHER, ALARM], tool_choice=choice))} == {"set_alarm"}


def test_structured_answers(model: BaseModelBackend) -> None:
    answer = model.run(user("hello"), FORMAT)
    if answer.choices[0].finish_reason == "stop":
        jsonschema_rs.validate(FORMAT["json_schema"]["schema"], json.loads(answer.choices[0].message.content))
    else:
        assert model.engine.name == "ollama"  # its JSON may have any white space, for ever


def test_a_model_that_the_server_lacks(llama: str) -> None:
    with ollama_server(llama) as url, FunctionGemmaModel("other", url=url) as model, pytest.raises(ModelNotFound):
        model.run(user("hi"))
