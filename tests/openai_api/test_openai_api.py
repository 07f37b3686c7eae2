"""One HTTP request in, one response out, without any HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import deque
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gemma_tools import FunctionGemmaModel, openai_client
from gemma_tools import errors as e
from gemma_tools.jsontext import read_json
from gemma_tools.openai_api.wire import ApiRequest, ApiResponse
from gemma_tools.routes import ahandle, handle
from gemma_tools.testing import Script
from support.serving import CALL, QUESTION, WEATHER, EndlessEngine, scripted, thinker


def post(models: Mapping[str, Any], body: Any, path: str = "/v1/chat/completions") -> ApiResponse[Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return handle(ApiRequest("POST", path, data), models)


def chat(model: Any, **fields: Any) -> ApiResponse[Any]:
    return post({"m": model}, {"model": "m", "messages": QUESTION, **fields})


def frames(response: ApiResponse[Any]) -> list[Any]:
    """The data of all events; `[DONE]` as it is."""
    told = b"".join(response.body).decode().removesuffix("\n\n").split("\n\n")
    data = [event.rpartition("data: ")[2] for event in told]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def test_a_chat_is_answered_with_a_completion() -> None:
    response = chat(scripted(CALL), tools=[WEATHER])
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    completion = ChatCompletion.model_validate_json(response.body)
    assert completion.model == "m"
    (call,) = completion.choices[0].message.tool_calls or ()
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Lisbon"})
    assert completion.choices[0].finish_reason == "tool_calls"
    assert (response.facts.model, response.facts.finish_reason) == ("m", "tool_calls")
    assert completion.usage is not None
    assert response.facts.cost == completion.usage.total_tokens > 0


def test_a_stream_is_chunks_and_then_done() -> None:
    response = chat(scripted("It is sunny."), stream=True)
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, done = frames(response)
    assert done == "[DONE]"
    parsed = [ChatCompletionChunk.model_validate(chunk) for chunk in chunks]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in parsed) == "It is sunny."
    assert len({chunk.id for chunk in parsed}) == 1
    assert not any(chunk.usage for chunk in parsed)
    assert response.facts.finish_reason == "stop"
    assert response.facts.cost > 0


def test_a_stream_has_usage_where_it_is_asked_for() -> None:
    *_, last, _ = frames(chat(scripted("Sunny."), stream=True, stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"]


def test_both_names_of_reasoning_are_there() -> None:
    model = thinker("<|channel>thought\nHm.<channel|>Yes.", "<|channel>thought\nHm.<channel|>Yes.")
    message = json.loads(chat(model, reasoning_effort="high").body)["choices"][0]["message"]
    assert (message["reasoning"], message["reasoning_content"], message["content"]) == ("Hm.", "Hm.", "Yes.")
    deltas = [frame["choices"][0]["delta"] for frame in frames(chat(model, reasoning_effort="high", stream=True))[:-1]]
    for name in ("reasoning", "reasoning_content"):
        assert "".join(delta.get(name) or "" for delta in deltas) == "Hm."


def test_legacy_functions_get_a_legacy_answer() -> None:
    model = scripted(CALL, CALL)
    choice = json.loads(chat(model, functions=[WEATHER["function"]]).body)["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "get_weather", "arguments": '{"city": "Lisbon"}'}
    assert "tool_calls" not in choice["message"]
    *chunks, _ = frames(chat(model, functions=[WEATHER["function"]], stream=True))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert [d["function_call"]["name"] for d in deltas if d.get("function_call")] == ["get_weather"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


def test_models_are_listed_and_found() -> None:
    models = {"a": scripted(), "google/b": scripted()}
    listed = json.loads(handle(ApiRequest("GET", "/v1/models"), models).body)
    assert listed["object"] == "list"
    assert [Model.model_validate(model).id for model in listed["data"]] == ["a", "google/b"]
    one = handle(ApiRequest("GET", "/v1/models/google/b"), models)
    assert Model.model_validate_json(one.body) == Model.model_validate(listed["data"][1])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/models/c", 404, "model_not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/embeddings", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
    ],
)
def test_what_is_not_there_is_an_openai_error(method: str, path: str, status: int, code: str) -> None:
    response = handle(ApiRequest(method, path, b"{}"), {"a": scripted()})
    error = json.loads(response.body)["error"]
    assert (response.status, error["code"]) == (status, code)
    assert error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"\xff\xfe{}x", b'{"model": NaN}', b"[" * 100_000, b'{"a": %s}' % (b"9" * 5000)],
    ids=["empty", "cut", "list", "text", "not-utf8", "nan", "deep", "long-number"],
)
def test_a_body_that_is_not_a_json_object_is_refused(body: bytes) -> None:
    response = post({}, body)
    assert response.status == 400
    assert json.loads(response.body)["error"]["code"] == "invalid_json"


DEPTH = 3000


@pytest.mark.parametrize("written", ["as text", "as an object"])
def test_a_body_of_any_depth_is_answered_as_run_answers_it(written: str) -> None:
    nested = '{"a":' * DEPTH + "1" + "}" * DEPTH
    arguments = json.dumps(nested) if written == "as text" else nested
    call = f'{{"id":"c","type":"function","function":{{"name":"f","arguments":{arguments}}}}}'
    messages = (
        f'[{{"role":"user","content":"Hi"}},{{"role":"assistant","content":null,"tool_calls":[{call}]}},'
        '{"role":"tool","tool_call_id":"c","content":"done"}]'
    )
    response = post({"m": (served := scripted("Hello."))}, b'{"model":"m","messages":%b}' % messages.encode())
    asked = scripted("Hello.")
    assert json.loads(response.body)["choices"][0]["message"]["content"] == "Hello."
    assert asked.run(read_json(messages)).choices[0].message.content == "Hello."
    assert served.engine.asked == asked.engine.asked  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"metadata": 5}, "metadata"), ({"metadata": {"a": [1]}}, "metadata.a"), ({"user": {"a": 1}}, "user")],
)
def test_what_a_response_says_again_has_its_type(fields: dict[str, Any], param: str) -> None:
    response = post({"m": scripted("Hello.")}, {"model": "m", "input": "Hi", **fields}, "/v1/responses")
    assert (response.status, json.loads(response.body)["error"]["param"]) == (400, param)


def test_what_a_response_says_again_may_have_any_depth() -> None:
    schema = '{"type":"object","properties":{"a":' * DEPTH + '{"type":"string"}' + "}}" * DEPTH
    body = f'{{"model":"m","input":"Hi","tools":[{{"type":"function","name":"f","parameters":{schema}}}]}}'
    response = post({"m": scripted("Hello.")}, body.encode(), "/v1/responses")
    assert response.status == 200
    assert response.body.count(b'"properties"') == DEPTH
    assert read_json(response.body.decode())["tools"][0]["name"] == "f"


@pytest.mark.parametrize(
    ("path", "asked"), [("/v1/chat/completions", {"messages": QUESTION}), ("/v1/responses", {"input": "Hi"})]
)
def test_an_unknown_model_is_named(path: str, asked: dict[str, Any]) -> None:
    response = post({"a": scripted()}, {"model": "b", **asked}, path)
    error = json.loads(response.body)["error"]
    assert (response.status, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "a" in error["message"]


def test_a_wrong_field_is_named() -> None:
    response = chat(scripted(), messages=[{"role": "wizard", "content": "Hi"}])
    error = json.loads(response.body)["error"]
    assert (response.status, error["type"], error["param"]) == (400, "invalid_request_error", "messages[0].role")


ERRORS = [
    (e.EngineUnavailable("gone"), 503, "engine_unavailable"),
    (e.EngineTimeout("late"), 504, "engine_timeout"),
    (e.EngineRejected("no", status=500), 502, "engine_rejected"),
    (e.RateLimited("slow down", status=429, retry_after=6.6), 429, "rate_limit_exceeded"),
    (e.QuotaExceeded("all used", status=402), 429, "insufficient_quota"),
    (e.AnswerBlocked("not safe"), 400, "content_filter"),
    (e.EngineProtocolError("what"), 502, "engine_protocol_error"),
    (e.ModelNotFound("no such file"), 404, "model_not_found"),
    (e.ContextExceeded("too long", prompt_tokens=9, context=8), 400, "context_length_exceeded"),
    (e.EngineError("something"), 502, "engine_error"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "status", "code"), ERRORS)
def test_an_engine_that_fails_at_once_gives_a_status(error: e.EngineError, status: int, code: str, stream: bool) -> None:
    response = chat(scripted(error), stream=stream)
    told = json.loads(response.body)["error"]
    assert (response.status, told["code"], told["message"]) == (status, code, str(error))
    kinds = {429: "rate_limit_error"}
    assert told["type"] == kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    assert response.headers["x-should-retry"] == "false"
    assert response.headers.get("retry-after") == ("7" if isinstance(error, e.RateLimited) else None)
    assert response.facts.error == code


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_an_engine_that_fails_later_ends_the_stream_with_an_error(path: str) -> None:
    model = scripted(Script(("So ", "far"), error=e.EngineUnavailable("gone")))
    body = {"model": "m", "stream": True} | ({"input": "Hi"} if path == "/v1/responses" else {"messages": QUESTION})
    response = post({"m": model}, body, path)
    assert response.status == 200
    told = frames(response)
    assert told[-1]["error"] == {"message": "gone", "type": "server_error", "param": None, "code": "engine_unavailable"}
    assert response.facts.error == "engine_unavailable"


def test_what_is_not_our_error_is_logged_and_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def respond(self, request: Any, *, cancel: Any = None) -> Any:
            raise RuntimeError("the secret of the house")

    with caplog.at_level(logging.ERROR, logger="gemma_tools"):
        response = chat(Broken())
    assert response.status == 500
    assert b"secret" not in response.body
    assert "the secret of the house" in caplog.text


def test_lone_surrogates_survive_as_escapes() -> None:
    text = "half \ud83d an emoji"
    assert json.loads(chat(scripted(text)).body)["choices"][0]["message"]["content"] == text
    *chunks, _ = frames(chat(scripted(text), stream=True))
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == text


def test_closing_a_stream_stops_the_engine() -> None:
    engine = EndlessEngine()
    response = chat(FunctionGemmaModel("m", engine=engine), stream=True)
    assert next(response.body)
    response.body.close()
    assert engine.stopped.is_set()


def plain(data: bytes) -> str:
    """`data` without what differs between two answers: ids and times."""
    return re.sub(r'(chatcmpl-|call_)\w+|"created":\d+', "", data.decode())


@pytest.mark.parametrize("stream", [False, True])
def test_async_is_the_same(stream: bool) -> None:
    body = json.dumps({"model": "m", "messages": QUESTION, "stream": stream, "tools": [WEATHER]}).encode()
    request = ApiRequest("POST", "/v1/chat/completions", body)

    async def answer() -> tuple[int, bytes]:
        response = await ahandle(request, {"m": scripted(CALL)})
        return response.status, response.body if isinstance(response.body, bytes) else b"".join(
            [p async for p in response.body]
        )

    response = handle(request, {"m": scripted(CALL)})
    whole = response.body if isinstance(response.body, bytes) else b"".join(response.body)
    status, told = asyncio.run(answer())
    assert status == response.status == 200
    assert plain(told) == plain(whole)


@pytest.mark.parametrize("silent", [False, True])
def test_leaving_async_stops_the_engine(silent: bool) -> None:
    engine = EndlessEngine(silent=silent)
    body = json.dumps({"model": "m", "messages": QUESTION, "stream": not silent}).encode()

    async def leave() -> None:
        answering = asyncio.create_task(
            ahandle(ApiRequest("POST", "/v1/chat/completions", body), {"m": FunctionGemmaModel("m", engine=engine)})
        )
        if silent:
            await asyncio.to_thread(engine.started.wait)
            answering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await answering
        else:
            response = await answering
            assert not isinstance(response.body, bytes)
            assert await anext(response.body)
            await response.body.aclose()

    asyncio.run(leave())
    assert engine.stopped.wait(60)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(["message", "function_call", "function_call_output", "reasoning", "function", "json_schema", "auto"])
ITEMS = st.dictionaries(
    st.sampled_from(
        ["type", "role", "content", "name", "call_id", "arguments", "output", "summary", "function", "schema", "mode"]
    ),
    KINDS | st.sampled_from(["user", "assistant", "tool", "text"]) | JSON,
    max_size=5,
)
FIELDS = [
    "input",
    "messages",
    "instructions",
    "tools",
    "tool_choice",
    "text",
    "reasoning",
    "functions",
    "function_call",
    "stop",
]
FIELDS += [
    "response_format",
    "stream",
    "stream_options",
    "n",
    "max_tokens",
    "max_output_tokens",
    "temperature",
    "top_p",
    "seed",
]
BODIES = st.dictionaries(st.sampled_from(FIELDS), JSON | ITEMS | st.lists(ITEMS, max_size=3), max_size=5)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@given(body=BODIES)
def test_no_body_is_an_internal_error(path: str, body: dict[str, Any]) -> None:
    valid = {"messages": QUESTION} if path == "/v1/chat/completions" else {"input": "Hi"}
    response = post({"m": scripted(*["yes"] * 8)}, {"model": "m", **valid, **body}, path)
    if not isinstance(response.body, bytes):
        deque(response.body, maxlen=0)
    assert response.status in (200, 400), response.body
    assert response.facts.error != "internal_error"


def test_the_final_stop_sequence_and_a_continued_message() -> None:
    messages = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One,"}]
    with openai_client(scripted(" two, three.", " two, three.")) as client:
        create: Any = client.chat.completions.create
        asked = {"model": "m", "messages": messages, "stop": [", three"], "extra_body": {"continue_final_message": True}}
        whole, chunks = create(**asked), list(create(**asked, stream=True))
    assert whole.choices[0].message.content == " two"
    assert (whole.choices[0].finish_reason, whole.choices[0].stop_reason) == ("stop", ", three")
    assert chunks[-1].choices[0].stop_reason == ", three"
