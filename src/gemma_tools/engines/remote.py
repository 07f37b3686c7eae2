"""What all HTTP engines share: deadlines, retries, and one typed error for each failure."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from random import uniform
from threading import Lock
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

import httpx

from gemma_tools.engines.base import Cancellation, ChatPiece, Generation, Usage
from gemma_tools.engines.faults import no_character
from gemma_tools.errors import (
    EngineError,
    EngineProtocolError,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    InvalidRequest,
    QuotaExceeded,
)
from gemma_tools.observe import Retried, tell

T = TypeVar("T")

P = TypeVar("P", str, ChatPiece)

Answer: TypeAlias = Generator[P | Generation, None, None]
"""What a client makes from one answer: its chunks, and a `Generation` as the last item."""

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a server that does not even accept the connection."""

FRESH = {"Connection": "close", "Accept-Encoding": "identity"}
"""Headers for every request: no connection is reused, and no answer is compressed.

Servers close idle connections after a few seconds (uvicorn and llama-server after 5), and a request sent at that moment is
lost. Compared with a model, a new connection costs nothing. A compressed answer could become huge.
"""

ANY_NUMBER = httpx.Limits(max_connections=None)
"""As many connections at once as there are callers: the server makes them wait."""

LONGEST_PAUSE = 60.0
"""If a server asks for a longer pause, there is no retry: seconds."""

_PAUSE = 0.25
_LONGEST_DOUBLED = 8.0
_TRANSIENT = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, and how often to retry.

    `timeout` is the longest silence in seconds: before the first chunk, and between chunks; None means MODEL_TIMEOUT from the
    environment, or 180, and infinity means no limit. There are up to `retries` retries after a lost connection, an answer that
    ends before any data, or a busy server (429, 502, 503, 504), but only before the first chunk. The pause before a retry is as
    long as the server asks for, up to `LONGEST_PAUSE`, or else doubles each time. A random part of up to a quarter is added, so
    that many clients do not return at the same time.
    """

    timeout: float | None
    retries: int

    @property
    def seconds(self) -> float | None:
        """The longest silence; None: no limit.

        Raises:
            InvalidRequest: MODEL_TIMEOUT is not a number.
        """
        if self.timeout is not None:
            return None if math.isinf(self.timeout) else self.timeout
        try:
            return float(os.environ.get("MODEL_TIMEOUT", "180"))
        except ValueError:
            raise InvalidRequest("must be a number of seconds", param="MODEL_TIMEOUT") from None


def checked_url(url: str) -> str:
    """`url` without a trailing slash; `http://` is added to a bare host.

    Raises:
        InvalidRequest: it is not an HTTP address.
    """
    whole = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(whole)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise InvalidRequest(f"{url!r} is not the address of an HTTP server", param="url")
    return whole.rstrip("/")


def through_proxy(url: str) -> bool:
    """Whether the environment's proxy settings apply to `url`; a server on this machine never uses a proxy."""
    return urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What ends a request early: `stop`, and `seconds` of silence (None: no limit)."""

    stop: Cancellation
    seconds: float | None


class Remote:
    """One engine's work on its server: all HTTP engines run their requests through this.

    `engine` is the engine's name; `fault` translates an exception of its client; `close` closes the client, and the items of
    `held` afterwards. None of these may refer to the engine itself, because it could then not be freed by garbage collection.
    """

    def __init__(
        self,
        engine: str,
        patience: Patience,
        fault: Callable[[Exception], EngineError],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.held: list[object] = []
        self._engine = engine
        self._patience = patience
        self._fault = fault
        self._running = _Running()
        self._finalizer = weakref.finalize(self, _shut, self._running, close, self.held)

    def play(self, ask: Callable[[Bounds], Answer[P]], cancel: Cancellation | None) -> Generator[P, None, Generation]:
        """Yield the chunks of `ask(...)` and return its `Generation`; each attempt calls `ask` again.

        A generation that `cancel` ended counts as stopped.

        Raises:
            EngineError: with the text that had arrived.
        """
        text: list[str] = []
        ended = Generation()
        try:
            with self._running.one(cancel) as stop, closing(self._attempts(ask, stop)) as items:
                for item in items:
                    if isinstance(item, Generation):
                        ended = item  # the loop ends when the connection is closed
                        continue
                    text.append(item if isinstance(item, str) else item.content)
                    yield item
        except EngineError as error:
            error.engine, error.text = self._engine, "".join(text)
            raise
        return ended

    def call(self, work: Callable[[Bounds], T]) -> T:
        """The result of `work(...)`, a small request to the server, without retries.

        Raises:
            EngineError: the request failed.
        """
        seconds = self._patience.seconds
        try:
            with self._running.one(None) as stop:
                try:
                    return work(Bounds(stop, seconds))
                except EngineError:
                    raise
                except Exception as error:
                    typed = _typed(error, seconds, self._fault)
                    raise typed from _cause(typed, error)
        except EngineError as error:
            error.engine = self._engine
            raise

    def close(self) -> None:
        """Stop running requests, and close the client. Safe at any time, in any thread, any number of times."""
        self._finalizer()

    def _attempts(self, ask: Callable[[Bounds], Answer[P]], stop: Cancellation) -> Answer[P]:
        begun, attempt, seconds = False, 0, self._patience.seconds
        while not stop.cancelled:
            ended = False
            try:
                with closing(ask(Bounds(stop, seconds))) as answer:
                    for item in answer:
                        if stop.cancelled:
                            return
                        if item is not None and not isinstance(item, (str, ChatPiece, Generation)):
                            raise EngineProtocolError(f"the server sent text that is not a string: {item!r:.100}")
                        if isinstance(item, Generation):
                            _check_counts(item.usage)
                        if item:
                            begun = True
                            yield item
                        if isinstance(item, Generation):
                            return
                ended = True  # this is how a proxy's answer ends if its server was lost
                raise EngineProtocolError("the connection ended before the end of the answer")
            except InvalidRequest:
                raise
            except UnicodeEncodeError as error:
                raise no_character(error) from None
            except Exception as error:
                if stop.cancelled:
                    return
                typed = _typed(error, seconds, self._fault)
                pause = _pause(typed, attempt)
                last = begun or attempt == self._patience.retries or pause > LONGEST_PAUSE
                if last or not (ended or _passing(typed)):
                    raise typed from _cause(typed, error)
                tell(Retried("engine_busy" if isinstance(typed, EngineRejected) else "engine_unavailable"))
            stop.wait(pause * uniform(1, 1.25))
            attempt += 1


class _Running:
    """The running requests of one engine. Once it is closed, there are none, and no new one may begin."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._closed = False
        self._stops: set[Cancellation] = set()

    @contextmanager
    def one(self, cancel: Cancellation | None) -> Iterator[Cancellation]:
        """What stops the request in this context: `cancel` does, and `close`, which is then an error.

        Raises:
            EngineUnavailable: the engine is closed, or was closed in the meantime.
        """
        stop = Cancellation()
        with self._lock:
            if self._closed:
                raise EngineUnavailable("the engine is closed")
            self._stops.add(stop)
        try:
            with cancel.calling(stop.cancel) if cancel else nullcontext():
                yield stop
        except Exception:
            if not self._closed:
                raise
        finally:
            with self._lock:
                self._stops.discard(stop)
        if self._closed:
            raise EngineUnavailable("the engine is closed")

    def close(self) -> None:
        """Stop the running requests."""
        with self._lock:
            self._closed = True
            stops = list(self._stops)
        for stop in stops:
            stop.cancel()


def _check_counts(usage: Usage) -> None:
    for count in (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens):
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
            raise EngineProtocolError(f"the server counted tokens as {count!r:.100}")


def _shut(running: _Running, close: Callable[[], None], held: list[object]) -> None:
    running.close()
    close()
    held.clear()


def _typed(error: Exception, seconds: float | None, fault: Callable[[Exception], EngineError]) -> EngineError:
    if isinstance(error, EngineError):
        return error
    if isinstance(error, TimeoutError):
        return EngineTimeout(f"no data arrived for {seconds:g} seconds")
    return fault(error)


def _cause(typed: EngineError, error: Exception) -> Exception | None:
    """The cause to show besides `typed`: only for an answer that was not understood. A client's traceback hides others."""
    return error if isinstance(typed, EngineProtocolError) and typed is not error else None


def _pause(error: EngineError, attempt: int) -> float:
    """The pause before the next attempt: as long as the server asks, else twice as long each time."""
    asked = error.retry_after if isinstance(error, EngineRejected) else None
    return min(_PAUSE * 2**attempt, _LONGEST_DOUBLED) if asked is None else max(asked, _PAUSE)


def _passing(error: EngineError) -> bool:
    """Whether the same request may succeed a little later."""
    busy = isinstance(error, EngineRejected) and error.status in _TRANSIENT and not isinstance(error, QuotaExceeded)
    return busy or isinstance(error, EngineUnavailable)
