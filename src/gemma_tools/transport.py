"""The OpenAI and Anthropic SDKs in process: real clients whose HTTP requests never leave the interpreter.

`GemmaTransport` supports `httpx` (openai 2.x) and `httpx2` (openai 3.x, anthropic). Neither checks the class of a transport,
but both require their own stream classes, so everything in a response is created with the package of the request.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from functools import cache
from math import inf
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from gemma_tools.backends import create_model
from gemma_tools.backends.base import BaseModelBackend
from gemma_tools.engines.base import Cancellation
from gemma_tools.errors import MissingDependency
from gemma_tools.openai_api.responses_store import ResponseStore
from gemma_tools.openai_api.wire import ApiRequest, ApiResponse, ApiSettings
from gemma_tools.policy import Unknown
from gemma_tools.routes import ahandle, handle

if TYPE_CHECKING:
    import anthropic
    import openai

Model: TypeAlias = str | BaseModelBackend
"""A backend, or a name that `create_model` knows."""

BASE_URL = "http://gemma-tools.invalid/v1"
"""The address that the SDK uses. No host can have this name (RFC 2606), so nothing reaches a network by mistake."""

_OPTIONS: Mapping[str, Any] = {"base_url": BASE_URL, "api_key": "in-process", "max_retries": 0}
_ANTHROPIC_OPTIONS: Mapping[str, Any] = {**_OPTIONS, "base_url": BASE_URL.removesuffix("/v1")}


def openai_client(models: Model | Mapping[str, Model], *, unknown: Unknown = "warn", **options: Any) -> openai.OpenAI:
    """An OpenAI client that `models` answer in this process.

    `models` is one model, served under its own name, or several by the names that requests use. Unknown fields and tools of a
    request are left out with a warning; with `unknown="refuse"` they are an error. `options` are passed to `openai.OpenAI`.
    Retries are off unless `max_retries` turns them on, because the same model would fail in the same way. Closing the client
    closes the models that were given by name.

    Raises:
        UnknownName: a name that `create_model` does not know.
    """
    import openai

    http_client: Any = openai.DefaultHttpxClient(transport=_transport(models, unknown))
    return openai.OpenAI(http_client=http_client, **{**_OPTIONS, **options})


def async_openai_client(
    models: Model | Mapping[str, Model], *, unknown: Unknown = "warn", **options: Any
) -> openai.AsyncOpenAI:
    """`openai_client` for asyncio. The models run in their own threads, so they do not block the event loop."""
    import openai

    http_client: Any = openai.DefaultAsyncHttpxClient(transport=_transport(models, unknown))
    return openai.AsyncOpenAI(http_client=http_client, **{**_OPTIONS, **options})


def anthropic_client(models: Model | Mapping[str, Model], *, unknown: Unknown = "warn", **options: Any) -> anthropic.Anthropic:
    """`openai_client` for Anthropic's SDK: `client.messages.create(...)`, streams and the tool runner.

    Raises:
        MissingDependency: the package anthropic is not installed.
        UnknownName: a name that `create_model` does not know.
    """
    sdk = _anthropic()
    http_client: Any = sdk.DefaultHttpxClient(transport=_transport(models, unknown))
    client: anthropic.Anthropic = sdk.Anthropic(http_client=http_client, **{**_ANTHROPIC_OPTIONS, **options})
    return client


def async_anthropic_client(
    models: Model | Mapping[str, Model], *, unknown: Unknown = "warn", **options: Any
) -> anthropic.AsyncAnthropic:
    """`anthropic_client` for asyncio."""
    sdk = _anthropic()
    http_client: Any = sdk.DefaultAsyncHttpxClient(transport=_transport(models, unknown))
    client: anthropic.AsyncAnthropic = sdk.AsyncAnthropic(http_client=http_client, **{**_ANTHROPIC_OPTIONS, **options})
    return client


def _anthropic() -> Any:
    try:
        import anthropic
    except ImportError:
        raise MissingDependency("anthropic", "anthropic", "an Anthropic client") from None
    return anthropic


if TYPE_CHECKING:
    import httpx
    import httpx2

    class _Transport(httpx.BaseTransport, httpx.AsyncBaseTransport, httpx2.BaseTransport, httpx2.AsyncBaseTransport):
        """What type checkers take `GemmaTransport` for. When it runs it is of no package: only one may be installed."""

        def handle_request(self, request: Any) -> Any: ...
        async def handle_async_request(self, request: Any) -> Any: ...
else:
    _Transport = object


class GemmaTransport(_Transport):
    """A transport for `Client` and `AsyncClient` of httpx and httpx2, answered by models in this process.

    The client's read timeout limits each wait: for a whole answer, and for each chunk of a stream. Leaving a stream early stops
    the engine. Paths are those of `gemma_tools.routes`, with any host.
    """

    def __init__(self, models: Model | Mapping[str, Model], *, unknown: Unknown = "warn") -> None:
        """Serve `models`: one under its own name, or several by the names given.

        Unknown fields and tools of a request are left out with a warning; with `unknown="refuse"` they are errors.
        Raises what `create_model` raises.
        """
        self._settings = ApiSettings(unknown=unknown, store=ResponseStore())
        named = models if isinstance(models, Mapping) else {_name(models): models}
        self._own = {name: create_model(model) for name, model in named.items() if isinstance(model, str)}
        given = {name: model for name, model in named.items() if not isinstance(model, str)}
        self._served = {name: self._own.get(name) or given[name] for name in named}

    def handle_request(self, request: Any) -> Any:
        """Answer a `Request` of httpx or httpx2 with a `Response` of the same package."""
        package, cancel = _package(request), Cancellation()
        watch = _Watch(_patience(request), cancel, lambda: _timeout(package, request))
        with watch.waiting():
            response = handle(_api_request(request, request.read()), self._served, cancel=cancel, settings=self._settings)
        if isinstance(response.body, bytes):
            watch.stop()
            return _response(package, response, package.ByteStream(response.body))
        return _response(package, response, _streams(package)[0](response.body, watch))

    async def handle_async_request(self, request: Any) -> Any:
        """The same for an `AsyncClient`; never blocks the event loop."""
        package, patience = _package(request), _patience(request)

        def late() -> Exception:
            return _timeout(package, request)

        api_request = _api_request(request, await request.aread())
        response = await _within(patience, ahandle(api_request, self._served, settings=self._settings), late)
        if isinstance(response.body, bytes):
            return _response(package, response, package.ByteStream(response.body))
        return _response(package, response, _streams(package)[1](response.body, patience, late))

    def close(self) -> None:
        """Close the models that this transport created from names."""
        for model in self._own.values():
            model.close()

    async def aclose(self) -> None:
        """`close`, off the event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


def _transport(models: Model | Mapping[str, Model], unknown: Unknown) -> Any:
    # Untyped, because the SDK's clients are typed for the transports of one package.
    return GemmaTransport(models, unknown=unknown)


def _name(model: Model) -> str:
    return model if isinstance(model, str) else model.model_type


def _package(request: Any) -> Any:
    return sys.modules[type(request).__module__.partition(".")[0]]


def _patience(request: Any) -> float | None:
    seconds: float | None = request.extensions.get("timeout", {}).get("read")
    return seconds


def _timeout(package: Any, request: Any) -> Exception:
    error: Exception = package.ReadTimeout("the model did not answer in time", request=request)
    return error


def _api_request(request: Any, body: bytes) -> ApiRequest:
    return ApiRequest(request.method, request.url.path, body, request.url.query.decode("ascii", "replace"))


def _response(package: Any, response: ApiResponse[Any], stream: Any) -> Any:
    return package.Response(response.status, headers=dict(response.headers), stream=stream)


async def _within(seconds: float | None, work: Any, late: Callable[[], Exception]) -> Any:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise late() from None


class _Watch:
    """Cancels a generation that makes its reader wait for longer than `patience` seconds; None means no limit.

    The reader blocks in the engine itself, so a thread measures the time.
    """

    def __init__(self, patience: float | None, cancel: Cancellation, late: Callable[[], Exception]) -> None:
        self.cancel = cancel
        self._patience = patience
        self._late = late
        self._due = inf
        self._expired = False
        self._over = Event()
        if patience is not None:
            Thread(target=self._keep_time, name="gemma_tools-watch", args=(patience,), daemon=True).start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While this context is open the reader waits; `late()` is raised at its end if that took too long."""
        self._due = monotonic() + (inf if self._patience is None else self._patience)
        try:
            yield
        except BaseException:
            self.stop()
            raise
        finally:
            self._due = inf
        if self._expired:
            raise self._late()

    def stop(self) -> None:
        """Stop watching."""
        self._over.set()

    def _keep_time(self, patience: float) -> None:
        while not self._over.wait(min(patience, max(0.0, self._due - monotonic()))):
            if monotonic() >= self._due:
                self._expired = True
                self.cancel.cancel()
                return


@cache
def _streams(package: Any) -> tuple[type, type]:
    """The classes of streamed bodies, for sync and async clients of `package`."""

    class Stream(package.SyncByteStream):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self, body: Generator[bytes, None, None], watch: _Watch) -> None:
            self._body = body
            self._watch = watch

        def __iter__(self) -> Iterator[bytes]:
            while True:
                with self._watch.waiting():
                    piece = next(self._body, None)
                if piece is None:
                    return
                yield piece

        def close(self) -> None:
            self._watch.stop()
            self._watch.cancel.cancel()
            # A generator that another thread is reading cannot be closed from here; the cancellation ends it.
            with suppress(ValueError):
                self._body.close()

    class AsyncStream(package.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, body: AsyncGenerator[bytes, None], patience: float | None, late: Callable[[], Exception]) -> None:
            self._body = body
            self._patience = patience
            self._late = late

        async def __aiter__(self) -> AsyncGenerator[bytes, None]:
            async with aclosing(self._body) as body:
                while (piece := await _within(self._patience, anext(body, None), self._late)) is not None:
                    yield piece

        async def aclose(self) -> None:
            await self._body.aclose()

    return Stream, AsyncStream
