"""POST /v1/responses, answered without state: the request becomes a chat request, its answer output items."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any

from openai.types.chat import ChatCompletion

from gemma_tools.engines.base import Cancellation
from gemma_tools.errors import InvalidRequest
from gemma_tools.openai_api.chat import Chunks, ask
from gemma_tools.openai_api.errors import failure_of
from gemma_tools.openai_api.responses_input import in_responses_words, to_chat
from gemma_tools.openai_api.responses_output import ResponseWriter
from gemma_tools.openai_api.wire import STREAM_HEADERS, ApiResponse, Body, Facts, Responder, dump, event
from gemma_tools.validation import parse_request


def answer(
    body: Mapping[str, Any], models: Mapping[str, Responder], facts: Facts, cancel: Cancellation | None
) -> ApiResponse[Body]:
    """Answer the Responses request `body`."""
    chat = to_chat(body)
    try:
        request = parse_request(chat)
        reply = ask(request, models, facts, cancel)
    except InvalidRequest as error:
        raise in_responses_words(error) from error
    writer = ResponseWriter(body)
    if not isinstance(reply, ChatCompletion):
        return ApiResponse(200, _events(reply, writer, facts), STREAM_HEADERS, facts)
    choice = reply.choices[0]
    deque(writer.feed(choice.message.model_dump()), maxlen=0)
    writer.add(reply.model_extra)
    deque(writer.finish(choice.finish_reason, reply.usage), maxlen=0)
    return ApiResponse(200, dump(writer.response), facts=facts)


def _events(chunks: Chunks, writer: ResponseWriter, facts: Facts) -> Generator[bytes, None, None]:
    with closing(chunks):
        try:
            for told in _told(chunks, writer):
                yield event(told, told["type"])
        except Exception as error:
            failure = failure_of(error)
            facts.error = failure.code
            for told in writer.fail(failure):
                yield event(told, told["type"])


def _told(chunks: Chunks, writer: ResponseWriter) -> Generator[dict[str, Any], None, None]:
    yield from writer.start()
    finish_reason, usage = None, None
    for chunk in chunks:
        for choice in chunk.choices:
            finish_reason = choice.finish_reason or finish_reason
            yield from writer.feed(choice.delta.model_dump())
        writer.add(chunk.model_extra)
        usage = chunk.usage or usage
    yield from writer.finish(finish_reason, usage)
