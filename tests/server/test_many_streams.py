"""Hundreds of streams at once: each gets its own answer, whole, and nothing of them is left."""

from __future__ import annotations

import asyncio
import json
import os
from threading import Barrier, Event
from time import monotonic

import httpx
import pytest

from gemma_tools import FunctionGemmaModel
from gemma_tools.engines.base import Cancellation, Generation, GenerationRequest, Pieces
from support.serving import EchoEngine, serving

MANY = 200


class TogetherEngine(EchoEngine):
    """Says again what stands between << and >>, word by word, once all `together` have been asked."""

    def __init__(self, together: Barrier) -> None:
        self._together = together

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Echo the prompt."""
        self._together.wait(240)
        for piece in super().generate(request, cancel=cancel):
            if cancel and cancel.cancelled:
                break
            yield piece
        return Generation()


def words(number: int) -> str:
    return " ".join(f"{number}.{word}" for word in range(20))


async def ask(port: int, number: int, leaves: bool) -> str:
    """The text of one stream, and how it ended; a caller that `leaves` does so after the first words."""
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": f"<<{words(number)}>>"}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}Content-Type: application/json\r\n\r\n{body}".encode())
    text = ""
    while line := await reader.readline():
        if line.startswith(b"data: {"):
            for choice in json.loads(line.removeprefix(b"data: "))["choices"]:
                text += choice["delta"].get("content") or ""
            if leaves and text:
                writer.transport.abort()
                return "left"
        elif line.startswith(b"data: [DONE]"):
            text += "DONE"
    writer.close()
    return text


async def ask_all(port: int) -> list[str]:
    return await asyncio.gather(*(ask(port, number, leaves=number % 3 == 0) for number in range(MANY)))


def held() -> tuple[int, int]:
    """The threads and descriptors of this process."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def no_more_than(before: tuple[int, int]) -> bool:
    return all(now <= then for now, then in zip(held(), before, strict=True))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at /proc")
def test_hundreds_of_streams_get_their_own_answers() -> None:
    model = FunctionGemmaModel("m", engine=TogetherEngine(Barrier(MANY)))
    with serving(model, concurrency=MANY, queue=0) as url:
        assert httpx.get(f"{url}/models").status_code == 200
        before = held()
        for _ in range(2):
            told = asyncio.run(ask_all(httpx.URL(url).port or 0))
            assert told == ["left" if number % 3 == 0 else f"{words(number)} DONE" for number in range(MANY)]
        end = monotonic() + 120
        while not no_more_than(before) and monotonic() < end:
            Event().wait(0.05)
        assert no_more_than(before)
