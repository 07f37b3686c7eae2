"""Chat endpoints that behave as hosted ones do, each in front of a real llama-server: their manners are data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import httpx

from support.servers.loopback import JsonHandler, serving

KEY = "the-key"
_ALWAYS = {"model", "messages", "stream", "stream_options", "max_tokens", "temperature", "top_p", "stop"}


def _gemini(message: str) -> Any:
    """An error of Gemini's compatibility layer: a list."""
    return [{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}]


def _openrouter(code: int, message: str) -> Any:
    return {"error": {"message": message, "code": code}}


@dataclass(frozen=True)
class Manner:
    """How one endpoint treats requests, and how it writes answers."""

    fields: frozenset[str]
    """The fields that it knows; others are refused by name, as Gemini does."""
    refuses: Mapping[str, tuple[int, Any]] = field(default_factory=dict)
    """A status and a body for requests with tools ("tools"), system turns ("system") or a response format ("json_schema")."""
    whole_calls: bool = False
    """Calls come in one piece each, without an index."""
    comments: bool = False
    """Comments keep the connection alive until the first piece."""
    thought: tuple[Mapping[str, Any], ...] = ()
    """The deltas with which it tells a thought, where one is asked for."""
    streams: bool = True
    """It streams; False: it answers with one JSON object whatever was asked."""


_NO_TOOLS = "No endpoints found that support tool use. To learn more about provider routing, visit: https://openrouter.ai/docs"
MANNERS = {
    "gemini, a model without tools": Manner(
        fields=frozenset(_ALWAYS | {"tools", "tool_choice", "response_format", "reasoning_effort"}),
        refuses={
            "tools": (400, _gemini("Function calling is not enabled for models/tiny")),
            "system": (400, _gemini("Developer instruction is not enabled for models/tiny")),
            "json_schema": (400, _gemini("JSON mode is not enabled for models/tiny")),
        },
    ),
    "gemini": Manner(
        fields=frozenset(_ALWAYS | {"tools", "tool_choice", "response_format", "reasoning_effort", "extra_body"}),
        whole_calls=True,
        thought=(
            {"content": "<thought>Well", "extra_content": {"google": {"thought": True}}},
            {"content": ", hm.", "extra_content": {"google": {"thought": True}}},
            {"content": "</thought>"},
        ),
    ),
    "openrouter, a model without tools": Manner(
        fields=frozenset(_ALWAYS | {"tools", "tool_choice", "response_format", "provider", "reasoning", "top_k"}),
        refuses={"tools": (404, _openrouter(404, _NO_TOOLS))},
        comments=True,
    ),
    "openrouter": Manner(
        fields=frozenset(_ALWAYS | {"tools", "tool_choice", "response_format", "provider", "reasoning", "top_k"}),
        comments=True,
        thought=tuple(
            {"content": "", "reasoning": text, "reasoning_details": [{"type": "reasoning.text", "text": text}]}
            for text in ("Well", ", hm.")
        ),
    ),
    "a gateway that does not stream": Manner(
        fields=frozenset(_ALWAYS | {"tools", "tool_choice", "response_format"}), streams=False
    ),
}
"""Source: the providers' documentation, and what their users report: see `gemma_tools.engines.providers`."""


def hosted(llama: str, manner: Manner, *, seen: list[dict[str, Any]] | None = None) -> AbstractContextManager[str]:
    """Serve in this manner on top of the llama-server at `llama`; `seen` takes the bodies of the requests."""

    class Handler(JsonHandler):
        def do_POST(self) -> None:
            body = self.body()
            if seen is not None:
                seen.append(body)
            if self.headers["Authorization"] != f"Bearer {KEY}":
                return self.answer(401, {"error": {"message": "User not found.", "code": 401}})
            if refusal := _refusal(body, manner):
                return self.answer(*refusal)
            message, finish, usage = _answer(llama, body)
            if not manner.streams:
                choice = {"index": 0, "message": message, "finish_reason": finish}
                return self.answer(200, {"object": "chat.completion", "choices": [choice], "usage": usage})
            asked = body.get("reasoning", {}).get("enabled") or "extra_body" in body
            events = _chunks(message, finish, usage, manner, manner.thought if asked else ())
            self.answer_events(events, comments=manner.comments)

    return serving(Handler)


def _refusal(body: Mapping[str, Any], manner: Manner) -> tuple[int, Any] | None:
    unknown = sorted(body.keys() - manner.fields)
    if unknown:
        named = "\n".join(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.' for name in unknown)
        return 400, _gemini(named)
    asks: dict[str, Callable[[], bool]] = {
        "tools": lambda: "tools" in body,
        "system": lambda: any(message["role"] == "system" for message in body["messages"]),
        "json_schema": lambda: "response_format" in body,
    }
    return next((manner.refuses[what] for what, asked in asks.items() if what in manner.refuses and asked()), None)


def _answer(llama: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], str, dict[str, Any]]:
    kept = {name: value for name, value in body.items() if name not in ("stream", "stream_options", "provider", "reasoning")}
    answer = httpx.post(f"{llama}/v1/chat/completions", json=kept, timeout=120).raise_for_status().json()
    [choice] = answer["choices"]
    usage = {name: answer["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return choice["message"], choice["finish_reason"], usage


def _chunks(
    message: Mapping[str, Any],
    finish: str,
    usage: Mapping[str, Any],
    manner: Manner,
    thought: tuple[Mapping[str, Any], ...],
) -> Iterator[dict[str, Any]]:
    def chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "tiny", "choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    yield from map(chunk, thought)
    text = message.get("content") or ""
    for start in range(0, len(text), 3):
        yield chunk({"content": text[start : start + 3]})
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        if manner.whole_calls:
            yield chunk({"role": "assistant", "tool_calls": [{"id": "", "type": "function", "function": function}]})
            continue
        yield chunk({"tool_calls": [{"index": index, "id": f"c{index}", "function": {**function, "arguments": ""}}]})
        for start in range(0, len(function["arguments"]), 5):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": function["arguments"][start : start + 5]}}]})
    yield chunk({}, finish)
    yield {**chunk({}), "choices": [], "usage": dict(usage)}
