"""`serve --inspect`: what was last asked and answered, shown to this machine alone."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gemma_tools.errors import InvalidRequest
from gemma_tools.inspection import Exchange, watch
from gemma_tools.openai_api.errors import Refused
from gemma_tools.server.app import create_app
from gemma_tools.server.recent import MOST, MOST_BYTES, Recent
from gemma_tools.server.settings import Settings
from support.serving import CALL, QUESTION, WEATHER, scripted, serving

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(scripted("Hello.", CALL, *["yes"] * 100), inspect=True) as url:
        yield url


def ask(url: str, text: str = "Hi", **more: Any) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    assert httpx.post(f"{url}/chat/completions", json=body).status_code == 200


def pages(url: str) -> str:
    return f"{url.removesuffix('/v1')}/inspect"


def test_what_was_asked_is_listed_and_shown(url: str) -> None:
    assert "No requests yet" in httpx.get(pages(url)).text
    ask(url, HOSTILE)
    ask(url, QUESTION[0]["content"], tools=[WEATHER])
    listing = httpx.get(pages(url))
    assert listing.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in listing.headers["content-security-policy"]
    assert listing.headers["cache-control"] == "no-store"
    assert re.findall(r'href="(/inspect/\d+)"', listing.text) == ["/inspect/2", "/inspect/1"]
    assert HOSTILE not in listing.text
    second = httpx.get(f"{pages(url)}/2").text
    assert "call get_weather" in second
    assert "declaration of get_weather" in second
    assert HOSTILE not in httpx.get(f"{pages(url)}/1").text
    for path in ("/3", "/x", "/0", "/1/2", "/²"):
        assert httpx.get(f"{pages(url)}{path}").status_code == 404
    assert httpx.post(pages(url)).status_code == 405


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "models.example"},
        {"origin": "http://evil.example"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_other_pages_and_names_are_refused(url: str, headers: dict[str, str]) -> None:
    assert httpx.get(pages(url), headers=headers).status_code == 403


def test_not_by_a_name_that_a_proxy_may_have() -> None:
    with serving(scripted("yes"), inspect=True, allowed_hosts=["models.example"]) as url:
        headers = {"host": "models.example"}
        assert httpx.get(f"{url}/models", headers=headers).status_code == 200
        assert httpx.get(pages(url), headers=headers).status_code == 403
        assert httpx.get(pages(url)).status_code == 200


def test_not_from_another_address() -> None:
    app = create_app(Settings.model_validate({"models": ["tiny"], "inspect": True}))

    def status(address: str) -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/inspect",
            "client": (address, 1),
            "headers": [(b"host", b"localhost")],
        }
        asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
        told: int = sent[0]["status"]
        return told

    assert (status("127.0.0.1"), status("::1"), status("192.0.2.7")) == (200, 200, 403)


def test_a_key_is_asked_for_where_there_are_keys() -> None:
    with serving(scripted("yes"), inspect=True, api_keys=["ключ"]) as url:
        asked = httpx.get(pages(url))
        assert asked.status_code == 401
        assert asked.headers["www-authenticate"].startswith("Basic ")
        basic = base64.b64encode("anybody:ключ".encode()).decode()
        assert httpx.get(pages(url), headers={"authorization": f"Basic {basic}"}).status_code == 200
        assert httpx.get(pages(url), headers={"authorization": "Basic ?"}).status_code == 401
        assert httpx.get(f"{url}/models", headers={"authorization": f"Basic {basic}"}).status_code == 401


def test_off_by_default_and_never_for_others() -> None:
    with serving(scripted("yes")) as url:
        assert httpx.get(pages(url)).status_code == 404
    with pytest.raises(InvalidRequest, match=r"only on 127\.0\.0\.1"):
        create_app(Settings.model_validate({"models": ["tiny"], "inspect": True, "host": "0.0.0.0", "api_keys": "k"}))


def exchange() -> Exchange:
    model, seen = scripted("yes"), list[Exchange]()
    model.on_exchange = seen.append
    model.run(QUESTION, tools=[WEATHER])
    return seen[0]


def kept(recent: Recent) -> list[int]:
    return [int(number) for number in re.findall(rb'href="/inspect/(\d+)"', recent.answer("GET", "/inspect").body)]


def test_the_oldest_go_first() -> None:
    recent, one = Recent(), exchange()
    for _ in range(MOST + 3):
        recent.add(one)
    assert kept(recent) == list(range(MOST + 3, 3, -1))
    with pytest.raises(Refused):
        recent.answer("GET", "/inspect/3")


def test_memory_is_bounded() -> None:
    recent, one = Recent(), exchange()
    half = replace(one, text="x" * (MOST_BYTES // 5))
    for _ in range(5):
        recent.add(half)
    assert kept(recent) == [5, 4]
    recent.add(replace(one, text="x" * MOST_BYTES))
    assert kept(recent) == [5, 4]
    recent.add(replace(one, text="x" * (MOST_BYTES // 2 - 10_000)))
    assert kept(recent) == [6]


def test_watching_and_serving_do_not_disturb_each_other() -> None:
    model, seen = scripted("yes"), list[Exchange]()
    model.on_exchange = seen.append
    with watch(model):
        pass
    model.run(QUESTION)
    assert len(seen) == 1
