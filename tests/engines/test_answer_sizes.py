"""What servers may answer: not from another address, not compressed, not without an end; and when they are asked again."""

from __future__ import annotations

import gzip
import json
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from gemma_tools.backends import create_model
from gemma_tools.engines import Engine, GenerationRequest
from gemma_tools.errors import EngineProtocolError, EngineRejected, InvalidRequest
from support.servers.loopback import Faulty, chunked, http
from support.tiny import GREEDY, play, small_talk
from support.wires import TOKENIZED, WIRES, Wire, ask

PIECE = b"x" * 1000


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


def busy(*headers: bytes, status: int = 429) -> bytes:
    return http(status, b'{"error": "busy"}').replace(b"\r\n\r\n", b"".join(b"\r\n" + h for h in headers) + b"\r\n\r\n", 1)


def begun(wire: Wire) -> bytes:
    """The beginning of a line without its end."""
    return wire.piece("?").partition(b"?")[0]


def test_a_line_without_an_end(wire: Wire) -> None:
    endless = chunked(wire.piece("half"), begun(wire), *[PIECE] * 100, kind=wire.kind, end=False)
    pieces, error, _ = ask(wire, [endless], max_line_bytes=50_000)
    assert pieces == ["half"]
    assert isinstance(error, EngineProtocolError)
    assert "max_line_bytes" in str(error)


def test_an_answer_without_an_end(wire: Wire) -> None:
    many = [wire.piece("word ")] * 3000
    pieces, error, _ = ask(wire, [chunked(*many, kind=wire.kind, end=False)], max_answer_bytes=50_000)
    assert set(pieces) == {"word "}
    assert isinstance(error, EngineProtocolError)
    assert "max_answer_bytes" in str(error)


@pytest.mark.parametrize("option", ["max_line_bytes", "max_answer_bytes"])
def test_a_model_takes_the_sizes_of_its_engine(option: str) -> None:
    wire = WIRES["ollama"]
    answer = chunked(wire.piece("x" * 3000), wire.last, kind=wire.kind)
    options: Any = {option: 2000}
    with (
        Faulty([answer]) as server,
        create_model("gemma3:4b", url=server.url, max_retries=0, **options) as model,
        pytest.raises(EngineProtocolError, match=option),
    ):
        model.run([{"role": "user", "content": "hi"}])


def test_what_is_as_large_as_it_may_be_is_read(wire: Wire) -> None:
    text = "x" * 40_000
    pieces, error, _ = ask(wire, [chunked(wire.piece(text), wire.last, kind=wire.kind)], max_line_bytes=50_000)
    assert (pieces, error) == ([text], None)


def test_an_error_of_any_size(wire: Wire) -> None:
    _, error, _ = ask(wire, [http(500, PIECE * 100)], max_line_bytes=50_000)
    assert isinstance(error, EngineProtocolError)


@pytest.mark.parametrize("size", ["max_line_bytes", "max_answer_bytes"])
def test_a_size_that_is_invalid(wire: Wire, size: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wire.make("http://127.0.0.1:1", **{size: 0})
    assert caught.value.param == size


def test_an_event_of_any_number_of_lines() -> None:
    wire = WIRES["openai"]
    stream = chunked(wire.piece("half"), *[b"data: \n"] * 1000, wire.piece("other"), wire.last, kind=wire.kind)
    pieces, error, _ = ask(wire, [stream])
    assert pieces == ["half"]
    assert isinstance(error, EngineProtocolError)


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_events_are_cut_anywhere(ends: bytes) -> None:
    wire = WIRES["openai"]
    data = b"".join([*(wire.piece(f"{number} ") for number in range(150)), wire.last]).replace(b"\n", ends)
    for size in (1, 7, len(data)):
        cut = [data[start : start + size] for start in range(0, len(data), size)]
        pieces, error, _ = ask(wire, [chunked(*cut, kind=wire.kind)])
        assert ("".join(pieces), error) == ("".join(f"{number} " for number in range(150)), None)


def test_a_compressed_answer_is_refused(wire: Wire) -> None:
    """A small one could become one of any size; it is asked for none."""
    body = gzip.compress(wire.piece("half") + b" " * 10_000_000 + wire.last)
    _, error, server = ask(wire, [chunked(body, kind=wire.kind + b"\r\nContent-Encoding: gzip")])
    assert isinstance(error, EngineProtocolError)
    assert "gzip" in str(error)
    assert b"accept-encoding: identity" in server.requests[-1].lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_prompt_goes_to_no_other_address(wire: Wire, status: int) -> None:
    good = chunked(wire.piece("a"), wire.last, kind=wire.kind)
    with Faulty([good]) as other:
        redirect = b"HTTP/1.1 %d Some\r\nLocation: %s/x\r\nContent-Length: 0\r\n\r\n" % (status, other.url.encode())
        _, error, _ = ask(wire, [redirect])
        assert other.requests == []
    assert isinstance(error, EngineRejected)
    assert error.status == status
    assert other.url in str(error)


def test_a_pause_is_as_long_as_the_server_asks(wire: Wire, pauses: list[float]) -> None:
    good = chunked(wire.piece("a"), wire.last, kind=wire.kind)
    answers = [[busy(b"Retry-After: 2")], [busy(b"Retry-After: " + formatdate(time() + 30, usegmt=True).encode())], [good]]
    assert ask(wire, *answers, max_retries=2)[:2] == (["a"], None)
    assert 2 <= pauses[0] <= 2.5
    assert 20 <= pauses[1] <= 37.5


@pytest.mark.parametrize("header", [b"Retry-After: soon", b"Retry-After: -5", b"Retry-After:", b"X: 1"])
def test_pauses_double_where_the_server_asks_for_none(wire: Wire, pauses: list[float], header: bytes) -> None:
    _, error, server = ask(wire, [busy(header)], max_retries=8)
    assert isinstance(error, EngineRejected)
    assert error.retry_after is None
    assert len(server.requests) == 9 + wire.asks_first
    assert [0.25 <= pauses[0] <= 0.32, 0.5 <= pauses[1] <= 0.63, max(pauses) <= 10] == [True] * 3


@pytest.mark.parametrize("asked", [b"86400", b"9" * 400])
def test_a_server_that_asks_for_a_long_pause_is_not_asked_again(wire: Wire, pauses: list[float], asked: bytes) -> None:
    _, error, server = ask(wire, [busy(b"Retry-After: " + asked)], max_retries=3)
    assert isinstance(error, EngineRejected)
    assert (len(server.requests), pauses) == (1 + wire.asks_first, [])
    assert error.retry_after is not None
    assert error.retry_after >= 86400


def test_a_count_of_tokens_is_bounded_too() -> None:
    answer = http(200, json.dumps({"tokens": list(range(50_000))}).encode())
    engine = WIRES["llama-server"].make
    with Faulty([answer]) as server, engine(server.url, max_answer_bytes=50_000) as asked:
        refused = _refusal(asked)
    assert "max_answer_bytes" in refused


def _refusal(engine: Engine) -> str:
    with pytest.raises(EngineProtocolError) as refused:
        engine.count_tokens("some text")
    return str(refused.value)


def test_a_stream_in_small_chunks_is_read_in_linear_time(wire: Wire) -> None:
    """Ten megabytes in pieces of a kilobyte: copied with every piece, they would be fifty gigabytes."""
    text = "x" * 10_000_000
    line = wire.piece(text)
    cut = [line[start : start + 1000] for start in range(0, len(line), 1000)]
    first = [[TOKENIZED]] if wire.asks_first else []
    with Faulty(*first, [chunked(*cut, wire.last, kind=wire.kind)]) as server, wire.make(server.url) as engine:
        assert play(engine.generate(GenerationRequest(small_talk(), GREEDY)))[0] == [text]
