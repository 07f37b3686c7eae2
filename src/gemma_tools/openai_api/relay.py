"""A chat reply in the format of another API: whole, or as server-sent events while it arrives."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from typing import Any, Protocol

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion
from openai.types.chat.chat_completion import Choice
from openai.types.chat.chat_completion_chunk import Choice as ChunkChoice
from pydantic import BaseModel

from gemma_tools.openai_api.chat import Chunks
from gemma_tools.openai_api.errors import Failure, failure_of
from gemma_tools.openai_api.wire import STREAM_HEADERS, ApiResponse, Body, Facts, dump, event

Json = dict[str, Any]


class Writer(Protocol):
    """Writes one answer in the format of its API. Each method returns the events to send; each event has a `type`."""

    answer: Json
    """The whole answer so far."""

    def start(self) -> Iterable[Json]:
        """The events before any content."""

    def feed(self, delta: Mapping[str, Any]) -> Iterable[Json]:
        """The events of one chat delta, or of a whole chat message, with fields of its choice: `logprobs`, `stop_reason`."""

    def add(self, beyond: Mapping[str, Any] | None) -> None:
        """Copy the fields beyond OpenAI's from a chat completion, or a chunk of one."""

    def finish(self, finish_reason: str | None, usage: CompletionUsage | None) -> Iterable[Json]:
        """The events that end the answer."""

    def fail(self, failure: Failure) -> Iterable[Json]:
        """The events that end a failed answer."""


def relayed(reply: ChatCompletion | Chunks, writer: Writer, facts: Facts) -> ApiResponse[Body]:
    """The response for `reply`, written by `writer`. A whole reply is written as one delta, whose events are ignored."""
    if not isinstance(reply, ChatCompletion):
        return ApiResponse(200, _events(reply, writer, facts), STREAM_HEADERS, facts)
    choice = reply.choices[0]
    deque(writer.feed(_said(choice.message, choice)), maxlen=0)
    writer.add(reply.model_extra)
    deque(writer.finish(choice.finish_reason, reply.usage), maxlen=0)
    return ApiResponse(200, dump(writer.answer), facts=facts)


def _events(chunks: Chunks, writer: Writer, facts: Facts) -> Generator[bytes, None, None]:
    with closing(chunks):
        try:
            for told in _told(chunks, writer):
                yield event(told, told["type"])
        except Exception as error:
            failure = failure_of(error)
            facts.error = failure.code
            for told in writer.fail(failure):
                yield event(told, told["type"])


def _said(said: BaseModel, choice: Choice | ChunkChoice) -> Json:
    entries = choice.logprobs and choice.logprobs.content
    beside = {"logprobs": [entry.model_dump() for entry in entries]} if entries else {}
    return said.model_dump() | beside | (choice.model_extra or {})


def _told(chunks: Chunks, writer: Writer) -> Generator[Json, None, None]:
    yield from writer.start()
    finish_reason, usage = None, None
    for chunk in chunks:
        for choice in chunk.choices:
            finish_reason = choice.finish_reason or finish_reason
            yield from writer.feed(_said(choice.delta, choice))
        writer.add(chunk.model_extra)
        usage = chunk.usage or usage
    yield from writer.finish(finish_reason, usage)
