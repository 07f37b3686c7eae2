"""POST /v1/chat/completions: plain, or as server-sent events."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gemma_tools.engines.base import Cancellation
from gemma_tools.openai_api.errors import failure_of, refuse
from gemma_tools.openai_api.wire import DONE, STREAM_HEADERS, ApiResponse, Body, Facts, Responder, dump, event
from gemma_tools.request import ChatRequest
from gemma_tools.validation import parse_request


def answer(
    body: Mapping[str, Any], models: Mapping[str, Responder], facts: Facts, cancel: Cancellation | None
) -> ApiResponse[Body]:
    """Answer the chat request `body`."""
    request = parse_request(body)
    reply = ask(request, models, facts, cancel)
    if isinstance(reply, ChatCompletion):
        return ApiResponse(200, dump(reply.model_dump(exclude_unset=True)), facts=facts)
    return ApiResponse(200, _events(reply, request, facts), STREAM_HEADERS, facts)


def ask(
    request: ChatRequest, models: Mapping[str, Responder], facts: Facts, cancel: Cancellation | None
) -> ChatCompletion | Chunks:
    """Put `request` to its model, and note what comes back in `facts`.

    Usage is always asked for; in a stream it is the last chunk, which has no choices.
    """
    facts.model, facts.stream = request.model, request.stream
    model = models[known(models, request.model)]
    reply = model.respond(replace(request, include_usage=request.stream), cancel=cancel)
    if not isinstance(reply, ChatCompletion):
        return Chunks(reply, facts)
    facts.learn(reply.choices[0].finish_reason, reply.usage)
    return reply


def known(models: Mapping[str, object], name: str | None) -> str:
    """`name`, if a model goes by it; refused with `model_not_found` otherwise. The model is not touched."""
    if name is None:
        raise refuse(400, "name a model", code="missing_required_parameter", param="model")
    if name not in models:
        names = ", ".join(models) or "none"
        raise refuse(404, f"there is no model {name!r}; there is: {names}", code="model_not_found", param="model")
    return name


class Chunks(Iterator[ChatCompletionChunk]):
    """A reply as it is generated, of which the first chunk is already there.

    A request that fails before it raises here, while it can still get a status of its own.
    """

    def __init__(self, chunks: Iterator[ChatCompletionChunk], facts: Facts) -> None:
        self._chunks = chunks
        self._facts = facts
        self._first = next(chunks, None)

    def __next__(self) -> ChatCompletionChunk:
        chunk, self._first = self._first or next(self._chunks), None
        self._facts.chunks += 1
        self._facts.learn(chunk.choices[0].finish_reason if chunk.choices else None, chunk.usage)
        return chunk

    def close(self) -> None:
        """Stop the engine, if it still runs."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()


def _events(chunks: Chunks, request: ChatRequest, facts: Facts) -> Generator[bytes, None, None]:
    with closing(chunks):
        try:
            for chunk in chunks:
                if chunk.choices or request.include_usage:
                    yield event(chunk.model_dump(exclude_unset=True))
        except Exception as error:
            failure = failure_of(error)
            facts.error = failure.code
            yield event({"error": failure.error})
        else:
            yield DONE
