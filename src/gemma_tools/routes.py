"""The HTTP API as a plain function: one request in, one response out, no socket.

`handle` is the whole API. The in-process transport calls it for an SDK client, the server for its clients, so both give the
same answers. It blocks while the model works; `ahandle` runs the same function in a worker thread.

Every path is here. Each path also works without its `/v1`, and with HEAD where GET works.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeAlias, cast

from gemma_tools.anthropic_api import messages
from gemma_tools.anthropic_api.errors import error_body as anthropic_error
from gemma_tools.engines.base import Cancellation
from gemma_tools.engines.drive import abatches
from gemma_tools.openai_api import chat, completions, models, prompts, responses
from gemma_tools.openai_api.errors import Failure, failure_of, refuse
from gemma_tools.openai_api.wire import (
    JSON_HEADERS,
    ApiRequest,
    ApiResponse,
    ApiSettings,
    AsyncBody,
    Body,
    Call,
    Facts,
    Responder,
    dump,
    event,
    load,
)

Models: TypeAlias = Mapping[str, Responder]
"""The models, by the names that requests use. A value may be created on its first request."""

Post: TypeAlias = Callable[[Mapping[str, Any], Call], ApiResponse[Body]]

POSTS: Final[Mapping[str, Post]] = {
    "/chat/completions": chat.answer,
    "/chat/completions/input_tokens": prompts.count_chat,
    "/completions": completions.answer,
    "/responses": responses.answer,
    "/responses/input_tokens": prompts.count_responses,
    "/messages": messages.answer,
    "/messages/count_tokens": messages.count,
    "/tokenize": prompts.tokenize,
    "/detokenize": prompts.detokenize,
    "/apply-template": prompts.apply_template,
}
"""The handlers for POST, by the path after `/v1`."""


DEFAULTS: Final = ApiSettings()


def handle(
    request: ApiRequest, served: Models, *, cancel: Cancellation | None = None, settings: ApiSettings = DEFAULTS
) -> ApiResponse[Body]:
    """Answer `request` with the models in `served`. Every error becomes an error body; nothing is raised.

    An error after a stream has begun becomes its last event. Cancelling ends the generation from another thread.
    """
    facts = Facts()
    try:
        return _route(request, Call(served, facts, cancel, settings, request.caller))
    except Exception as error:
        return error_response(error, request.path, facts)


async def ahandle(
    request: ApiRequest,
    served: Models,
    *,
    cancel: Cancellation | None = None,
    settings: ApiSettings = DEFAULTS,
    ended: Callable[[], object] | None = None,
) -> ApiResponse[AsyncBody]:
    """`handle` in its own thread, which also produces the stream if there is one.

    `ended` is called in the event loop when that thread has finished all its work, even if nobody waits for it any more.
    """

    def work(cancel: Cancellation) -> Iterator[ApiResponse[Body] | bytes]:
        response = handle(request, served, cancel=cancel, settings=settings)
        yield response
        if not isinstance(response.body, bytes):
            yield from response.body

    batches = abatches(work, cancel, ended=ended)
    first, *pieces = await anext(batches)
    response = cast(ApiResponse[Body], first)
    if not isinstance(response.body, bytes):
        body = _joined(cast(list[bytes], pieces), cast(AsyncGenerator[list[bytes], None], batches))
        return ApiResponse(response.status, body, response.headers, response.facts)
    await batches.aclose()
    return ApiResponse(response.status, response.body, response.headers, response.facts)


async def _joined(first: list[bytes], batches: AsyncGenerator[list[bytes], None]) -> AsyncGenerator[bytes, None]:
    """The pieces of a stream, as many at once as there are: each is a message to the connection."""
    async with aclosing(batches):
        if first:
            yield b"".join(first)
        async for batch in batches:
            yield b"".join(batch)


def error_response(error: BaseException, path: str, facts: Facts | None = None) -> ApiResponse[bytes]:
    """The error response for `error`, in the format of the API that `path` belongs to."""
    failure = failure_of(error)
    facts = facts or Facts()
    facts.error = failure.code
    return ApiResponse(failure.status, dump(_body(failure, path)), {**JSON_HEADERS, **failure.headers}, facts)


def error_frame(error: BaseException, path: str, facts: Facts) -> bytes:
    """The event that ends a stream with `error`."""
    failure = failure_of(error)
    facts.error = failure.code
    body = _body(failure, path)
    if _place(path).startswith("/responses"):
        told = {name: failure.error[name] for name in ("code", "message", "param")}
        body = {"type": "error", **told, **body}
    return event(body, body.get("type"))


def route_of(path: str) -> str | None:
    """The name of a path for logs and metrics: without `/v1`, its ids as `{id}`; None for an unknown path."""
    place = _place(path)
    if place in POSTS or place in _GETS:
        return place
    parent, _, rest = place.removeprefix("/").partition("/")
    if parent == "responses" and rest:
        return "/responses/{id}/input_items" if rest.endswith("/input_items") else "/responses/{id}"
    return "/models/{id}" if parent == "models" and rest else None


_GETS: Final = ("/health", "/metrics", "/models", "/openapi.json")


def _body(failure: Failure, path: str) -> dict[str, Any]:
    return anthropic_error(failure) if _place(path).startswith("/messages") else {"error": failure.error}


def _place(path: str) -> str:
    """A path without `/v1` and without a slash at its end."""
    return path.removeprefix("/v1").rstrip("/")


def _route(request: ApiRequest, call: Call) -> ApiResponse[Body]:
    place = _place(request.path)
    if post := POSTS.get(place):
        _allow(("POST",), request)
        return post(load(request.body), call)
    if place == "/openapi.json":
        _allow(("GET", "HEAD"), request)
        from gemma_tools.openai_api.document import document  # takes a moment to import, and is seldom needed

        return ApiResponse(200, dump(document()), facts=call.facts)
    if place == "/models":
        _allow(("GET", "HEAD"), request)
        return ApiResponse(200, dump(models.listing(call.models, call.settings.cards)), facts=call.facts)
    if place == "/metrics" and call.settings.metrics:
        _allow(("GET", "HEAD"), request)
        kind, page = call.settings.metrics()
        return ApiResponse(200, page, {"content-type": kind}, call.facts)
    if place.startswith("/models/"):
        _allow(("GET", "HEAD"), request)
        name = call.known(place.removeprefix("/models/"))
        return ApiResponse(200, dump(models.card(name, call.settings.cards)), facts=call.facts)
    if place.startswith("/responses/"):
        _allow(("GET", "HEAD") if place.endswith("/input_items") else ("GET", "HEAD", "DELETE"), request)
        return responses.stored(request, place.removeprefix("/responses/"), call)
    raise refuse(404, f"there is nothing at {request.path}", code="not_found")


def _allow(methods: tuple[str, ...], request: ApiRequest) -> None:
    if request.method not in methods:
        allowed = ", ".join(methods)
        raise refuse(405, f"{request.path} takes {allowed} only", code="method_not_allowed", headers={"allow": allowed})
