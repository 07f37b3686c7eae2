"""What all engines behind a network have in common: deadlines, retries, and one typed error for each failure."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from gemma_tools.engines.background import Tasks
from gemma_tools.engines.base import Cancellation, ChatPiece, Generation
from gemma_tools.errors import (
    ContextExceeded,
    EngineError,
    EngineProtocolError,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
)

T = TypeVar("T")

P = TypeVar("P", str, ChatPiece)

Answer: TypeAlias = AsyncGenerator[P | Generation, None]
"""What a client makes of one answer: its pieces, and a `Generation` as the last item."""

CONNECT_TIMEOUT = 10.0
"""Seconds until a server that does not even accept the connection counts as not there."""

_PAUSE = 0.25
_TOO_LONG = re.compile(r"(exceed|maximum|longer|too (long|large)).*context|context.*(exceed|longer|only)", re.I | re.S)
"""How servers say that a prompt is longer than the context; there is no common code for it."""

_TRANSIENT = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, and how often to try.

    `timeout` is the longest silence in seconds: until the first piece, and between pieces; None stands for MODEL_TIMEOUT
    from the environment, or 180. `retries` more attempts follow a lost connection or a busy server (429, 502, 503, 504)
    while no piece has been seen, after a pause that doubles each time.
    """

    timeout: float | None
    retries: int

    @property
    def seconds(self) -> float:
        """The longest silence.

        Raises:
            InvalidRequest: MODEL_TIMEOUT is no number.
        """
        if self.timeout is not None:
            return self.timeout
        try:
            return float(os.environ.get("MODEL_TIMEOUT", "180"))
        except ValueError:
            raise InvalidRequest("give a number of seconds", param="MODEL_TIMEOUT") from None


def checked_url(url: str) -> str:
    """`url` without a trailing slash; `http://` is put before a bare host.

    Raises:
        InvalidRequest: it is no HTTP address.
    """
    whole = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(whole)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise InvalidRequest(f"{url!r} is no address of an HTTP server", param="url")
    return whole.rstrip("/")


def through_proxy(url: str) -> bool:
    """Whether the environment's proxy settings concern `url`; a server on this machine is never behind a proxy."""
    return urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1")


def play(
    tasks: Tasks,
    ask: Callable[[], Answer[P]],
    *,
    engine: str,
    patience: Patience,
    fault: Callable[[Exception], EngineError],
    cancel: Cancellation | None,
) -> Generator[P, None, Generation]:
    """Yield the pieces of `ask()` and return its `Generation`.

    `fault` says what an exception of the client means. Each attempt calls `ask` anew. A generation that `cancel` ended
    counts as stopped.

    Raises:
        EngineError: with the text that had arrived.
    """
    text: list[str] = []
    try:
        for item in tasks.stream(lambda: _attempts(ask, patience, fault), cancel):
            if isinstance(item, Generation):
                return item
            text.append(item if isinstance(item, str) else item.content)
            yield item
    except EngineError as error:
        error.engine, error.text = engine, "".join(text)
        raise
    return Generation()


def call(
    tasks: Tasks,
    work: Callable[[], Coroutine[Any, Any, T]],
    *,
    engine: str,
    patience: Patience,
    fault: Callable[[Exception], EngineError],
) -> T:
    """The result of `work()`, a small question to the server; it is not asked again.

    Raises:
        EngineError: it could not be answered.
    """
    seconds = patience.seconds

    async def attempt() -> T:
        try:
            async with asyncio.timeout(seconds):
                return await work()
        except Exception as error:
            raise _typed(error, seconds, fault) from error

    try:
        return tasks.run(attempt)
    except EngineError as error:
        error.engine = engine
        raise


async def _attempts(ask: Callable[[], Answer[P]], patience: Patience, fault: Callable[[Exception], EngineError]) -> Answer[P]:
    begun, attempt, seconds = False, 0, patience.seconds
    while True:
        try:
            async with aclosing(ask()) as answer:
                while True:
                    async with asyncio.timeout(seconds):
                        item = await anext(answer, None)
                    if item is None:
                        raise EngineProtocolError("the answer broke off before its end")
                    if item != "":
                        begun = True
                        yield item
                    if isinstance(item, Generation):
                        return
        except InvalidRequest:
            raise
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"{error.object[error.start]!r} is no character", param="messages") from None
        except Exception as error:
            typed = _typed(error, seconds, fault)
            if begun or attempt == patience.retries or not _passing(typed):
                raise typed from (None if typed is error else error)
        await asyncio.sleep(_PAUSE * 2**attempt)
        attempt += 1


def _typed(error: Exception, seconds: float, fault: Callable[[Exception], EngineError]) -> EngineError:
    if isinstance(error, EngineError):
        return error
    if isinstance(error, TimeoutError):
        return EngineTimeout(f"nothing came for {seconds:g} seconds")
    return fault(error)


def _passing(error: EngineError) -> bool:
    """Whether the same request may well succeed a little later."""
    return isinstance(error, EngineUnavailable) or (isinstance(error, EngineRejected) and error.status in _TRANSIENT)


def transport_fault(error: BaseException, where: str) -> EngineError | None:
    """What an exception of httpx, or of its successor httpx2, means; None if it is none of theirs.

    The classes of both carry the same names, and only one of the two packages may be installed.
    """
    names = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.split(".")[0] in ("httpx", "httpx2")}
    if "ConnectTimeout" in names or "ConnectError" in names:
        return EngineUnavailable(f"no connection to {where}: {error}")
    if "TimeoutException" in names:
        return EngineTimeout(f"{where} did not answer in time")
    if "RemoteProtocolError" in names and "disconnected" not in str(error) and "closed" not in str(error):
        return EngineProtocolError(f"{where} does not speak HTTP: {error}")
    if "TransportError" in names:
        return EngineUnavailable(f"the connection to {where} broke: {error}")
    if names:
        return EngineProtocolError(f"{where} answered in a way that is not understood: {error}")
    return None


def status_fault(status: int, message: str, where: str) -> EngineError:
    """What an error status means. `message` is the server's own."""
    said = f"{where} answered with status {status}: {message.strip()[:500]}"
    if status == 404:
        return ModelNotFound(said)
    if status in (400, 413) and _TOO_LONG.search(message):
        return ContextExceeded(said)
    return EngineRejected(said, status=status)
