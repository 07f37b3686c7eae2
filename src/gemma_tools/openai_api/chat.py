"""POST /v1/chat/completions: plain, or as server-sent events."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gemma_tools.openai_api.errors import failure_of
from gemma_tools.openai_api.wire import DONE, STREAM_HEADERS, ApiResponse, Body, Call, Facts, dump, event
from gemma_tools.request import ChatRequest


def answer(body: Mapping[str, Any], call: Call) -> ApiResponse[Body]:
    """Answer the chat request `body`."""
    request = call.parse(body)
    reply = ask(request, call)
    if isinstance(reply, ChatCompletion):
        return ApiResponse(200, dump(reply.model_dump(exclude_unset=True)), facts=call.facts)
    return ApiResponse(200, _events(reply, request, call.facts), STREAM_HEADERS, call.facts)


def ask(request: ChatRequest, call: Call) -> ChatCompletion | Chunks:
    """Send `request` to its model, and record the result in `call.facts`.

    Usage is always requested; in a stream it is in the last chunk, which has no choices.
    """
    facts = call.facts
    facts.model, facts.stream = request.model, request.stream
    reply = call.responder(request.model).respond(replace(request, include_usage=request.stream), cancel=call.cancel)
    if not isinstance(reply, ChatCompletion):
        return Chunks(reply, facts)
    facts.learn(reply.choices[0].finish_reason, reply.usage)
    return reply


class Chunks(Iterator[ChatCompletionChunk]):
    """A reply that is being generated, whose first chunk has already arrived.

    A request that fails before that raises here, while its own status can still be sent.
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
        """Stop the engine, if it is still running."""
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
