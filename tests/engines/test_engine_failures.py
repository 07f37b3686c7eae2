"""Every way in which a server can fail ends in one typed error, with the text that had arrived."""

from __future__ import annotations

import json
import re
import socket
import traceback
from contextlib import closing
from threading import Thread
from typing import Any

import pytest

from gemma_tools.engines import Cancellation, GenerationRequest
from gemma_tools.errors import (
    ContextExceeded,
    EngineProtocolError,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
)
from gemma_tools.prompt import Prompt
from support.servers.loopback import HANG, RESET, Faulty, chunked, http
from support.tiny import GREEDY, play, small_talk
from support.wires import TOKENIZED, WIRES, Wire, ask, line


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


def test_a_good_answer_is_not_an_error(wire: Wire) -> None:
    pieces, error, _ = ask(wire, [chunked(wire.piece("a"), wire.piece("b"), wire.last, kind=wire.kind)])
    assert (pieces, error) == (["a", "b"], None)


def test_no_connection_is_used_twice(wire: Wire) -> None:
    good = chunked(wire.piece("a"), wire.last, kind=wire.kind).replace(b"Connection: close", b"Connection: keep-alive")
    first = [[TOKENIZED.replace(b"Connection: close", b"Connection: keep-alive")]] if wire.asks_first else []
    with Faulty(*first, [good]) as server, wire.make(server.url, max_retries=0) as engine:
        for _ in range(3):
            assert play(engine.generate(GenerationRequest(small_talk(), GREEDY)))[0] == ["a"]


@pytest.mark.parametrize("whole", [True, False], ids=["read to the end", "left at the first piece"])
def test_connections_are_given_back(wire: Wire, whole: bool) -> None:
    """Some clients open a hundred at once; with one lost by each answer, the next would wait for ever."""
    good = chunked(wire.piece("a"), wire.last, kind=wire.kind)
    first = [[TOKENIZED]] if wire.asks_first else []
    with Faulty(*first, [good]) as server, wire.make(server.url, max_retries=0, timeout=60) as engine:
        for _ in range(120):
            with closing(engine.generate(GenerationRequest(small_talk(), GREEDY))) as pieces:
                assert next(pieces) == "a"
                assert not whole or list(pieces) == []


def test_nobody_listens(wire: Wire) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with wire.make(url, max_retries=0) as engine, pytest.raises(EngineUnavailable, match="no connection") as caught:
        play(engine.generate(GenerationRequest(small_talk(), GREEDY)))
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.count("Traceback") == 1  # not those of a client, before the one good line


def test_the_port_belongs_to_something_else(wire: Wire) -> None:
    _, error, _ = ask(wire, [b"220 mail.example ESMTP\r\n\r\n"])
    assert isinstance(error, EngineProtocolError)


def test_a_web_page_answers(wire: Wire) -> None:
    _, error, _ = ask(wire, [http(200, b"<html>Hello</html>", kind=b"text/html")])
    assert isinstance(error, EngineProtocolError)


def test_json_of_another_shape_answers(wire: Wire) -> None:
    for value in (b"[]", b"{}", b"7", b'{"done": false, "response": 5}'):
        line = (b"data: " if wire.kind == b"text/event-stream" else b"") + value + b"\n\n"
        _, error, _ = ask(wire, [chunked(line, kind=wire.kind)])
        assert isinstance(error, EngineProtocolError), value


@pytest.mark.parametrize("text", [5, [], {}, True])
def test_a_text_that_is_not_a_string(wire: Wire, text: Any) -> None:
    wrong = wire.piece("?").replace(b'"?"', json.dumps(text).encode())
    pieces, error, _ = ask(wire, [chunked(wire.piece("half"), wrong, wire.last, kind=wire.kind)])
    assert pieces == ["half"]
    assert isinstance(error, EngineProtocolError)


@pytest.mark.parametrize("count", ["x", -5, 1.5, []])
def test_counts_that_are_none(wire: Wire, count: Any) -> None:
    told = json.dumps(count).encode()
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": %s, "completion_tokens": 1}}\n\n' % told
    last = re.sub(rb'("prompt_eval_count"|"tokens_evaluated"): 3', rb"\1: " + told, wire.last)
    if last == wire.last:
        last = usage + last
    pieces, error, _ = ask(wire, [chunked(wire.piece("half"), last, kind=wire.kind)])
    assert pieces == ["half"]
    assert isinstance(error, EngineProtocolError)


def test_a_line_ends_at_a_newline_only(wire: Wire) -> None:
    text = "one\x85two\u2028three\u2029four"
    pieces, error, _ = ask(wire, [chunked(wire.piece(text), wire.last, kind=wire.kind)])
    assert (pieces, error) == ([text], None)


WORDS = [{"error": "slow down"}, {"error": {"message": "slow down", "code": 9}}, {"error": ["slow down"]}]


@pytest.mark.parametrize("body", [*WORDS, {"detail": "slow down"}, {"message": "slow down"}, ["slow down"]])
def test_the_server_s_own_words_in_every_shape(wire: Wire, body: Any) -> None:
    _, error, _ = ask(wire, [http(429, json.dumps(body).encode())])
    assert isinstance(error, EngineRejected)
    assert "slow down" in str(error)


@pytest.mark.parametrize("body", WORDS)
def test_the_server_s_own_words_in_the_stream(wire: Wire, body: Any) -> None:
    told = (b"data: " if wire.kind == b"text/event-stream" else b"") + line(body) + b"\n"
    pieces, error, _ = ask(wire, [chunked(wire.piece("half"), told, kind=wire.kind)])
    assert pieces == ["half"]
    assert isinstance(error, EngineRejected)
    assert "slow down" in str(error)
    assert "{" not in str(error)


@pytest.mark.parametrize("key", ["detail", "error"])
def test_a_full_context_in_another_shape(wire: Wire, key: str) -> None:
    _, error, _ = ask(wire, [http(400, json.dumps({key: "maximum context length exceeded"}).encode())])
    assert isinstance(error, ContextExceeded)


def test_there_is_no_such_model(wire: Wire) -> None:
    _, error, _ = ask(wire, [http(404, wire.error("model 'm' not found"))])
    assert isinstance(error, ModelNotFound)
    assert "model 'm' not found" in str(error)


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_an_error_status(wire: Wire, status: int) -> None:
    _, error, _ = ask(wire, [http(status, wire.error("that went wrong"))])
    assert isinstance(error, EngineRejected)
    assert error.status == status
    assert "that went wrong" in str(error)


def test_an_error_status_without_json(wire: Wire) -> None:
    _, error, _ = ask(wire, [http(502, b"<h1>Bad Gateway</h1>", kind=b"text/html")])
    assert isinstance(error, EngineRejected)
    assert error.status == 502


def test_a_prompt_too_long(wire: Wire) -> None:
    _, error, _ = ask(wire, [http(400, wire.error("the input length exceeds the context length"))])
    assert isinstance(error, ContextExceeded)


def test_an_error_in_the_stream(wire: Wire) -> None:
    line = wire.error("out of memory") + b"\n\n"
    stream = b"data: " + line if wire.kind == b"text/event-stream" else line
    pieces, error, _ = ask(wire, [chunked(wire.piece("half"), stream, kind=wire.kind)])
    assert pieces == ["half"]
    assert isinstance(error, EngineRejected)
    assert "out of memory" in str(error)


def test_the_server_dies_in_the_stream(wire: Wire) -> None:
    begun = chunked(wire.piece("half"), kind=wire.kind, end=False)
    pieces, error, server = ask(wire, [begun], max_retries=3)
    assert pieces == ["half"]
    assert isinstance(error, EngineUnavailable)
    assert len(server.requests) == 1 + wire.asks_first, "it is not asked again once a piece has come"


REPLICA_LOST = "Internal Server Error, original exception: The actor died unexpectedly before finishing this task."


@pytest.mark.usefixtures("pauses")
@pytest.mark.parametrize("lost", ["status", "stream"])
def test_a_proxy_has_lost_its_replica(wire: Wire, lost: str) -> None:
    said = http(500, wire.error(REPLICA_LOST)) if lost == "status" else chunked(wire.piece(""), kind=wire.kind)
    pieces, error, server = ask(wire, [said], [chunked(wire.piece("a"), wire.last, kind=wire.kind)], max_retries=1)
    assert (pieces, error) == (["a"], None)
    assert len(server.requests) == 2 + wire.asks_first


def test_the_connection_is_reset(wire: Wire) -> None:
    _, error, _ = ask(wire, [RESET])
    assert isinstance(error, EngineUnavailable)


def test_the_stream_ends_before_its_end(wire: Wire) -> None:
    pieces, error, _ = ask(wire, [chunked(wire.piece("half"), kind=wire.kind)])
    assert pieces == ["half"]
    assert isinstance(error, EngineProtocolError)


def test_a_line_is_cut(wire: Wire) -> None:
    pieces, error, _ = ask(wire, [chunked(wire.piece("half"), wire.piece("other")[:-9], kind=wire.kind)])
    assert pieces == ["half"]
    assert isinstance(error, EngineProtocolError)


def test_a_character_is_cut(wire: Wire) -> None:
    whole = wire.piece("é")
    cut = whole[: whole.index(b"\xc3") + 1]
    pieces, error, _ = ask(wire, [chunked(wire.piece("half"), cut, kind=wire.kind)])
    assert pieces == ["half"]
    assert isinstance(error, EngineProtocolError)


def test_a_chunk_has_no_length(wire: Wire) -> None:
    begun = chunked(wire.piece("half"), kind=wire.kind, end=False)
    pieces, error, _ = ask(wire, [begun + b"zz\r\n"])
    assert pieces == ["half"]
    # The standard library's client does not tell this from a connection that broke.
    assert isinstance(error, EngineUnavailable if wire.asks_first else EngineProtocolError)


def test_the_body_is_shorter_than_was_said(wire: Wire) -> None:
    said = http(200, wire.piece("half"), kind=wire.kind)
    length = b"Content-Length: %d" % len(wire.piece("half"))
    pieces, error, _ = ask(wire, [said.replace(length, b"Content-Length: 5000")], max_retries=3)
    assert pieces == ["half"]
    assert isinstance(error, EngineUnavailable)


def test_a_redirection_leads_nowhere(wire: Wire) -> None:
    _, error, _ = ask(wire, [b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"])
    assert isinstance(error, EngineProtocolError | EngineRejected)


def test_characters_cut_between_chunks_are_whole(wire: Wire) -> None:
    text = "Zürich 東京 🌧\u2028é"
    data = wire.piece(text) + wire.last
    whole = text if wire.kind == b"text/event-stream" else text.replace("\u2028", "")
    if whole != text:
        data = wire.piece(whole) + wire.last  # Ollama writes U+2028 as an escape, as Go's JSON does
    pieces, error, _ = ask(wire, [chunked(*(data[i : i + 1] for i in range(len(data))), kind=wire.kind)])
    assert ("".join(pieces), error) == (whole, None)


def test_silence_is_a_timeout(wire: Wire) -> None:
    begun = chunked(wire.piece("half"), kind=wire.kind, end=False)
    pieces, error, _ = ask(wire, [begun, HANG], timeout=1)
    assert pieces == ["half"]
    assert isinstance(error, EngineTimeout)


def test_no_answer_at_all_is_a_timeout(wire: Wire) -> None:
    _, error, _ = ask(wire, [HANG], timeout=0.2)
    assert isinstance(error, EngineTimeout)


def test_the_timeout_may_come_from_the_environment(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_TIMEOUT", "0.2")
    assert isinstance(ask(wire, [HANG], timeout=None)[1], EngineTimeout)
    monkeypatch.setenv("MODEL_TIMEOUT", "soon")
    with pytest.raises(InvalidRequest, match="MODEL_TIMEOUT"):
        ask(wire, [HANG], timeout=None)


@pytest.mark.usefixtures("pauses")
@pytest.mark.parametrize("failure", [b"", http(503, b'{"error": {"message": "Loading model"}}'), http(429, b"{}")])
def test_what_may_pass_is_tried_again(wire: Wire, failure: bytes) -> None:
    good = chunked(wire.piece("a"), wire.last, kind=wire.kind)
    pieces, error, server = ask(wire, [failure], [good], max_retries=1)
    assert (pieces, error) == (["a"], None)
    assert len(server.requests) == 2 + wire.asks_first


def test_retries_are_bounded(wire: Wire) -> None:
    _, error, server = ask(wire, [http(503, wire.error("busy"))], max_retries=1)
    assert isinstance(error, EngineRejected)
    assert len(server.requests) == 2 + wire.asks_first


def test_what_will_not_pass_is_not_tried_again(wire: Wire) -> None:
    _, error, server = ask(wire, [http(500, wire.error("broken"))], max_retries=3)
    assert isinstance(error, EngineRejected)
    assert len(server.requests) == 1 + wire.asks_first


def test_cancelling_does_not_wait_for_the_first_chunk(wire: Wire) -> None:
    first = [[TOKENIZED]] if wire.asks_first else []
    with Faulty(*first, [HANG]) as server, wire.make(server.url) as engine:
        cancel = Cancellation()
        found: list[list[str]] = []
        reader = Thread(
            target=lambda: found.append(play(engine.generate(GenerationRequest(small_talk(), GREEDY), cancel=cancel))[0])
        )
        reader.start()
        while not (server.requests and b"weather" in server.requests[-1]):
            pass
        cancel.cancel()
        reader.join(timeout=60)
        assert found == [[]]
    assert server.left == 1, "the server sees that nobody waits any more"


def test_half_a_character_in_a_prompt_is_refused(wire: Wire) -> None:
    first = [[TOKENIZED]] if wire.asks_first else []
    with Faulty(*first, [HANG]) as server, wire.make(server.url) as engine, pytest.raises(InvalidRequest):
        play(engine.generate(GenerationRequest(Prompt("\ud800", ()), GREEDY)))


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port", "http://host:99999"])
def test_an_address_that_is_invalid(wire: Wire, url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wire.make(url)
    assert caught.value.param == "url"
