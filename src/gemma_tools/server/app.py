"""The ASGI application: authenticates, limits, queues, answers and logs requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from gemma_tools.engines.base import Cancellation
from gemma_tools.errors import EngineTimeout, EngineUnavailable
from gemma_tools.observe import HttpRequest, Observer, Responded, observing, tell, working
from gemma_tools.openai_api.errors import Refused, refuse
from gemma_tools.openai_api.responses_store import ResponseStore
from gemma_tools.openai_api.wire import ApiRequest, ApiResponse, ApiSettings, AsyncBody, Cards, dump
from gemma_tools.routes import Models, ahandle, error_frame, error_response, route_of
from gemma_tools.server.guard import Guard, Headers
from gemma_tools.server.limits import Gate, RateLimiter
from gemma_tools.server.log import Entry
from gemma_tools.server.pool import ModelPool
from gemma_tools.server.recent import PATH, Recent
from gemma_tools.server.settings import Settings, check

if TYPE_CHECKING:
    from gemma_tools.server.metrics import Metrics

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH = ("/health", "/v1/health")
"""The paths that need no key."""
_NO_MODEL = "; --alias adds names to the first model, and --alias '*' all names"
PARTING_SECONDS = 5
"""Seconds to send a timeout error to a client; a client that does not read is not waited for any longer."""


def create_app(settings: Settings) -> App:
    """The ASGI application that serves the models of `settings`: loaded on first request, closed when it shuts down.

    Raises:
        InvalidRequest: there is no model, or the settings are not safe together, or refer to something that does not exist.
    """
    return make_app(settings)[0]


def make_app(settings: Settings) -> tuple[App, Api]:
    """The application of `create_app`, and the object that answers its requests."""
    check(settings)
    recent = Recent() if settings.inspect else None
    pool = ModelPool(settings, recent.add if recent else None)
    api = Api(settings, pool, pool.cards, recent)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            return await api(scope, receive, send)
        if scope["type"] != "lifespan":
            raise ValueError(f"{scope['type']} is not supported")
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await api.end()
        await asyncio.to_thread(pool.close)
        await send({"type": "lifespan.shutdown.complete"})

    return app, api


class _Gone(Exception):
    """The client closed the connection before the whole body arrived."""


class Api:
    """Answers HTTP requests with `models`, within the limits of `settings`. An ASGI application without a lifespan."""

    def __init__(self, settings: Settings, models: Models, cards: Cards, recent: Recent | None = None) -> None:
        self._settings = settings
        self._recent = recent
        self._models = models
        self._guard = Guard(settings)
        self._limiter = RateLimiter(settings.requests_per_minute, settings.tokens_per_minute)
        self._gate = Gate(settings.concurrency, settings.queue)
        self._ends: set[asyncio.Future[None]] = set()
        metrics = _metrics(self._gate) if settings.metrics else None
        self._observers = _observers(settings, metrics)
        self._api_settings = ApiSettings(
            unknown=settings.unknown,
            no_model=_NO_MODEL,
            store=_store(settings),
            metrics=metrics.page if metrics else None,
            cards=cards,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        client = scope.get("client")
        entry = Entry(scope["method"], _path(scope["path"]), client[0] if client else "local")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        work = HttpRequest(method=entry.method, path=entry.path, route=route_of(entry.path), headers=headers)
        with observing(*self._observers), working(work):
            try:
                await self._serve(scope, headers, receive, send, entry)
            finally:
                tell(Responded(status=entry.status, outcome=entry.outcome, waited=entry.waited))

    async def _serve(self, scope: Scope, headers: Headers, receive: Receive, send: Send, entry: Entry) -> None:
        allowed = self._guard.cross_origin(headers)
        outlet = Outlet(send, entry, allowed, keep=self._settings.log_content)
        try:
            if entry.method == "OPTIONS" and allowed:  # a browser asks first (preflight)
                self._guard.check_caller(headers)
                return await outlet.send(ApiResponse(204, b""))
            if self._recent and (entry.path == PATH or entry.path.startswith(f"{PATH}/")):
                return await self._show(self._recent, headers, entry, outlet)
            body = await self._let_in(headers, receive, entry)
            query = scope.get("query_string", b"").decode("latin-1")
            asked = ApiRequest(entry.method, entry.path, body, query, entry.caller)
            await self._attend(asked, receive, entry, outlet)
        except Refused as refused:
            entry.outcome = "refused"
            await outlet.send(error_response(refused, entry.path, entry.facts))
        except _Gone:
            entry.outcome = "gone"
        finally:
            self._limiter.charge(entry.caller, entry.facts.cost)
            entry.write()

    async def _show(self, recent: Recent, headers: Headers, entry: Entry, outlet: Outlet) -> None:
        """Answer with a page of `/inspect`, to a browser on this machine."""
        self._guard.check_caller(headers)
        self._guard.check_local(headers, entry.caller)
        try:
            entry.caller = self._guard.check_key(headers, browser=True) or entry.caller
        finally:
            self._limiter.admit(entry.caller)
        await outlet.send(await asyncio.to_thread(recent.answer, entry.method, entry.path))

    async def _let_in(self, headers: Headers, receive: Receive, entry: Entry) -> bytes:
        """Check the head, then read the body. If the head is enough to refuse the request, the body is not read."""
        self._guard.check_caller(headers)
        if entry.path not in HEALTH:
            try:
                entry.caller = self._guard.check_key(headers) or entry.caller
            finally:
                self._limiter.admit(entry.caller)
        if entry.method != "POST":
            return b""
        self._guard.check_type(headers)
        try:
            async with asyncio.timeout(self._settings.body_timeout):
                return await self._read(headers, receive)
        except TimeoutError:
            raise refuse(408, "the request body did not arrive in time", code="request_timeout") from None

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        most = self._settings.max_body_bytes
        declared = headers.get("content-length", "")
        body, more = bytearray(), True
        too_long = declared.isdecimal() and int(declared) > most
        while more and not too_long:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            body += message.get("body", b"")
            more = message.get("more_body", False)
            too_long = len(body) > most
        if too_long:
            raise refuse(413, f"the body is longer than {most} bytes", code="request_too_large")
        return bytes(body)

    async def _attend(self, request: ApiRequest, receive: Receive, entry: Entry, outlet: Outlet) -> None:
        """Answer the request, unless time runs out or the client disconnects first: both stop the engine."""
        cancel = Cancellation()
        work = asyncio.create_task(self._answer(request, entry, outlet, cancel))
        gone = asyncio.create_task(_departure(receive))
        end = asyncio.get_running_loop().create_future()
        self._ends.add(end)
        try:
            await asyncio.wait({work, gone, end}, timeout=self._settings.timeout, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            entry.outcome = "gone" if gone.done() else "stopped" if end.done() else "timeout"
        finally:
            self._ends.discard(end)
            cancel.cancel()
            gone.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
        if entry.outcome != "gone":
            late = EngineTimeout(f"no answer within {self._settings.timeout:g} seconds")
            with suppress(TimeoutError):
                async with asyncio.timeout(PARTING_SECONDS):
                    await outlet.fail(late if entry.outcome == "timeout" else EngineUnavailable("the server is stopping"))

    async def _answer(self, request: ApiRequest, entry: Entry, outlet: Outlet, cancel: Cancellation) -> None:
        if request.path in HEALTH:
            return await outlet.send(ApiResponse(200, dump({"status": "ok"})))
        if self._settings.log_content:
            entry.request = request.body.decode(errors="replace")
        began = monotonic()
        ended = None
        if request.method == "POST":
            await self._gate.enter()
            ended = self._gate.leave  # not when the client disconnects: the work continues until it notices
        entry.waited = monotonic() - began
        response = await ahandle(request, self._models, cancel=cancel, settings=self._api_settings, ended=ended)
        entry.facts = response.facts
        await outlet.send(response)

    @property
    def unanswered(self) -> int:
        """The number of requests that are not finished."""
        return len(self._ends)

    def stop(self) -> None:
        """End all requests with an error: as the response, or as the last event of a stream that has begun."""
        for end in self._ends:
            if not end.done():
                end.set_result(None)

    async def end(self) -> None:
        """Wait a moment for the work of interrupted requests, so that nothing of it outlives the server."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PARTING_SECONDS):
                await self._gate.idle()


def _metrics(gate: Gate) -> Metrics:
    from gemma_tools.server.metrics import Metrics  # prometheus_client is needed only with this setting

    return Metrics(gate)


def _observers(settings: Settings, metrics: Metrics | None) -> tuple[Observer, ...]:
    observers: tuple[Observer, ...] = (metrics.observer,) if metrics else ()
    if settings.otel:
        from gemma_tools import otel  # opentelemetry is needed only with this setting

        observers += (otel.observer,)
    return observers


def _path(target: str) -> str:
    """The path of a request's target, which may be a whole address (RFC 9112, 3.2.2)."""
    scheme, mark, rest = target.partition("://")
    return f"/{rest.partition('/')[2]}" if mark and scheme.lower() in ("http", "https") else target


def _store(settings: Settings) -> ResponseStore | None:
    if not settings.stored_responses:
        return None
    return ResponseStore(most=settings.stored_responses, most_bytes=settings.stored_bytes, seconds=settings.stored_seconds)


class Outlet:
    """Sends one HTTP response and records it in the access log. It knows whether the response has begun."""

    def __init__(self, send: Send, entry: Entry, headers: Mapping[str, str], *, keep: bool) -> None:
        self._send = send
        self._headers = headers
        self._entry = entry
        self._keep = keep

    async def send(self, response: ApiResponse[bytes] | ApiResponse[AsyncBody]) -> None:
        """Send a whole response, or a streamed one as it arrives."""
        await self._begin(response)
        if isinstance(response.body, bytes):
            return await self._piece(response.body, last=True)
        async with aclosing(response.body) as pieces:
            async for piece in pieces:
                await self._piece(piece, last=False)
        await self._piece(b"", last=True)

    async def fail(self, error: Exception) -> None:
        """End with `error`: as the response, or as the last event of the stream that has begun."""
        if self._entry.status is None:
            return await self.send(error_response(error, self._entry.path, self._entry.facts))
        await self._piece(error_frame(error, self._entry.path, self._entry.facts), last=True)

    async def _begin(self, response: ApiResponse[Any]) -> None:
        self._entry.status = response.status
        headers = {**response.headers, **self._headers, "x-request-id": self._entry.id, "x-content-type-options": "nosniff"}
        if isinstance(response.body, bytes):
            headers["content-length"] = str(len(response.body))
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": response.status, "headers": raw})

    async def _piece(self, piece: bytes, *, last: bool) -> None:
        if self._keep:
            self._entry.response = (self._entry.response or "") + piece.decode(errors="replace")
        await self._send({"type": "http.response.body", "body": piece, "more_body": not last})


async def _departure(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
