"""Every response and every event is what OpenAI's own types say, and nothing else; and holds what Open Responses asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from gemma_tools import Gemma4Model
from gemma_tools.errors import EngineError
from gemma_tools.openai_api.responses_store import ResponseStore
from gemma_tools.openai_api.wire import ApiRequest, ApiSettings
from gemma_tools.routes import handle
from gemma_tools.testing import Script
from support.serving import WEATHER, ProbableEngine, thinker

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
OURS = {
    "Response.frequency_penalty",  # of Open Responses
    "Response.presence_penalty",
    "Response.store",  # which OpenAI's answers have, too
    "Response.warnings",
    "Response.problems",
    "ResponseCustomToolCall.status",  # ... as do their calls of custom tools
    "ResponseFunctionCallArgumentsDoneEvent.name",  # which older SDKs require
    "ResponseErrorEvent.error",  # which the SDK raises
}
"""What the types do not name."""
OPEN_RESPONSES = {
    "id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "previous_response_id",
    "instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p",
    "presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage", "max_output_tokens",
    "max_tool_calls", "store", "background", "service_tier", "metadata", "safety_identifier", "prompt_cache_key",
}  # fmt: skip
"""What https://www.openresponses.org/openapi requires of a response, in any state."""

TOOL: Any = {"type": "function", **WEATHER["function"]}
NAMESPACE: Any = {"type": "namespace", "name": "crm", "description": "Customers.", "tools": [{**TOOL, "name": "find"}]}
SHELL: Any = {"type": "custom", "name": "shell", "format": {"type": "text"}}
THOUGHT = "<|channel>thought\nHm.<channel|>"


def call(name: str, key: str) -> str:
    return f'<|tool_call>call:{name}{{{key}:<|"|>x<|"|>}}<tool_call|>'


CALLS = call("get_weather", "city") + call("shell", "input") + call("crm__find", "city")
CASES: list[Any] = [
    pytest.param("It is sunny.", {}, id="text"),
    pytest.param("", {}, id="nothing"),
    pytest.param(
        THOUGHT,
        {"reasoning": {"effort": "high", "summary": "auto"}, "include": ["reasoning.encrypted_content"]},
        id="only a thought",
    ),
    pytest.param(
        f"{THOUGHT}I look.{CALLS}", {"tools": [TOOL, SHELL, NAMESPACE], "reasoning": {"effort": "low"}}, id="all items"
    ),
    pytest.param(call("get_time", "city"), {"tools": [TOOL, {"type": "web_search"}], "foo": 1}, id="problems and warnings"),
    pytest.param(Script(("It is",), finish="length"), {"max_output_tokens": 16}, id="cut"),
    pytest.param('{"a": "x"}', {"text": {"format": {"type": "json_object"}, "verbosity": "low"}}, id="JSON"),
    pytest.param(EngineError("gone"), {}, id="failed"),
    pytest.param(ProbableEngine("It is sunny.", "It is sunny."), {"top_logprobs": 1}, id="log probabilities"),
    pytest.param(
        "Yes.",
        {
            "instructions": "Be brief.",
            "metadata": {"a": "b"},
            "temperature": 0.5,
            "top_p": 0.5,
            "user": "me",
            "safety_identifier": "me",
            "prompt_cache_key": "k",
            "max_tool_calls": 3,
            "service_tier": "auto",
            "truncation": "auto",
            "tool_choice": "none",
            "tools": [{**TOOL, "strict": True}],
            "parallel_tool_calls": False,
        },
        id="settings",
    ),
]


def strangers(value: Any) -> Iterator[str]:
    """What of a validated value its types do not name."""
    if isinstance(value, BaseModel):
        yield from (f"{type(value).__name__}.{name}" for name in value.model_extra or ())
        for name in type(value).model_fields:
            yield from strangers(getattr(value, name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strangers(item)


def strict(validated: Any, given: Any) -> Any:
    """`validated`, of which everything is of a type that OpenAI names, and as it was given."""
    assert set(strangers(validated)) <= OURS
    assert json.loads(validated.model_dump_json(exclude_unset=True)) == given
    return validated


def ask(answer: Any, fields: dict[str, Any], **more: Any) -> Any:
    body = {"model": "m", "input": "Hi", **fields, **more}
    settings = ApiSettings(store=ResponseStore())
    model = Gemma4Model("m", engine=answer) if isinstance(answer, ProbableEngine) else thinker(answer)
    return handle(ApiRequest("POST", "/v1/responses", json.dumps(body).encode()), {"m": model}, settings=settings)


def check(given: Any) -> None:
    response = strict(Response.model_validate(given, strict=True), given)
    assert given.keys() >= OPEN_RESPONSES
    assert isinstance(response.temperature, float)
    assert isinstance(response.top_p, float)
    for tool in given["tools"]:
        assert tool["type"] != "function" or tool.keys() >= {"name", "description", "parameters", "strict"}
    if response.status == "completed":
        assert response.output
        assert response.completed_at
        assert response.usage
    else:
        assert response.completed_at is None


@pytest.mark.parametrize(("answer", "fields"), CASES)
def test_responses(answer: Any, fields: dict[str, Any]) -> None:
    response = ask(answer, fields)
    if isinstance(answer, EngineError):
        assert response.status == 502
    else:
        check(json.loads(response.body))


@pytest.mark.parametrize(("answer", "fields"), CASES)
def test_events(answer: Any, fields: dict[str, Any]) -> None:
    response = ask(answer, fields, stream=True)
    if isinstance(answer, EngineError):
        assert response.status == 502  # nothing was sent yet
        return
    told = [json.loads(frame.split("data: ")[1]) for frame in b"".join(response.body).decode().split("\n\n")[:-1]]
    for given in told:
        strict(EVENT.validate_python(given, strict=True), given)
        if "response" in given:
            check(given["response"])
    done = [event["item"] for event in told if event["type"] == "response.output_item.done"]
    assert done == told[-1]["response"]["output"]


def test_a_stream_that_fails() -> None:
    response = ask(Script(("It ", EngineError("gone"))), {}, stream=True)
    told = [json.loads(frame.split("data: ")[1]) for frame in b"".join(response.body).decode().split("\n\n")[:-1]]
    assert [given["type"] for given in told[-2:]] == ["response.failed", "error"]
    for given in told:
        strict(EVENT.validate_python(given, strict=True), given)
    check(told[-2]["response"])


def test_listed_items() -> None:
    settings = ApiSettings(store=ResponseStore())
    items = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"role": "assistant", "content": "I look."},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "rain"},
        {"type": "custom_tool_call", "call_id": "d", "name": "shell", "input": "ls"},
        {"type": "custom_tool_call_output", "call_id": "d", "output": "a"},
    ]
    body = json.dumps({"model": "m", "input": items, "tools": [TOOL, SHELL]}).encode()
    asked: Any = handle(ApiRequest("POST", "/v1/responses", body), {"m": thinker("Rain.")}, settings=settings)
    path = f"/v1/responses/{json.loads(asked.body)['id']}/input_items"
    listed: Any = handle(ApiRequest("GET", path, query="order=asc"), {}, settings=settings)
    given = json.loads(listed.body)
    told = strict(ResponseItemList.model_validate(given, strict=True), given)
    assert [item.type for item in told.data] == [item.get("type", "message") for item in items]
