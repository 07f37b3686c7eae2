"""From chat deltas to a Responses answer: output items, and the events that tell of them.

A whole answer is written as a stream of one delta whose events nobody reads, so both ways give the same items.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from openai.types import CompletionUsage

from gemma_tools.jsontext import read_json
from gemma_tools.openai_api.errors import Failure

Json = dict[str, Any]


class ResponseWriter:
    """Writes one response. `start`, `feed` and `finish` give the events; `answer` is the object so far.

    Only one output item is open at a time: a delta of another kind, or of another call, closes it.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        text = dict(body.get("text") or {})
        self.answer: Json = {
            "id": _id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "model": body.get("model"),
            "output": [],
            "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None, **(body.get("reasoning") or {})},
            "store": False,
            "temperature": body.get("temperature"),
            "text": {**text, "format": text.get("format") or {"type": "text"}},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_p": body.get("top_p"),
            "truncation": "disabled",
            "usage": None,
            "user": body.get("user"),
            "metadata": body.get("metadata") or {},
        }
        self._sequence = 0
        self._item: Json | None = None
        self._pieces: list[str] = []
        self._call: int | None = None

    def start(self) -> list[Json]:
        """The events before any output."""
        return [self._event(name, response=self._snapshot()) for name in ("response.created", "response.in_progress")]

    def feed(self, delta: Mapping[str, Any]) -> Iterator[Json]:
        """The events of one chat delta, or of a whole chat message."""
        for key, kind in (("reasoning_content", "reasoning"), ("content", "message")):
            if text := delta.get(key):
                yield from self._text(kind, text)
        for position, call in enumerate(delta.get("tool_calls") or ()):
            yield from self._call_delta(call.get("index", position), call)
        if problems := delta.get("problems"):
            self.answer["problems"] = problems

    def add(self, beyond: Mapping[str, Any] | None) -> None:
        """Take over what a chat completion, or a chunk of one, says `beyond` OpenAI's fields: its `losses`."""
        self.answer |= beyond or {}

    def finish(self, finish_reason: str | None, usage: CompletionUsage | None) -> Iterator[Json]:
        """The events that end the response."""
        cut = finish_reason == "length"
        yield from self._close(cut)
        self.answer["status"] = "incomplete" if cut else "completed"
        self.answer["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
        self.answer["usage"] = usage and _usage(usage)
        yield self._event(f"response.{self.answer['status']}", response=self._snapshot())

    def fail(self, failure: Failure) -> Iterator[Json]:
        """The events that end a response which failed on its way. The last one is the error itself."""
        self.answer["status"] = "failed"
        self.answer["error"] = {"code": "server_error", "message": failure.message}
        yield self._event("response.failed", response=self._snapshot())
        yield self._event("error", error=failure.error, code=failure.code, message=failure.message, param=failure.param)

    def _event(self, kind: str, /, **fields: Any) -> Json:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event

    def _snapshot(self) -> Json:
        return {**self.answer, "output": list(self.answer["output"])}

    def _text(self, kind: str, text: str) -> Iterator[Json]:
        if self._item is None or self._item["type"] != kind:
            yield from self._open(_EMPTY[kind](), None)
            yield self._event("response.content_part.added", **self._place(part=_PARTS[kind]("")))
        self._pieces.append(text)
        yield self._event(f"response.{_NAMES[kind]}.delta", **self._place(delta=text, **_LOGPROBS[kind]))

    def _call_delta(self, index: int, call: Mapping[str, Any]) -> Iterator[Json]:
        function = call.get("function") or {}
        if self._item is None or self._call != index:
            item = {"id": _id("fc"), "type": "function_call", "status": "in_progress", "call_id": call.get("id")}
            yield from self._open({**item, "name": function.get("name"), "arguments": ""}, index)
        if arguments := function.get("arguments"):
            self._pieces.append(arguments)
            yield self._event("response.function_call_arguments.delta", **self._item_place(delta=arguments))

    def _open(self, item: Json, call: int | None) -> Iterator[Json]:
        yield from self._close(cut=False)
        self._item, self._call, self._pieces = item, call, []
        yield self._event("response.output_item.added", output_index=len(self.answer["output"]), item=item)

    def _close(self, cut: bool) -> Iterator[Json]:
        item = self._item
        if item is None:
            return
        text = "".join(self._pieces)
        if item["type"] == "function_call":
            complete = _is_json(text)
            if complete:
                yield self._event(
                    "response.function_call_arguments.done", **self._item_place(arguments=text, name=item["name"])
                )
            filled: Json = {"arguments": text}
        else:
            kind, complete = item["type"], not cut
            part = _PARTS[kind](text)
            yield self._event(f"response.{_NAMES[kind]}.done", **self._place(text=text, **_LOGPROBS[kind]))
            yield self._event("response.content_part.done", **self._place(part=part))
            filled = {"content": [part]}
        done = {**item, **filled, "status": "completed" if complete else "incomplete"}
        yield self._event("response.output_item.done", output_index=len(self.answer["output"]), item=done)
        self.answer["output"].append(done)
        self._item = self._call = None

    def _item_place(self, **fields: Any) -> Json:
        assert self._item is not None
        return {"item_id": self._item["id"], "output_index": len(self.answer["output"]), **fields}

    def _place(self, **fields: Any) -> Json:
        return self._item_place(content_index=0, **fields)


_NAMES = {"message": "output_text", "reasoning": "reasoning_text"}
_LOGPROBS: Mapping[str, Json] = {"message": {"logprobs": []}, "reasoning": {}}
_PARTS = {
    "message": lambda text: {"type": "output_text", "text": text, "annotations": [], "logprobs": []},
    "reasoning": lambda text: {"type": "reasoning_text", "text": text},
}
_EMPTY = {
    "message": lambda: {"id": _id("msg"), "type": "message", "status": "in_progress", "role": "assistant", "content": []},
    "reasoning": lambda: {"id": _id("rs"), "type": "reasoning", "status": "in_progress", "summary": [], "content": []},
}


def _usage(usage: CompletionUsage) -> Json:
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": (prompt and prompt.cached_tokens) or 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": (completion and completion.reasoning_tokens) or 0},
        "total_tokens": usage.total_tokens,
    }


def _is_json(text: str) -> bool:
    try:
        read_json(text)
    except ValueError:
        return False
    return True


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"
