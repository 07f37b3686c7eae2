"""What real clients have sent over HTTP: it is answered, also where a field asks for what a local model has not."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gemma_tools import create_model
from support.serving import scripted, serving, thinker

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
RESPONSE = {"model": "m", "input": "Hello"}
MESSAGE = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
PATCH = {"type": "custom", "name": "patch", "description": "Changes files."}
AGENDA = {"type": "namespace", "name": "agenda", "description": "Dates.", "tools": []}
PATCHED = [
    {"role": "user", "content": "Mend it."},
    {"type": "custom_tool_call", "call_id": "call_1", "name": "patch", "input": "- a\n+ b"},
    {"type": "custom_tool_call_output", "call_id": "call_1", "output": "Done."},
]
ANSWERED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/responses", {**RESPONSE, "client_metadata": {"installation": "1"}}),
    ("/v1/responses", {**RESPONSE, "tools": [{"type": "web_search", "external_web_access": False}]}),
    ("/v1/responses", {**RESPONSE, "tools": [AGENDA]}),
    ("/v1/responses", {**RESPONSE, "tools": [{**PATCH, "format": {"type": "text"}}]}),
    ("/v1/responses", {**RESPONSE, "tools": [PATCH], "input": PATCHED}),
    ("/v1/responses", {**RESPONSE, "truncation": "auto"}),
    ("/v1/responses", {**RESPONSE, "reasoning": {"effort": "xhigh"}, "include": ["reasoning.encrypted_content"]}),
    ("/v1/responses/input_tokens", RESPONSE),
    ("/v1/completions", {"model": "m", "prompt": "Once"}),
    ("/v1/messages", MESSAGE),
    ("/v1/messages", {**MESSAGE, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("/v1/messages/count_tokens", {"model": "m", "messages": MESSAGE["messages"]}),
    ("/v1/chat/completions", {**CHAT, "repeat_penalty": 1.1}),
    ("/v1/chat/completions", {**CHAT, "cache_prompt": True, "keep_alive": "5m", "session_id": "1", "options": {}}),
    ("/v1/chat/completions", {**CHAT, "top_k": -1, "max_tokens": -1, "reasoning_effort": "max"}),
    ("/v1/chat/completions", {**CHAT, "think": True, "reasoning": {"effort": "low"}, "prompt_cache_key": "1"}),
    ("/v1/chat/completions/input_tokens", CHAT),
    ("/chat/completions", CHAT),
    ("/tokenize", {"model": "m1", "content": "Hello"}),
    ("/apply-template", CHAT),
]  # fmt: skip
"""Paths and bodies. Each was a 400 or a 404 once, for some client."""
REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("/v1/responses", {**RESPONSE, "input": [{"type": "item_reference", "id": "rs_0"}]}, 404, "item_not_found"),
    ("/v1/responses", {**RESPONSE, "tools": [AGENDA], "tool_choice": {"type": "web_search"}}, 400, "unsupported_value"),
    ("/v1/completions", {}, 400, "missing_required_parameter"),
    ("/v1/embeddings", {"model": "m", "input": "Hello"}, 404, "not_found"),
    ("/api/chat", CHAT, 404, "not_found"),
]
"""The same with the status and code of what must be refused: it would be another answer, or there is none."""


@pytest.fixture(scope="module")
def root() -> Any:
    with serving(thinker(*["Yes."] * len(ANSWERED)), create_model("tiny")) as url:
        yield url.removesuffix("/v1")


@pytest.mark.parametrize(("path", "body"), ANSWERED)
def test_what_asks_for_nothing_that_must_be_refused_is_answered(root: str, path: str, body: dict[str, Any]) -> None:
    response = httpx.post(root + path, json=body, timeout=60)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(("path", "body", "status", "code"), REFUSED)
def test_what_would_change_the_answer_is_refused(root: str, path: str, body: dict[str, Any], status: int, code: str) -> None:
    response = httpx.post(root + path, json=body, timeout=60)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text


def test_an_answer_can_be_referred_to() -> None:
    with serving(thinker("<|channel>thought\nHm.<channel|>Yes.", "Well.")) as url:
        first = httpx.post(f"{url}/responses", json={**RESPONSE, "reasoning": {"effort": "low"}}, timeout=60).json()
        references = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
        second = httpx.post(f"{url}/responses", json={**RESPONSE, "input": [*references, *CHAT["messages"]]}, timeout=60)
    assert [item["type"] for item in first["output"]] == ["reasoning", "message"]
    assert second.status_code == 200


def test_a_head_is_answered_where_get_is() -> None:
    with serving(scripted()) as url:
        assert [httpx.head(f"{url}{path}").status_code for path in ("/models", "/models/m", "/health")] == [200, 200, 200]


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        ({"Origin": "app://obsidian.md"}, {"allowed_origins": ["app://obsidian.md"]}),
        ({"Origin": "vscode-webview://1"}, {"allowed_origins": ["vscode-webview://1"]}),
        ({"Host": "host.docker.internal:1337"}, {"allowed_hosts": ["host.docker.internal"]}),
    ],
)
def test_other_pages_and_names_are_let_in_when_they_are_named(headers: dict[str, str], settings: dict[str, Any]) -> None:
    with serving(scripted(), scripted()) as url:
        assert httpx.get(f"{url}/models", headers=headers).status_code == 403
    with serving(scripted(), **settings) as url:
        assert httpx.get(f"{url}/models", headers=headers).status_code == 200
