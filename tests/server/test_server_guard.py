"""Callers that mean no good get nothing: from the outside, over real sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from gemma_tools.errors import InvalidRequest
from gemma_tools.openai_api.errors import Refused
from gemma_tools.server.app import create_app
from gemma_tools.server.limits import RateLimiter
from gemma_tools.server.settings import Settings
from support.serving import QUESTION, scripted, serving

BODY = {"model": "m", "messages": QUESTION}
KEYS = ["first-key", "second-key", "ключ"]


def post(url: str, **headers: str) -> httpx.Response:
    return httpx.post(f"{url}/chat/completions", json=BODY, headers={k.replace("_", "-"): v for k, v in headers.items()})


def code(response: httpx.Response) -> str:
    told: str = response.json()["error"]["code"]
    return told


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(scripted(*["yes"] * 100), max_body_bytes=10_000) as url:
        yield url


@pytest.fixture(scope="module")
def hasty() -> Iterator[str]:
    with serving(scripted("yes"), body_timeout=1) as url:
        yield url


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with serving(scripted(*["yes"] * 100), api_keys=KEYS) as url:
        yield url


@pytest.mark.parametrize("key", KEYS)
def test_a_key_opens(locked: str, key: str) -> None:
    for scheme in ("Bearer", "bearer"):
        assert httpx.get(f"{locked}/models", headers={"authorization": f"{scheme} {key}".encode()}).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer wrong",
        "Bearer first-ke",
        "Bearer first-key2",
        "Basic first-key",
        "first-key",
        "Bearer \xff",
    ],
)
def test_nothing_else_opens(locked: str, authorization: str) -> None:
    for path in ("models", "chat/completions", "responses", "nowhere"):
        method = "GET" if path == "models" else "POST"
        response = httpx.request(
            method, f"{locked}/{path}", headers={"authorization": authorization.encode("latin-1")}, json=BODY
        )
        assert (response.status_code, code(response)) == (401, "invalid_api_key")
        assert response.headers["www-authenticate"] == "Bearer"
        assert "m" not in response.json()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:1337", "127.0.0.1.evil.example", "localhost.evil.example", "[::2]", "]["]
)
def test_a_foreign_host_is_refused(url: str, host: str) -> None:
    assert (post(url, host=host).status_code, code(post(url, host=host))) == (403, "host_not_allowed")
    assert httpx.get(url.replace("/v1", "/health"), headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80"])
def test_ones_own_host_is_not(url: str, host: str) -> None:
    assert post(url, host=host).status_code == 200


def test_more_hosts_can_be_allowed() -> None:
    with serving(scripted("yes", "yes"), allowed_hosts=["gemma.local"]) as url:
        assert post(url, host="gemma.local:99").status_code == 200
        assert post(url, host="localhost").status_code == 200
        assert post(url, host="other.local").status_code == 403


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost:9",
        "http://127.0.0.1.evil.example",
        "file://",
        "http://[",
        "http://[::1",
    ],
)
def test_a_foreign_origin_is_refused(url: str, origin: str) -> None:
    response = post(url, origin=origin)
    assert (response.status_code, code(response)) == (403, "origin_not_allowed")
    asked = httpx.options(f"{url}/chat/completions", headers={"origin": origin, "access-control-request-method": "POST"})
    assert asked.status_code == 403
    for told in (response, asked):
        assert not [name for name in told.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": "sesame"}, 200),
        ({"x-api-key": "another", "authorization": "Bearer sesame"}, 200),
        ({"x-api-key": "", "authorization": "Bearer sesame"}, 200),
        ({"x-api-key": "sesame", "authorization": "Bearer another"}, 200),
        ({"x-api-key": "another", "authorization": "Bearer others"}, 401),
        ({"x-api-key": "another", "authorization": "Basic sesame"}, 401),
        ({"x-api-key": ""}, 401),
    ],
)
def test_the_key_may_be_in_either_header(headers: dict[str, str], status: int) -> None:
    with serving(scripted("yes"), api_keys=["sesame"]) as url:
        assert httpx.get(f"{url}/models", headers=headers).status_code == status


def test_an_origin_that_is_allowed_may_call_and_read() -> None:
    with serving(scripted("yes"), allowed_origins=["app://notes"]) as url:
        answer = post(url, origin="app://notes", sec_fetch_site="cross-site")
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "app://notes")
        assert {"x-request-id", "retry-after"} <= set(answer.headers["access-control-expose-headers"].split(", "))
        head = {"origin": "app://notes", "access-control-request-method": "POST", "access-control-request-headers": "x-a"}
        asked = httpx.options(f"{url}/chat/completions", headers=head)
        assert (asked.status_code, asked.headers["access-control-allow-headers"]) == (204, "x-a")
        assert "POST" in asked.headers["access-control-allow-methods"]
        assert post(url, origin="app://others").status_code == 403
        assert httpx.options(f"{url}/models", headers={**head, "host": "evil.example"}).status_code == 403


def test_every_origin_is_allowed_only_with_keys() -> None:
    with pytest.raises(InvalidRequest, match="api_keys"):
        create_app(Settings.model_validate({"models": ["tiny"], "allowed_origins": "*"}))
    with serving(scripted("yes"), allowed_origins=["*"], api_keys=["sesame"]) as url:
        assert post(url, origin="https://any.example").status_code == 401
        answer = post(url, origin="https://any.example", authorization="Bearer sesame")
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://any.example")


@pytest.mark.parametrize("site", ["cross-site", "same-site", "CROSS-SITE"])
def test_a_request_that_a_page_makes_elsewhere_is_refused(url: str, site: str) -> None:
    assert httpx.get(f"{url}/models", headers={"sec-fetch-site": site}).status_code == 403


def test_ones_own_origin_is_not(url: str) -> None:
    assert post(url, origin=url.removesuffix("/v1"), sec_fetch_site="same-origin").status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "text/plain; application/json"]
)
def test_a_body_must_say_that_it_is_json(url: str, kind: str) -> None:
    response = httpx.post(f"{url}/chat/completions", content=json.dumps(BODY), headers={"content-type": kind})
    assert (response.status_code, code(response)) == (415, "unsupported_media_type")


def test_a_body_may_name_its_charset(url: str) -> None:
    assert post(url, content_type="Application/JSON; charset=utf-8").status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 9000])
def test_a_body_that_is_not_a_json_object_is_refused(url: str, body: bytes) -> None:
    response = httpx.post(f"{url}/chat/completions", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, code(response)) == (400, "invalid_json")


def request(url: str, *headers: str) -> tuple[tuple[str, int], bytes]:
    """Where to connect to, and the head of a chat request."""
    parsed = httpx.URL(url)
    lines = ["POST /v1/chat/completions HTTP/1.1", f"Host: {parsed.host}:{parsed.port}", "Content-Type: application/json"]
    return (parsed.host, parsed.port or 0), "\r\n".join([*lines, "Connection: close", *headers, "", ""]).encode()


def answer(raw: socket.socket) -> bytes:
    """All that comes until the other side closes, or resets because it does not want the rest."""
    told = b""
    try:
        while piece := raw.recv(65536):
            told += piece
    except ConnectionResetError:
        pass
    return told


def read_to(raw: socket.socket, end: bytes) -> bytes:
    """What comes, as far as `end`."""
    told = b""
    while not told.endswith(end):
        piece = raw.recv(65536)
        assert piece, told
        told += piece
    return told


def test_a_long_body_is_refused_before_it_is_read(url: str) -> None:
    address, head = request(url, "Content-Length: 1000000000")
    with socket.create_connection(address) as raw:
        raw.sendall(head)
        told = answer(raw)
    assert b" 413 " in told
    assert b"request_too_large" in told


def test_a_body_that_grows_too_long_is_refused(url: str) -> None:
    address, head = request(url, "Transfer-Encoding: chunked")
    with socket.create_connection(address) as raw:
        raw.sendall(head + b"1000\r\n" + b" " * 4096 + b"\r\n1000\r\n" + b" " * 4096 + b"\r\n1000\r\n" + b" " * 4096 + b"\r\n")
        assert b" 413 " in answer(raw)


def test_a_body_that_does_not_come_is_not_waited_for(hasty: str) -> None:
    address, head = request(hasty, "Content-Length: 100")
    with socket.create_connection(address) as raw:
        raw.sendall(head + b"{")
        told = answer(raw)
    assert b" 408 " in told
    assert b"request_timeout" in told


@pytest.mark.parametrize("begun", [b"", b"P", b"POST /v1/chat/completions HTTP/1.1\r\nHost: local"])
def test_a_head_that_does_not_come_is_not_waited_for(hasty: str, begun: bytes) -> None:
    address, _ = request(hasty)
    with socket.create_connection(address) as raw:
        raw.sendall(begun)
        assert answer(raw) == b""


def test_a_second_head_that_does_not_come_is_not_waited_for(hasty: str) -> None:
    address, _ = request(hasty)
    with socket.create_connection(address) as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in read_to(raw, b'{"status":"ok"}')
        raw.sendall(b"GET /he")
        assert answer(raw) == b""


def test_a_refused_body_is_not_read_for_ever(hasty: str) -> None:
    address, _ = request(hasty)
    head = b"POST /v1/models HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000000000\r\n\r\n"
    with socket.create_connection(address) as raw:
        raw.sendall(head)
        assert b" 403 " in read_to(raw, b"}}")
        raw.sendall(b" ")
        assert answer(raw) == b""


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\r\n" * 50_000, b"A" * 200_000])
def test_garbage_is_not_answered_with_anything_of_ours(hasty: str, garbage: bytes) -> None:
    address, _ = request(hasty)
    with socket.create_connection(address) as raw:
        try:
            raw.sendall(garbage)
        except (ConnectionResetError, BrokenPipeError):
            return
        told = answer(raw)
    assert told == b"" or b" 400 " in told.splitlines()[0]


def test_headers_cannot_be_smuggled_into_the_answer(url: str) -> None:
    response = httpx.get(f"{url}/models/x%0d%0aset-cookie:%20a=b")
    assert response.status_code == 404
    assert "set-cookie" not in response.headers


def test_the_error_for_too_many_requests_says_when_to_try_again() -> None:
    with serving(scripted("yes", "yes", "yes"), requests_per_minute=2) as url:
        assert [post(url).status_code for _ in range(3)] == [200, 200, 429]
        response = post(url)
        assert code(response) == "rate_limit_exceeded"
        assert 0 < int(response.headers["retry-after"]) <= 60
        assert "x-should-retry" not in response.headers


def test_wrong_keys_are_counted_by_address_and_right_ones_by_key() -> None:
    with serving(scripted("yes", "yes", "yes"), requests_per_minute=2, api_keys=KEYS) as url:
        assert [post(url, authorization="Bearer guess").status_code for _ in range(3)] == [401, 401, 429]
        assert post(url, authorization=f"Bearer {KEYS[0]}").status_code == 200
        assert [post(url, authorization=f"Bearer {KEYS[1]}").status_code for _ in range(3)] == [200, 200, 429]


def test_tokens_are_charged_afterwards() -> None:
    with serving(scripted("yes", "yes"), tokens_per_minute=1) as url:
        assert [post(url).status_code for _ in range(2)] == [200, 429]


class Clock:
    """Time that goes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def admitted(limiter: RateLimiter, caller: str) -> str | None:
    """None, or for how many seconds the caller is sent away."""
    try:
        limiter.admit(caller)
    except Refused as refused:
        return refused.failure.headers["retry-after"]
    return None


def test_a_limit_refills_evenly() -> None:
    clock = Clock()
    limiter = RateLimiter(2, None, clock)
    assert [admitted(limiter, "a") for _ in range(3)] == [None, None, "30"]
    assert admitted(limiter, "b") is None
    clock.now = 29
    assert admitted(limiter, "a") == "1"
    clock.now = 30
    assert [admitted(limiter, "a") for _ in range(2)] == [None, "30"]
    clock.now = 1000
    assert [admitted(limiter, "a") for _ in range(3)] == [None, None, "30"]


def test_a_debt_of_tokens_is_paid_by_waiting() -> None:
    clock = Clock()
    limiter = RateLimiter(None, 60, clock)
    assert admitted(limiter, "a") is None
    limiter.charge("a", 159)
    assert admitted(limiter, "a") == "100"
    clock.now = 100
    assert admitted(limiter, "a") is None


def test_callers_that_come_once_are_forgotten_and_debts_are_not() -> None:
    clock = Clock()
    limiter = RateLimiter(1, 60, clock)
    limiter.charge("debtor", 10_000)
    for i in range(20_000):
        clock.now = i / 100
        limiter.admit(f"caller {i}")
    assert len(limiter._accounts) < 15_000
    assert admitted(limiter, "debtor") is not None


@pytest.mark.parametrize(
    ("target", "status", "told"),
    [
        (b"http://localhost/v1/models", b" 200 ", b'"object":"list"'),
        (b"HTTP://elsewhere.example/health", b" 200 ", b'{"status":"ok"}'),
        (b"/v1/models/%0a%0dX", b" 404 ", b'"model_not_found"'),
        (b"/nothing%0a", b" 404 ", b'"not_found"'),
        (b"*", b" 404 ", b'"not_found"'),
    ],
)
def test_odd_targets_are_answered_as_all_others(url: str, target: bytes, status: bytes, told: bytes) -> None:
    address, _ = request(url)
    with socket.create_connection(address) as raw:
        raw.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % target)
        answered = answer(raw)
    assert status in answered
    assert told in answered


def test_a_number_of_thousands_of_digits_is_not_quoted_in_full(url: str) -> None:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": %s}' % (b"9" * 4200)
    address, head = request(url, f"Content-Length: {len(body)}")
    with socket.create_connection(address) as raw:
        raw.sendall(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
        answered = answer(raw)
    assert b" 400 " in answered
    assert len(answered) < 1000
