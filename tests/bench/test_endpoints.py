"""`Endpoint`: its address and name, answers of all shapes, and failures that end a run or do not."""

from __future__ import annotations

import json
import re
from threading import Event
from typing import Any

import pytest

from gemma_tools import FunctionGemmaModel
from gemma_tools.bench import Endpoint, Result, evaluate
from gemma_tools.engines.base import Cancellation, Generation, GenerationRequest, Pieces
from gemma_tools.errors import EngineRejected, EngineUnavailable, InvalidRequest, ModelNotFound, QuotaExceeded
from support.cases import ASKS, TALKS
from support.servers.loopback import Faulty, JsonHandler, http, serving
from support.serving import EchoEngine, scripted

MODELS = http(200, b'{"data": [{"id": "first"}, {"id": "second"}]}')


def completion(message: Any, **fields: Any) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return http(200, json.dumps({"choices": [choice], **fields}).encode())


def called(function: Any, **fields: Any) -> bytes:
    return completion({"content": None, "tool_calls": [{"function": function, **fields}]})


def asked(answer: bytes, *, model: str | None = "m") -> Result:
    """What an endpoint with this answer is found to say to a case that expects a call."""
    with Faulty([answer]) as server:
        return evaluate(scripted("Hi"), [ASKS], against=Endpoint(server.url, model)).results[1]


@pytest.mark.parametrize(
    ("url", "address", "name"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/v1", "127.0.0.1:8080"),
        ("localhost:8080/", "http://localhost:8080/v1", "localhost:8080"),
        ("http://localhost:8080/v1/", "http://localhost:8080/v1", "localhost:8080"),
        ("https://example.com/api/v1", "https://example.com/api/v1", "example.com/api"),
        ("https://me:secret@example.com", "https://me:secret@example.com/v1", "example.com"),
    ],
)
def test_an_address_may_be_short_and_its_name_shows_no_password(url: str, address: str, name: str) -> None:
    assert (Endpoint(url).address, Endpoint(url).name) == (address, name)
    assert Endpoint(url, "big").name == f"{name} (big)"


@pytest.mark.parametrize("url", ["", "ftp://example.com", "http://"])
def test_what_is_not_an_address_is_refused_before_anything_is_asked(url: str) -> None:
    model = scripted("Hi")
    with pytest.raises(InvalidRequest, match="is not the address of an HTTP server"):
        evaluate(model, [TALKS], against=url)
    assert model.engine.asked == []  # type: ignore[attr-defined]


def test_the_key_and_the_first_listed_model_are_sent() -> None:
    with Faulty([MODELS], [completion({"content": "hi"})]) as server:
        evaluation = evaluate(scripted("Hi"), [TALKS], against=Endpoint(server.url, api_key="k-1"))
    listed, posted = server.requests
    assert listed.startswith(b"GET /v1/models ")
    assert posted.startswith(b"POST /v1/chat/completions ")
    assert all(b"bearer k-1\r\n" in request.lower() for request in server.requests)
    assert json.loads(posted.partition(b"\r\n\r\n")[2])["model"] == "first"
    assert evaluation.results[1].right


@pytest.mark.parametrize(
    "answer",
    [
        called({"name": "get_weather", "arguments": '{"city": "Paris"}'}, id="a", type="function"),
        called({"name": "get_weather", "arguments": {"city": "Paris"}}),
        completion({"content": "", "tool_calls": [{"function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}]}),
        completion({"tool_calls": [{"function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}]}, usage=None),
    ],
)
def test_calls_are_read_in_every_form_that_servers_send(answer: bytes) -> None:
    assert asked(answer).right


def test_two_calls_with_one_id_are_two_calls() -> None:
    call = {"id": "call_0", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    assert asked(completion({"tool_calls": [call, call]})).fault == "2 calls made, 1 call expected"


def test_missing_and_unreadable_arguments_are_a_wrong_answer() -> None:
    assert asked(called({"name": "get_weather"})).fault == "city is required, but missing"
    assert asked(called({"name": "get_weather", "arguments": '{"city"'})).fault == "the arguments are not a JSON object"


def test_thoughts_parts_and_counts_are_read() -> None:
    parts = [{"type": "text", "text": "<think>Rain?</think>"}, {"type": "text", "text": "Sunny."}]
    said = asked(completion({"content": parts}, usage={"prompt_tokens": 3, "completion_tokens": 2})).said
    assert (said.content, said.reasoning, said.prompt_tokens, said.completion_tokens) == ("Sunny.", "Rain?", 3, 2)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http(200, b"<html>Log in</html>", kind=b"text/html"), "the answer is not a chat completion: <html>Log in"),
        (http(200, b'{"error": "overloaded"}'), "the answer is not a chat completion: overloaded"),
        (http(200, b"[1]"), "the answer is not a chat completion: \\[1\\]"),
        (http(200, b'{"choices": [{}]}'), "sent an invalid answer: KeyError"),
        (completion({"content": 5}), "sent text that is not a string"),
        (completion({"tool_calls": "x"}), "sent an invalid answer"),
        (called(None), "sent an invalid answer"),
        (completion({"content": "x"}, usage={"prompt_tokens": "many"}), "counted tokens as 'many'"),
        (http(500, b"<html>Oops</html>", kind=b"text/html"), "status 500: <html>Oops"),
    ],
)
def test_an_answer_that_is_not_one_is_reported_and_the_run_goes_on(answer: bytes, error: str) -> None:
    result = asked(answer)
    assert not result.asked
    assert re.search(error, str(result.fault))


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (http(401, b'{"error": {"message": "no such key"}}'), EngineRejected, "status 401: no such key"),
        (http(404, b'{"error": {"message": "no such model"}}'), ModelNotFound, "status 404: no such model"),
        (http(402, b'{"error": {"message": "pay first"}}'), QuotaExceeded, "status 402: pay first"),
    ],
)
def test_a_failure_that_every_question_has_ends_the_run(answer: bytes, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        asked(answer)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http(404, b"Not Found", kind=b"text/plain"), r"lists no models \(.*404: Not Found\): name the model"),
        (http(401, b'{"error": {"message": "no key"}}'), r"lists no models \(.*no key\): name the model, and the key"),
        (http(200, b"<html>", kind=b"text/html"), "lists no models: name the model"),
        (http(200, b'{"data": []}'), "lists no models: name the model"),
        (http(200, b'{"data": null}'), "lists no models: name the model"),
    ],
)
def test_without_a_list_of_models_one_has_to_be_named(answer: bytes, why: str) -> None:
    with pytest.raises(EngineUnavailable, match=why):
        asked(answer, model=None)


class Failing(EchoEngine):
    """Answers to TALKS. Once the endpoint was asked, it fails."""

    def __init__(self, asked: Event) -> None:
        self.asked = asked

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Answer, or fail."""
        if "Hello" not in request.prompt.text:
            assert self.asked.wait(60)
            raise EngineUnavailable("gone")
        yield "hi"
        return Generation()


def test_a_run_that_ends_does_not_wait_for_an_endpoint() -> None:
    came, over = Event(), Event()

    class Waiting(JsonHandler):
        def do_POST(self) -> None:
            came.set()
            over.wait()

    with serving(Waiting) as url:
        try:
            with pytest.raises(EngineUnavailable, match="gone"):
                evaluate(
                    FunctionGemmaModel("m", engine=Failing(came)), [TALKS, ASKS], against=Endpoint(url, "m"), concurrency=2
                )
        finally:
            over.set()
