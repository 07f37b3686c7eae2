"""Our reading of Gemma 4 calls against llama-server's own, on the same weights and the same prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from gemma_tools.data import tiny_path
from gemma_tools.formats import get_format
from support.servers.llama import llama_server
from support.servers.templates import GEMMA4

pytest.importorskip("xllamacpp")


def tool(name: str, description: str, **properties: tuple[str, str]) -> dict:
    described = {key: {"type": type_, "description": text} for key, (type_, text) in properties.items()}
    parameters = {"type": "object", "properties": described}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


WEATHER = tool("get_weather", "Gets the current weather for a city.", city=("string", "The city name"))
TIMER = tool("set_timer", "Starts a timer in minutes.", minutes=("integer", "Number of minutes"))
LIGHT = tool(
    "turn_light", "Turns the light in a room on or off.", room=("string", "The room name"), on=("boolean", "True to turn on")
)
MONEY = tool(
    "convert_currency",
    "Converts an amount of money between currencies.",
    amount=("number", "The amount"),
    source=("string", "The currency to convert from"),
    target=("string", "The currency to convert to"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[httpx.Client]:
    with llama_server(tiny_path(), chat_template=GEMMA4) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield client


@pytest.mark.parametrize(
    ("tools", "question", "count"),
    [
        ([WEATHER], "what is the weather in Paris?", 1),
        ([TIMER], "set a timer for 12 minutes", 1),
        ([LIGHT], "turn on the light in the kitchen", 1),
        ([MONEY], "convert 12.5 USD to EUR", 1),
        ([WEATHER, TIMER], "weather in Oslo please and set a timer for 5 minutes", 2),
        ([WEATHER], "hello", 0),
    ],
)
def test_both_read_the_same_calls(server, tools, question, count):
    request = {"messages": [{"role": "user", "content": question}], "tools": tools, "temperature": 0, "max_tokens": 100}
    format = get_format("gemma4")
    prompt = server.post("/apply-template", json=request).raise_for_status().json()["prompt"]
    generation = {"temperature": 0, "n_predict": 100, "preserved_tokens": list(format.controls)}
    raw = server.post("/completion", json={"prompt": prompt.removeprefix("<bos>"), **generation}).raise_for_status().json()
    theirs = server.post("/v1/chat/completions", json=request).raise_for_status().json()["choices"][0]["message"]
    ours = format.parse(raw["content"], tools)
    calls = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in theirs.get("tool_calls") or []]
    assert [(call.name, call.arguments) for call in ours.tool_calls] == calls
    assert len(calls) == count
    assert (ours.content or "") == (theirs["content"] or "")
