"""Limits for the answers of a server: only from the requested address, not compressed, and not too large."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from time import time
from typing import Any, Protocol

from gemma_tools.engines.numbers import check_least
from gemma_tools.errors import EngineProtocolError, EngineRejected

MAX_LINE_BYTES = 16 * 2**20
"""The longest line of an answer, by default."""
MAX_ANSWER_BYTES = 256 * 2**20
"""The longest answer, by default."""

_EVENT_LINES = 100
"""The maximum number of lines of a server-sent event. Servers' events have two, and openai 2 copies an event with each line."""


class Headers(Protocol):
    """The headers of any client: found by name, in any case."""

    def get(self, name: str, /) -> str | None:
        """The header's value; None if there is none."""


@dataclass(frozen=True, slots=True)
class Size:
    """The maximum size of an answer, in bytes: of each line, and of all of it."""

    line: int
    answer: int

    def __post_init__(self) -> None:
        check_least(1, max_line_bytes=self.line, max_answer_bytes=self.answer)


class Meter:
    """Counts one answer from `where` as it arrives, and refuses it if it is larger than `size`."""

    def __init__(self, size: Size, where: str) -> None:
        self._size = size
        self._where = where
        self._all = self._line = 0

    def add(self, piece: bytes) -> None:
        """Count `piece`.

        Raises:
            EngineProtocolError: a line or the whole answer is too long.
        """
        self._all += len(piece)
        first, *others = piece.split(b"\n")
        self._line += len(first)
        longest = max(self._line, *map(len, others)) if others else self._line
        if others:
            self._line = len(others[-1])
        if self._all > self._size.answer:
            raise self._too_long("an answer", self._size.answer, "max_answer_bytes")
        if longest > self._size.line:
            raise self._too_long("a line", self._size.line, "max_line_bytes")

    def _too_long(self, what: str, most: int, option: str) -> EngineProtocolError:
        return EngineProtocolError(f"{self._where} sent {what} of more than {most} bytes; the engine's {option} sets the limit")


def refuse_head(status: int, headers: Headers, where: str) -> None:
    """Refuse redirects and compressed answers.

    Raises:
        EngineRejected: the server redirects to another address.
        EngineProtocolError: the answer is compressed: a small answer could become huge.
    """
    if 300 <= status < 400:
        place = str(headers.get("location") or "another address")[:500]
        message = f"{where} redirects to {place} (status {status}); prompts are sent only to the configured url: change the url"
        raise EngineRejected(message, status=status)
    if (coding := headers.get("content-encoding") or "identity") != "identity":
        raise EngineProtocolError(f"{where} answered in the encoding {coding[:100]!r}, but no encoding was requested")


def retry_after(headers: Headers) -> float | None:
    """The seconds in `Retry-After`, a number or a date (RFC 9110, 10.2.3); None if there is none."""
    said = headers.get("retry-after") or ""
    try:
        seconds = float(said) if said.strip().isdecimal() else parsedate_to_datetime(said).timestamp() - time()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds)


def response_hook(size: Size, where: str) -> Callable[[Any], Awaitable[None]]:
    """Limits the answers of an asynchronous client of httpx, or httpx2, to `size`, as an event hook for responses.

    The client gets whole lines: some clients copy an unfinished line with every chunk.
    """

    async def hook(response: Any) -> None:
        refuse_head(response.status_code, response.headers, where)
        base = next(kind for kind in type(response.stream).__mro__ if kind.__name__ == "AsyncByteStream")
        events = response.headers.get("content-type", "").startswith("text/event-stream")
        response.stream = _bounded(base)(response.stream, Meter(size, where), events)

    return hook


@cache
def _bounded(base: type) -> Callable[..., Any]:
    """`_Bounded` as a stream of the package that `base` comes from: the package accepts no others."""
    return type(_Bounded.__name__, (_Bounded, base), {})


class _Bounded:
    """The bytes of `stream` in whole lines, counted by `meter`; `events` says whether they are server-sent events."""

    def __init__(self, stream: Any, meter: Meter, events: bool) -> None:
        self._stream = stream
        self._meter = meter
        self._events = events
        self._event_lines = 0
        self._begun: list[bytes] = []  # the chunks of an unfinished line

    def __aiter__(self) -> AsyncIterator[bytes]:
        # Not a generator: httpx leaves those to the garbage collector, which may run in another thread while one is at work.
        self._pieces = aiter(self._stream)
        return self

    async def __anext__(self) -> bytes:
        async for piece in self._pieces:
            self._meter.add(piece)
            end = piece.rfind(b"\n") + 1
            self._begun.append(piece[:end] if end else piece)
            if end:
                whole, self._begun = b"".join(self._begun), [piece[end:]]
                return self._lines(whole)
        rest, self._begun = b"".join(self._begun), []
        if not rest:
            raise StopAsyncIteration
        return self._lines(rest)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    def _lines(self, whole: bytes) -> bytes:
        if self._events:
            first, *others = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n")
            begun = 0 if first.startswith(b"\n") else self._event_lines
            counts = [begun + first.count(b"\n"), *(event.count(b"\n") for event in others)]
            if max(counts) > _EVENT_LINES:
                raise EngineProtocolError(f"an event of the answer has more than {_EVENT_LINES} lines")
            self._event_lines = counts[-1]
        return whole
