"""The faces that show what a request becomes: prompts, tokens and their number."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from gemma_tools import BaseModelBackend, create_model
from gemma_tools.openai_api.wire import ApiRequest
from gemma_tools.routes import handle
from support.serving import QUESTION, WEATHER, scripted, serving

REQUEST: Any = {"model": "m", "messages": QUESTION, "tools": [WEATHER]}


def post(path: str, body: Any, **models: BaseModelBackend) -> Any:
    """The status and the body of the answer."""
    response = handle(ApiRequest("POST", path, json.dumps(body).encode()), models)
    assert isinstance(response.body, bytes)
    return response.status, json.loads(response.body)


@pytest.fixture(scope="module")
def tiny() -> Any:
    with create_model("tiny") as model:
        yield model


@pytest.mark.parametrize("prefix", ["/v1", ""])
def test_the_prompt_of_a_request(prefix: str) -> None:
    model = scripted()
    status, told = post(f"{prefix}/apply-template", REQUEST, m=model)
    prompt = model.format.render(QUESTION, [WEATHER])
    assert (status, told["prompt"], told["stop"]) == (200, prompt.text, list(prompt.stop))
    assert [(one["text"], one["control"]) for one in told["segments"]] == [(one.text, one.control) for one in prompt.segments]


def test_the_count_of_a_request_is_the_usage_of_its_answer(tiny: Any) -> None:
    status, told = post("/v1/chat/completions/input_tokens", {**REQUEST, "max_tokens": 1}, m=tiny)
    _, answered = post("/v1/chat/completions", {**REQUEST, "max_tokens": 1}, m=tiny)
    assert (status, told["input_tokens"]) == (200, answered["usage"]["prompt_tokens"])
    assert "estimated" not in told


def test_the_count_of_a_responses_request(tiny: Any) -> None:
    tool = {"type": "function", **WEATHER["function"]}
    _, told = post("/v1/responses/input_tokens", {"model": "m", "input": QUESTION, "tools": [tool]}, m=tiny)
    _, same = post("/v1/chat/completions/input_tokens", REQUEST, m=tiny)
    assert told == same == {"object": "response.input_tokens", "input_tokens": told["input_tokens"]}


def test_tokens_and_their_text(tiny: Any) -> None:
    text = "<start_of_turn>user\nHow is Łódź? 🙂"
    _, told = post("/tokenize", {"content": text}, m=tiny)
    assert told["tokens"] == tiny.token_counter.encode(text)
    _, pieces = post("/tokenize", {"content": text, "with_pieces": True}, m=tiny)
    assert [piece["id"] for piece in pieces["tokens"]] == told["tokens"]
    assert pieces["tokens"][0]["piece"] == "<start_of_turn>"
    assert post("/detokenize", {"tokens": told["tokens"]}, m=tiny) == (200, {"content": text})


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "content"),
        ("/tokenize", {"content": 5}, "content"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": [1, "2"]}, "tokens[1]"),
        ("/apply-template", {"model": "m", "messages": [{"role": "robot"}]}, "messages[0].role"),
        ("/v1/responses/input_tokens", {"model": "m", "input": [{"type": 5}]}, "input[0].type"),
        ("/v1/responses/input_tokens", {"model": "m", "input": [{"role": "robot", "content": "hi"}]}, "input"),
    ],
)
def test_a_wrong_request_names_its_place(path: str, body: Any, param: str, tiny: Any) -> None:
    status, told = post(path, body, m=tiny)
    assert (status, told["error"]["param"]) == (400, param)


def test_tokens_of_a_model_whose_tokenizer_is_not_here() -> None:
    with create_model("functiongemma", url="http://127.0.0.1:9", max_retries=0) as model:
        status, told = post("/tokenize", {"content": "hi"}, m=model)
    assert (status, told["error"]["param"]) == (400, "model")


def test_one_model_needs_no_name_and_several_do(tiny: Any) -> None:
    assert post("/tokenize", {"content": "hi"}, a=tiny)[0] == 200
    status, told = post("/tokenize", {"content": "hi"}, a=tiny, b=tiny)
    assert (status, told["error"]["param"]) == (400, "model")


def test_paths_without_v1_and_head(tiny: Any) -> None:
    with serving(scripted("hello")) as url:
        root = url.removesuffix("/v1")
        for base in (url, root):
            assert httpx.get(f"{base}/models").json()["data"][0]["id"] == "m"
            assert httpx.head(f"{base}/models").content == b""
            assert httpx.get(f"{base}/health").json() == {"status": "ok"}
            assert httpx.head(f"{base}/health").status_code == 200
        answer = httpx.post(f"{root}/chat/completions", json={"model": "m", "messages": QUESTION})
        assert answer.json()["choices"][0]["message"]["content"] == "hello"
        assert httpx.head(f"{url}/chat/completions").status_code == 405
