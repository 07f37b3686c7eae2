"""What is not known of a request: an error in Python, left out and told over HTTP; and other servers' words, understood."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from gemma_tools import openai_client
from gemma_tools.engines.base import Capabilities
from gemma_tools.errors import InvalidRequest
from gemma_tools.openai_api.wire import ApiRequest, ApiSettings
from gemma_tools.routes import handle
from gemma_tools.testing import ScriptedEngine
from gemma_tools.validation import parse_request
from support.serving import CALL, QUESTION, WEATHER, scripted, serving, thinker

SEARCH: Any = {"type": "web_search", "search_context_size": "low"}
SCHEMA: Any = {"type": "object", "properties": {"sunny": {"type": "boolean"}}, "required": ["sunny"]}


def parsed(**fields: Any) -> Any:
    return parse_request({"messages": QUESTION, **fields})


def post(body: Any, *, unknown: Any = "warn", model: Any = None, path: str = "/v1/chat/completions") -> Any:
    request = ApiRequest("POST", path, json.dumps({"model": "m", **body}).encode())
    response = handle(request, {"m": model or scripted("It is sunny.")}, settings=ApiSettings(unknown=unknown))
    assert isinstance(response.body, bytes)
    return response.status, json.loads(response.body)


def test_a_field_that_is_not_known_is_left_out_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "gemma_tools"):
        for _ in range(3):
            status, told = post({"messages": QUESTION, "field_of_this_test": 1, "web_search_options": {}, "prediction": None})
    assert (status, told["choices"][0]["message"]["content"]) == (200, "It is sunny.")
    assert [warning.split(" ")[0] for warning in told["warnings"]] == ["field_of_this_test", "web_search_options"]
    assert len([record for record in caplog.records if "field_of_this_test" in record.getMessage()]) == 1


def test_it_is_reported_in_a_stream_and_of_responses_and_messages() -> None:
    with openai_client(scripted("It is sunny.", "It is sunny.")) as client:
        chunks = list(client.chat.completions.create(model="m", messages=QUESTION, stream=True, extra_body={"foo": 1}))  # type: ignore[arg-type]
    assert "foo" in (chunks[-1].model_extra or {})["warnings"][0]
    status, told = post({"messages": QUESTION, "max_tokens": 9, "foo": 1}, path="/v1/messages")
    assert (status, len(told["warnings"])) == (200, 1)


def test_it_can_be_refused() -> None:
    assert post({"messages": QUESTION, "foo": 1}, unknown="refuse")[1]["error"]["param"] == "foo"
    assert post({"messages": QUESTION, "tools": [SEARCH]}, unknown="refuse")[0] == 400
    with serving(scripted("never"), unknown="refuse") as url:
        import httpx

        body = {"model": "m", "messages": QUESTION, "foo": 1}
        assert httpx.post(f"{url}/chat/completions", json=body).status_code == 400
    with openai_client(scripted("never"), unknown="refuse") as client, pytest.raises(Exception, match="foo"):
        client.chat.completions.create(model="m", messages=QUESTION, extra_body={"foo": 1})  # type: ignore[arg-type]


def test_in_python_it_is_an_error() -> None:
    with pytest.raises(InvalidRequest, match="temprature"):
        scripted("never").run(QUESTION, temprature=0)  # type: ignore[call-overload]


def test_tools_of_other_types_are_left_out() -> None:
    model = scripted(CALL)
    status, told = post({"messages": QUESTION, "tools": [SEARCH, WEATHER]}, model=model)
    assert (status, told["choices"][0]["finish_reason"]) == (200, "tool_calls")
    assert told["warnings"] == ["tools[0] was left out: tools of type 'web_search' are not supported, only functions"]
    assert "web_search" not in model.engine.asked[0].prompt.text  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [SEARCH], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [SEARCH, WEATHER], "tool_choice": {"type": "function", "function": {"name": "web_search"}}}, "tool_choice"),
        ({"tools": [SEARCH, WEATHER, {"type": "function", "function": {"name": ""}}]}, "tools[2].function.name"),
        ({"tools": [SEARCH, 5]}, "tools[1]"),
        ({"audio": {"voice": "a"}}, "audio"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"structured_outputs": {"regex": "a+"}}, "structured_outputs.regex"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": 5}, "guided_json"),
        ({"guided_json": SCHEMA, "response_format": {"type": "json_object"}}, "guided_json"),
        ({"think": "somewhat"}, "think"),
        ({"thinking": {"type": "maybe"}}, "thinking.type"),
        ({"enable_thinking": 1}, "enable_thinking"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"repeat_penalty": "a"}, "repeat_penalty"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"top_k": -2}, "top_k"),
        ({"grammar": 5}, "grammar"),
    ],
)
def test_what_would_change_the_answer_is_refused(fields: Any, param: str) -> None:
    status, told = post({"messages": QUESTION, **fields})
    assert (status, told["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("fields", "thinks"),
    [
        ({}, None),
        ({"reasoning_effort": "max"}, True),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, True),
        ({"reasoning": {"enabled": False}}, False),
        ({"reasoning": {"exclude": True}}, None),
        ({"think": True}, True),
        ({"think": "high"}, True),
        ({"think": False, "reasoning_effort": "high"}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": True}, True),
        ({"enable_thinking": False, "think": True}, False),
        ({"chat_template_kwargs": {"enable_thinking": True}, "enable_thinking": False}, True),
    ],
)
def test_all_words_for_thinking(fields: Any, thinks: bool | None) -> None:
    assert parsed(**fields).enable_thinking is thinks


def test_limits_that_are_none() -> None:
    request = parsed(max_tokens=-1, top_k=-1)
    assert (request.max_tokens, request.top_k) == (None, 0)
    assert parsed(max_tokens=-1, max_completion_tokens=7).max_tokens == 7


def test_penalties_by_either_name() -> None:
    assert parsed(repeat_penalty=1.1).repeat_penalty == parsed(repetition_penalty=1.1).repeat_penalty == 1.1
    model = scripted("yes")
    model.run(QUESTION, repeat_penalty=1.2)
    assert model.engine.asked[0].sampling.repeat_penalty == 1.2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "fields", [{"guided_json": SCHEMA}, {"guided_json": json.dumps(SCHEMA)}, {"structured_outputs": {"json": SCHEMA}}]
)
def test_a_schema_by_the_names_of_vllm(fields: Any) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    assert parsed(**fields).response_format.schema == parsed(response_format=wanted).response_format.schema


def test_template_arguments_that_are_not_known() -> None:
    status, told = post({"messages": QUESTION, "chat_template_kwargs": {"enable_thinking": False, "style": 1}})
    assert (status, [warning.split(" ")[0] for warning in told["warnings"]]) == (200, ["chat_template_kwargs.style"])


def test_a_grammar_of_the_caller_s_own() -> None:
    engine = ScriptedEngine(
        ["yes"], capabilities=Capabilities(settings=frozenset(["max_tokens"]), constraints=frozenset(["gbnf"]))
    )
    model = type(scripted(""))("m", engine=engine)
    model.run(QUESTION, grammar='root ::= "yes" | "no"', max_tokens=5)
    constraint = engine.asked[0].constraint
    assert constraint is not None
    assert constraint.gbnf == 'root ::= "yes" | "no"'
    for fields in ({"tools": [WEATHER]}, {"response_format": {"type": "json_object"}}):
        with pytest.raises(InvalidRequest, match="grammar"):
            model.run(QUESTION, grammar="root ::= [a-z]", **fields)  # type: ignore[call-overload]
    with pytest.raises(InvalidRequest, match="GBNF"):
        thinker("never").run(QUESTION, grammar="root ::= [a-z]")


def test_a_grammar_holds_on_a_real_engine() -> None:
    from gemma_tools import create_model

    with create_model("tiny") as model:
        answer = model.run(QUESTION, grammar='root ::= "yes" | "no"', max_tokens=8)
    assert answer.choices[0].message.content in ("yes", "no")


def test_the_reproductions_of_other_servers_fields_are_answered() -> None:
    fields: Any = {
        "repeat_penalty": 1.1, "cache_prompt": True, "keep_alive": "5m", "skip_special_tokens": False, "truncation": "auto",
        "client_metadata": {"a": "b"}, "moderation": {}, "prompt_cache_options": {}, "min_p": 0.05, "options": {"a": 1},
        "session_id": "x", "provider": {},
    }  # fmt: skip
    status, told = post({"messages": QUESTION, **fields})
    assert (status, [warning.split(" ")[0] for warning in told["warnings"]]) == (200, ["options", "session_id", "provider"])
