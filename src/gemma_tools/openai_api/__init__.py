"""The OpenAI HTTP API as a plain function: one request in, one response out, no socket.

`handle` is all there is to it. The in-process transport calls it for an SDK client, the server for its callers, so both give
the same answers. It blocks while the model works; `ahandle` runs the same function in a worker thread.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import TypeAlias, cast

from gemma_tools.engines.base import Cancellation
from gemma_tools.engines.drive import adrive
from gemma_tools.openai_api import chat, models, responses
from gemma_tools.openai_api.errors import Failure, Refused, failure_of, refuse
from gemma_tools.openai_api.wire import (
    ApiRequest,
    ApiResponse,
    AsyncBody,
    Body,
    Facts,
    Responder,
    dump,
    error_frame,
    error_response,
    load,
)

__all__ = [
    "ApiRequest",
    "ApiResponse",
    "AsyncBody",
    "Body",
    "Facts",
    "Failure",
    "Models",
    "Refused",
    "Responder",
    "ahandle",
    "error_frame",
    "error_response",
    "failure_of",
    "handle",
    "refuse",
]

Models: TypeAlias = Mapping[str, Responder]
"""What answers, by the names that requests give. A value may be made when it is first asked for."""

_POSTS = {"/v1/chat/completions": chat.answer, "/v1/responses": responses.answer}


def handle(request: ApiRequest, served: Models, *, cancel: Cancellation | None = None) -> ApiResponse[Body]:
    """Answer `request` with the models in `served`. Every fault becomes an OpenAI error body; nothing is raised.

    A fault after a stream has begun becomes its last event. Cancelling ends the generation from another thread.
    """
    facts = Facts()
    try:
        return _route(request, served, facts, cancel)
    except Exception as error:
        return error_response(error, facts)


async def ahandle(request: ApiRequest, served: Models, *, cancel: Cancellation | None = None) -> ApiResponse[AsyncBody]:
    """`handle` in a thread of its own, which goes on to make the stream if there is one."""

    def work(cancel: Cancellation) -> Iterator[ApiResponse[Body] | bytes]:
        response = handle(request, served, cancel=cancel)
        yield response
        if not isinstance(response.body, bytes):
            yield from response.body

    items = adrive(work, cancel)
    response = cast(ApiResponse[Body], await anext(items))
    body: AsyncBody = cast(AsyncGenerator[bytes, None], items)
    if isinstance(response.body, bytes):
        await items.aclose()
        body = response.body
    return ApiResponse(response.status, body, response.headers, response.facts)


def _route(request: ApiRequest, served: Models, facts: Facts, cancel: Cancellation | None) -> ApiResponse[Body]:
    path = request.path.rstrip("/")
    if post := _POSTS.get(path):
        _allow("POST", request)
        return post(load(request.body), served, facts, cancel)
    if path == "/openapi.json":
        _allow("GET", request)
        from gemma_tools.openai_api.document import document  # takes a moment to import, and is seldom asked for

        return ApiResponse(200, dump(document()), facts=facts)
    if path == "/v1/models":
        _allow("GET", request)
        return ApiResponse(200, dump(models.listing(served)), facts=facts)
    if path.startswith("/v1/models/"):
        _allow("GET", request)
        name = chat.known(served, path.removeprefix("/v1/models/"))
        return ApiResponse(200, dump(models.card(name)), facts=facts)
    raise refuse(404, f"there is nothing at {request.path}", code="not_found")


def _allow(method: str, request: ApiRequest) -> None:
    if request.method != method:
        raise refuse(405, f"{request.path} takes {method} only", code="method_not_allowed", headers={"allow": method})
