"""The OpenAPI document says what the API does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gemma_tools.openai_api.responses_input import ACCEPTED, HONOURED
from gemma_tools.openai_api.responses_store import ResponseStore
from gemma_tools.openai_api.wire import ApiRequest, ApiSettings
from gemma_tools.policy import FIELD_POLICY
from gemma_tools.routes import POSTS, handle
from support.serving import CALL, QUESTION, WEATHER, scripted

jsonschema_rs = pytest.importorskip("jsonschema_rs")

RESPONSE = handle(ApiRequest("GET", "/openapi.json"), {})
DOCUMENT = json.loads(RESPONSE.body)
SCHEMAS = DOCUMENT["components"]["schemas"]


def is_valid(name: str, value: Any) -> bool:
    """Whether `value` is what the document calls `name`."""
    return bool(jsonschema_rs.is_valid({"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}, value))


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": QUESTION, **fields}


def ask(body: Mapping[str, Any]) -> Any:
    return handle(ApiRequest("POST", "/v1/chat/completions", json.dumps(body).encode()), {"m": scripted(CALL)})


def test_every_reference_leads_somewhere() -> None:
    assert RESPONSE.status == 200
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', RESPONSE.body.decode()))
    assert references <= SCHEMAS.keys()


def test_every_path_is_answered() -> None:
    store = ResponseStore()
    store.keep("", {"id": "m", "output": []}, [])
    for path, operations in DOCUMENT["paths"].items():
        for method in operations:
            request = ApiRequest(method.upper(), re.sub(r"{\w+}", "m", path), json.dumps(asked(input="hi")).encode())
            response = handle(request, {"m": scripted(CALL)}, settings=ApiSettings(store=store))
            assert response.status in (200, 400)  # no 404, and no 405
            if method == "delete":
                store.keep("", {"id": "m", "output": []}, [])


def test_every_path_is_reported() -> None:
    page = (Path(__file__).parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
    for path in POSTS:
        assert {path, f"/v1{path}"} & DOCUMENT["paths"].keys(), path
        assert re.search(rf"`(POST )?(/v1)?{path}`", page), path


def test_the_fields_of_requests_are_those_of_the_policy() -> None:
    taken = {name for name, policy in FIELD_POLICY.items() if policy.treatment != "left out"}
    assert SCHEMAS["ChatRequest"]["properties"].keys() == taken
    assert SCHEMAS["ResponsesRequest"]["properties"].keys() == HONOURED | ACCEPTED
    for name in taken:
        assert SCHEMAS["ChatRequest"]["properties"][name]["description"] == FIELD_POLICY[name].note


RESULT = {"role": "tool", "tool_call_id": "c", "content": "18 degrees"}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Lisbon"}'}}],
}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("body", "good"),
    [
        (asked(), True),
        (asked(tools=[WEATHER], tool_choice="required", parallel_tool_calls=False), True),
        (asked(tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "get_weather"}}), True),
        (asked(messages=[*QUESTION, CALLED, RESULT], tools=[WEATHER]), True),
        (asked(temperature=0, top_p=None, max_tokens=5, seed=-1, n=1, stop=["\n"]), True),
        (asked(reasoning_effort="high", chat_template_kwargs={"enable_thinking": True}), True),
        (asked(user="me", metadata={"a": "b"}, store=True), True),
        ({"messages": QUESTION}, False),
        (asked(messages=[{"role": "robot", "content": "x"}]), False),
        (asked(messages=[{"role": "user", "content": 5}]), False),
        (asked(tools=[{"type": "function", "function": {}}]), False),
        (asked(temperature=2.5), False),
        (asked(temperature="0"), False),
        (asked(n=0), False),
        (asked(top_k=-1, max_tokens=-1), True),
        (asked(top_k=-2), False),
        (asked(max_tokens=0), False),
        (asked(max_tokens=1.5), False),
        (asked(tool_choice="sometimes"), False),
        (asked(reasoning_effort="some"), False),
        (asked(modalities=["audio"]), False),
        (asked(temprature=0), True),  # what is not known is left out, and told
    ],
)
def test_what_is_answered_fits_and_what_is_refused_does_not(body: Mapping[str, Any], good: bool) -> None:
    response = ask(body)
    assert (response.status == 200, is_valid("ChatRequest", body)) == (good, good)
    assert is_valid("ChatCompletion" if good else "ErrorBody", json.loads(response.body))


def test_images_fit() -> None:
    assert is_valid("ChatRequest", asked(messages=[{"role": "user", "content": [{"type": "text", "text": "?"}, IMAGE]}]))


def test_chunks_and_models_fit() -> None:
    pieces = b"".join(ask(asked(stream=True)).body).decode().split("\n\n")
    chunks = [json.loads(piece.removeprefix("data: ")) for piece in pieces if piece.startswith("data: {")]
    assert chunks
    assert all(is_valid("ChatCompletionChunk", chunk) for chunk in chunks)
    assert is_valid("ModelList", json.loads(handle(ApiRequest("GET", "/v1/models"), {"m": scripted(CALL)}).body))
    assert is_valid("Model", json.loads(handle(ApiRequest("GET", "/v1/models/m"), {"m": scripted(CALL)}).body))
