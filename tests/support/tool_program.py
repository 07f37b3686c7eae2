"""One program with tools, to be run on any engine: what it gets is the same wherever the same model runs."""

from __future__ import annotations

import json
from typing import Any

from openai.types.chat import ChatCompletion

from gemma_tools import BaseModelBackend
from gemma_tools.tools import run_tools
from support.chat import ALARM, accumulated, user
from support.promises import broken_answer, json_format

QUESTION = "what is the weather in Rome?"
_CITY = {"type": "string", "description": "The city name", "enum": ["Paris", "Rome"]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Gets the current weather for a city.",
        "parameters": {"type": "object", "properties": {"city": _CITY}, "required": ["city"], "additionalProperties": False},
    },
}
_ANSWER = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}


def get_weather(city: str) -> str:
    """Gets the current weather for a city.

    Args:
        city: The city name
    """
    return "21 degrees" if city == "Rome" else "no such city"


def ran(model: BaseModelBackend, *, structured: bool = True) -> dict[str, Any]:
    """What the program gets: the calls of each kind of request, and the transcript of a loop."""
    loop = run_tools(model, user(QUESTION), [get_weather], max_rounds=3)
    got = {
        "plain": _calls(model.run(user(QUESTION), tools=[WEATHER, ALARM])),
        "streamed": _calls(accumulated(list(model.run(user(QUESTION), tools=[WEATHER], stream=True)))),
        "forced": _calls(model.run(user(QUESTION), tools=[WEATHER], tool_choice="required")),
        "loop": [_said(message) for message in loop.messages[1:3]],
        "answered": bool(loop.messages[-1]["content"]),
    }
    if structured:
        got["structured"] = broken_answer(model.run(user(QUESTION), response_format=json_format(_ANSWER)), _ANSWER)
    return got


EXPECTED = {
    "plain": [("get_weather", {"city": "Rome"})],
    "streamed": [("get_weather", {"city": "Rome"})],
    "forced": [("get_weather", {"city": "Rome"})],
    "loop": [[("get_weather", {"city": "Rome"})], "21 degrees"],
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
