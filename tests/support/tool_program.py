"""One program with tools, to be run on any engine: what it gets is the same wherever the same model runs."""

from __future__ import annotations

import json
from typing import Any

from openai.types.chat import ChatCompletion

from gemma_tools import BaseModelBackend
from gemma_tools.tools import run_tools
from support.chat import ALARM, WEATHER, accumulated, user
from support.promises import broken_answer, json_format

QUESTION = "what is the weather in Paris?"
_CITY = {"type": "string", "description": "The city name", "enum": ["Paris"]}
_PARAMETERS = {"type": "object", "properties": {"city": _CITY}, "required": ["city"], "additionalProperties": False}
IN_PARIS = {"type": "function", "function": {**WEATHER["function"], "parameters": _PARAMETERS}}
"""The tiny model copies what was asked into calls in its own notation, and not into JSON: there, it has no choice."""
_ANSWER = {
    "type": "object",
    "properties": {"city": {"enum": ["Berlin", "Paris"]}},
    "required": ["city"],
    "additionalProperties": False,
}


def get_weather(city: str) -> str:
    """Gets the current weather for a city.

    Args:
        city: The city name
    """
    return "21 degrees" if city == "Paris" else "no such city"


def ran(model: BaseModelBackend, *, structured: bool = True) -> dict[str, Any]:
    """What the program gets: the calls of each kind of request, and the transcript of a loop.

    The tiny model writes JSON only where it is bound to: `structured` says whether it is.
    """
    loop = run_tools(model, user(QUESTION), [get_weather], max_rounds=3)
    got = {
        "plain": _calls(model.run(user(QUESTION), tools=[WEATHER, ALARM])),
        "streamed": _calls(accumulated(list(model.run(user(QUESTION), tools=[WEATHER], stream=True)))),
        "forced": _calls(model.run(user(QUESTION), tools=[IN_PARIS], tool_choice="required")),
        "loop": [_said(message) for message in loop.messages[1:3]],
        "answered": bool(loop.messages[-1]["content"]),
    }
    answer = model.run(user(QUESTION), response_format=json_format(_ANSWER)) if structured else None
    return got | {"structured": broken_answer(answer, _ANSWER) if answer else None}


EXPECTED = {
    "plain": [("get_weather", {"city": "Paris"})],
    "streamed": [("get_weather", {"city": "Paris"})],
    "forced": [("get_weather", {"city": "Paris"})],
    "loop": [[("get_weather", {"city": "Paris"})], "21 degrees"],
    "answered": True,
    "structured": None,
}


def _calls(answer: ChatCompletion) -> list[tuple[str, Any]]:
    calls = answer.choices[0].message.tool_calls or ()
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]  # type: ignore[union-attr]


def _said(message: Any) -> Any:
    calls = message.get("tool_calls")
    if not calls:
        return message["content"]
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]
