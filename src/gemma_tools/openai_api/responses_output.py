"""From chat deltas to a Responses answer: output items, and their events.

A whole answer is written as a stream of one delta whose events are ignored, so both ways give the same items.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

from openai.types import CompletionUsage

from gemma_tools.jsontext import read_json
from gemma_tools.openai_api.errors import Failure
from gemma_tools.openai_api.responses_logprobs import in_event, of_text
from gemma_tools.openai_api.responses_store import new_id
from gemma_tools.openai_api.responses_thoughts import WANTED, packed
from gemma_tools.openai_api.responses_tools import Offer, call_item, free_text

Json = dict[str, Any]


class ResponseWriter:
    """Writes one response. `start`, `feed` and `finish` return the events; `answer` is the object so far.

    Only one output item is open at a time: a delta of another kind, or of another call, closes it.
    """

    def __init__(self, body: Mapping[str, Any], offer: Offer, keep: Callable[[Json], None] | None = None) -> None:
        """Write the answer to the request `body`, whose tools are `offer`; `keep` gets the whole answer at its end."""
        self.answer: Json = _begun(body, offer, stored=keep is not None)
        self._offer = offer
        self._keep = keep
        self._packs = WANTED in (body.get("include") or ())
        # Clients that ask for a summary show only the summary. Here a thought is not secret, so the summary is the thought.
        self._thought = "summary" if self.answer["reasoning"]["summary"] else "reasoning"
        self._sequence = 0
        self._probable: list[Json] = []
        self._item: Json | None = None
        self._pieces: list[str] = []
        self._call: int | None = None

    def start(self) -> list[Json]:
        """The events before any output."""
        return [self._event(name, response=self._snapshot()) for name in ("response.created", "response.in_progress")]

    def feed(self, delta: Mapping[str, Any]) -> Iterator[Json]:
        """The events of one chat delta, or of a whole chat message."""
        self._probable = delta.get("logprobs") or self._probable
        for key, kind in (("reasoning_content", self._thought), ("content", "message")):
            if text := delta.get(key):
                yield from self._text(kind, text)
        for position, call in enumerate(delta.get("tool_calls") or ()):
            yield from self._call_delta(call.get("index", position), call)
        if problems := delta.get("problems"):
            self.answer["problems"] = problems

    def add(self, beyond: Mapping[str, Any] | None) -> None:
        """Copy the fields `beyond` OpenAI's from a chat completion, or a chunk of one: its `warnings`."""
        self.answer |= beyond or {}

    def finish(self, finish_reason: str | None, usage: CompletionUsage | None) -> Iterator[Json]:
        """The events that end the response."""
        cut = finish_reason == "length"
        only_thought = self._item is not None and self._item["type"] == "reasoning" and not self.answer["output"]
        if self._item is None or (only_thought and not cut):
            # Clients look for a message, even if the model wrote nothing.
            yield from self._open_part("message")
        yield from self._close(cut)
        self._add_logprobs()
        self.answer["status"] = "incomplete" if cut else "completed"
        self.answer["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
        self.answer["completed_at"] = None if cut else int(time.time())
        self.answer["usage"] = usage and _usage(usage)
        if self._keep:
            self._keep(self._snapshot())
        yield self._event(f"response.{self.answer['status']}", response=self._snapshot())

    def fail(self, failure: Failure) -> Iterator[Json]:
        """The events that end a failed response. The last one is the error itself."""
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
        if self._item is None or self._item["type"] != _EMPTY[kind]["type"]:
            yield from self._open_part(kind)
        self._pieces.append(text)
        yield self._event(f"response.{_NAMES[kind]}.delta", **self._place(kind, delta=text, **_LOGPROBS[kind]))

    def _open_part(self, kind: str) -> Iterator[Json]:
        yield from self._open({"id": new_id(_EMPTY[kind]["type"]), **_EMPTY[kind]}, None)
        yield self._event(f"response.{_PART_NAMES[kind]}.added", **self._place(kind, part=_PARTS[kind]("")))

    def _call_delta(self, index: int, call: Mapping[str, Any]) -> Iterator[Json]:
        function = call.get("function") or {}
        if self._item is None or self._call != index:
            item = call_item(call, self._offer.of(function.get("name")))
            yield from self._open({"id": new_id(item["type"]), **item}, index)
        if arguments := function.get("arguments"):
            self._pieces.append(arguments)
            if self._item and self._item["type"] == "function_call":
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
        elif item["type"] == "custom_tool_call":
            # The input is inside JSON, which is read when it is complete.
            text, complete = free_text(text)
            if complete:
                yield self._event("response.custom_tool_call_input.delta", **self._item_place(delta=text))
                yield self._event("response.custom_tool_call_input.done", **self._item_place(input=text))
            filled = {"input": text}
        else:
            kind, complete = "message" if item["type"] == "message" else self._thought, not cut
            part = _PARTS[kind](text)
            logprobs = _LOGPROBS[kind]
            if kind == "message" and self._probable:
                part["logprobs"] = self._logprobs(text)
                logprobs = {"logprobs": in_event(part["logprobs"])}
            yield self._event(f"response.{_NAMES[kind]}.done", **self._place(kind, text=text, **logprobs))
            yield self._event(f"response.{_PART_NAMES[kind]}.done", **self._place(kind, part=part))
            filled = {_FIELDS[kind]: [part]}
            if kind == self._thought and self._packs:
                filled["encrypted_content"] = packed(text)
        done = {**item, **filled, "status": "completed" if complete else "incomplete"}
        yield self._event("response.output_item.done", output_index=len(self.answer["output"]), item=done)
        self.answer["output"].append(done)
        self._item = self._call = None

    def _logprobs(self, text: str) -> list[Json]:
        thoughts = [item[_FIELDS[self._thought]][0]["text"] for item in self.answer["output"] if item["type"] == "reasoning"]
        return of_text(self._probable, text, thoughts)

    def _add_logprobs(self) -> None:
        """Add to finished texts what a stream reports at its end."""
        for item in self.answer["output"]:
            if item["type"] == "message" and self._probable and not item["content"][0]["logprobs"]:
                item["content"][0]["logprobs"] = self._logprobs(item["content"][0]["text"])

    def _item_place(self, **fields: Any) -> Json:
        assert self._item is not None
        return {"item_id": self._item["id"], "output_index": len(self.answer["output"]), **fields}

    def _place(self, kind: str, **fields: Any) -> Json:
        return self._item_place(**{f"{_FIELDS[kind]}_index": 0}, **fields)


def _begun(body: Mapping[str, Any], offer: Offer, *, stored: bool) -> Json:
    """The answer before any output: the request's settings, and OpenAI's defaults for the others."""
    text = dict(body.get("text") or {})
    given = {name: value for name, value in body.items() if value is not None}
    return {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "model": body.get("model"),
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "presence_penalty": given.get("presence_penalty", 0.0),
        "frequency_penalty": given.get("frequency_penalty", 0.0),
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None, **(body.get("reasoning") or {})},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": "default",
        "store": stored,
        "temperature": given.get("temperature", 1.0),
        "text": {**text, "format": text.get("format") or {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": offer.echo,
        "top_logprobs": given.get("top_logprobs", 0),
        "top_p": given.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": None,
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


_NAMES = {"message": "output_text", "reasoning": "reasoning_text", "summary": "reasoning_summary_text"}
"""The names in events for the texts of an item. There are two kinds of text for a thought; an answer has one of them."""
_PART_NAMES = {"message": "content_part", "reasoning": "content_part", "summary": "reasoning_summary_part"}
_FIELDS = {"message": "content", "reasoning": "content", "summary": "summary"}
_LOGPROBS: Mapping[str, Json] = {"message": {"logprobs": []}, "reasoning": {}, "summary": {}}
_PARTS = {
    "message": lambda text: {"type": "output_text", "text": text, "annotations": [], "logprobs": []},
    "reasoning": lambda text: {"type": "reasoning_text", "text": text},
    "summary": lambda text: {"type": "summary_text", "text": text},
}
_EMPTY: Mapping[str, Json] = {
    "message": {"type": "message", "status": "in_progress", "role": "assistant", "content": []},
    "reasoning": {"type": "reasoning", "status": "in_progress", "summary": [], "content": []},
    "summary": {"type": "reasoning", "status": "in_progress", "summary": []},
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
