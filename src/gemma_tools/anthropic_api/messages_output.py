"""From chat deltas to a message of the Messages API: content blocks, and their events.

A whole answer is written as a stream of one delta whose events are ignored, so both ways give the same blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from secrets import token_hex
from typing import Any, Final

from openai.types import CompletionUsage

from gemma_tools.anthropic_api.errors import error_body
from gemma_tools.jsontext import read_json
from gemma_tools.openai_api.errors import Failure

Json = dict[str, Any]

PING: Final[Json] = {"type": "ping"}
_SIGNATURE: Final = "gemma-tools"
"""Anthropic's clients send a thought back only with a signature. This one is not a real signature."""
_STOPS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_TEXTS: Final = (("reasoning_content", "thinking", "thinking_delta"), ("content", "text", "text_delta"))


class MessageWriter:
    """Writes one message. `start`, `feed` and `finish` return the events; `answer` is the object so far.

    Only one block is open at a time: a delta of another kind, or of another call, closes it.
    """

    def __init__(self, model: str | None) -> None:
        self.answer: Json = {
            "id": f"msg_{token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        self._pieces: list[str] = []
        self._open: Json | None = None
        self._call: int | None = None

    def start(self) -> Iterator[Json]:
        """The events before any content. The length of the prompt is known only at the end."""
        yield {"type": "message_start", "message": {**self.answer, "content": []}}
        yield PING

    def feed(self, delta: Mapping[str, Any]) -> Iterator[Json]:
        """The events of one chat delta, or of a whole chat message."""
        for key, kind, name in _TEXTS:
            if text := delta.get(key):
                if self._open is None or self._open["type"] != kind:
                    yield from self._begin({"type": kind, kind: "", **({"signature": ""} if kind == "thinking" else {})}, None)
                yield self._delta({"type": name, kind: text}, text)
        for position, call in enumerate(delta.get("tool_calls") or ()):
            index, function = call.get("index", position), call.get("function") or {}
            if self._call != index:
                block = {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": {}}
                yield from self._begin(block, index)
            if arguments := function.get("arguments"):
                yield self._delta({"type": "input_json_delta", "partial_json": arguments}, arguments)
        self.answer["stop_sequence"] = delta.get("stop_reason")
        if problems := delta.get("problems"):
            self.answer["problems"] = problems

    def add(self, beyond: Mapping[str, Any] | None) -> None:
        """Copy the fields `beyond` OpenAI's from a chat completion, or a chunk of one."""
        self.answer |= beyond or {}

    def finish(self, finish_reason: str | None, usage: CompletionUsage | None) -> Iterator[Json]:
        """The events that end the message."""
        yield from self._end()
        ended = self.answer["stop_sequence"] is not None
        self.answer["stop_reason"] = "stop_sequence" if ended else _STOPS.get(finish_reason or "stop", "end_turn")
        if usage is not None:
            self.answer["usage"] = _usage(usage)
        ending = {name: self.answer[name] for name in ("stop_reason", "stop_sequence")}
        beyond: Json = {name: self.answer[name] for name in ("problems", "warnings") if name in self.answer}
        yield {"type": "message_delta", "delta": ending, "usage": self.answer["usage"], **beyond}
        yield {"type": "message_stop"}

    def fail(self, failure: Failure) -> Iterator[Json]:
        """The event that ends a failed message."""
        yield error_body(failure)

    def _begin(self, block: Json, call: int | None) -> Iterator[Json]:
        yield from self._end()
        self._open, self._call, self._pieces = block, call, []
        yield {"type": "content_block_start", "index": len(self.answer["content"]), "content_block": block}

    def _delta(self, delta: Json, piece: str) -> Json:
        self._pieces.append(piece)
        return {"type": "content_block_delta", "index": len(self.answer["content"]), "delta": delta}

    def _end(self) -> Iterator[Json]:
        block, text = self._open, "".join(self._pieces)
        if block is None:
            return
        self._open = self._call = None
        index = len(self.answer["content"])
        if block["type"] == "tool_use":
            block = {**block, "input": _arguments(text)}
        elif block["type"] == "thinking":
            block = {**block, "thinking": text, "signature": _SIGNATURE}
            delta = {"type": "signature_delta", "signature": _SIGNATURE}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        else:
            block = {**block, "text": text}
        self.answer["content"].append(block)
        yield {"type": "content_block_stop", "index": index}


def _arguments(text: str) -> Any:
    """The arguments as an object. A call that was cut while it was streamed live has invalid JSON: its text is kept."""
    try:
        value = read_json(text or "{}")
    except ValueError:
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": value}


def _usage(usage: CompletionUsage) -> Json:
    """Anthropic's input tokens are those that were not in a cache."""
    details = usage.prompt_tokens_details
    cached = (details and details.cached_tokens) or 0
    told: Json = {"input_tokens": usage.prompt_tokens - cached, "output_tokens": usage.completion_tokens}
    if details is not None:
        told |= {"cache_read_input_tokens": cached, "cache_creation_input_tokens": 0}
    return told
