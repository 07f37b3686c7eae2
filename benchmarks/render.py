"""The time to render a prompt, divided by that of `json.dumps` of the same request in the same run.

    python benchmarks/render.py

Every row is one format and one size. The columns: the same request object each time; a deep copy each time; empty caches each
time; and, if jinja2 is installed, a small template that prints the same declarations and turns.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from gemma_tools.formats import family, get_format, rendering
from gemma_tools.formats.base import Format
from gemma_tools.formats.brace import writer
from gemma_tools.validation import cached_tool

SIZES = ((20, 10), (100, 200))
"""Tools and turns. A turn is a question, a call, its result and an answer."""


def make_request(tools: int, turns: int) -> dict[str, Any]:
    """An OpenAI request of that size. Its properties have types and descriptions, with one of each kind of nesting."""
    return {"messages": list(_messages(tools, turns)), "tools": [_tool(i) for i in range(tools)]}


def _tool(i: int) -> dict[str, Any]:
    properties = {
        "city": {"type": "string", "description": "The city, and the country where the name is not unique."},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "description": "The unit of temperatures."},
        "days": {"type": "integer", "description": "How many days to look ahead, from 1 to 14."},
        "stations": {"type": "array", "items": {"type": "string"}, "description": "Only these stations."},
        "where": {
            "type": "object",
            "description": "A place that is no city.",
            "properties": {"latitude": {"type": "number"}, "longitude": {"type": "number", "description": "Degrees east."}},
            "required": ["latitude", "longitude"],
        },
    }
    function = {
        "name": f"forecast_{i}",
        "description": f"The forecast of provider {i} for a place, with wind, rain and temperature by the hour.",
        "parameters": {"type": "object", "properties": properties, "required": ["city"]},
    }
    return {"type": "function", "function": function}


def _messages(tools: int, turns: int) -> Iterable[dict[str, Any]]:
    yield {"role": "system", "content": "You help people who plan a walk. Look the weather up before you answer."}
    for turn in range(turns):
        yield {"role": "user", "content": f"Can we walk along the harbour on day {turn}, or will it rain?"}
        arguments = json.dumps({"city": "Brest, France", "days": turn % 14 + 1, "unit": "celsius"})
        function = {"name": f"forecast_{turn % tools}", "arguments": arguments}
        call = {"id": f"call_{turn}", "type": "function", "function": function}
        yield {"role": "assistant", "content": None, "tool_calls": [call]}
        result = json.dumps({"rain": turn % 3 / 2, "wind": {"from": "west", "knots": turn % 30}, "warning": None})
        yield {"role": "tool", "tool_call_id": f"call_{turn}", "content": result}
        yield {
            "role": "assistant",
            "content": f"On day {turn} it stays dry until the evening, with a light wind from the west.",
        }


def forget() -> None:
    """Empty all caches."""
    for cached in (
        cached_tool,
        family._remembered_declaration,
        writer._remembered_call,
        rendering._remembered_result,
    ):
        cached.cache_clear()


def seconds(action: Callable[[dict[str, Any]], object], body: dict[str, Any]) -> float:
    """The CPU time of one run of `action`; a busy machine does not change it much."""
    start = time.process_time()
    action(body)
    return time.process_time() - start


def ratios(format: Format, body: dict[str, Any], rounds: int = 60) -> dict[str, float]:
    """The times of `render(...).text`, divided by that of `json.dumps`; of each kind the shortest time.

    The kinds take turns, so that a busy machine affects all of them. It affects the shortest times least.
    """
    times: dict[str, list[float]] = {"dumps": [], "cold": [], "same": [], "copied": []}

    def render(argument: dict[str, Any]) -> str:
        return format.render(argument["messages"], argument["tools"]).text

    for _ in range(rounds):
        times["dumps"].append(seconds(json.dumps, body))
        forget()
        times["cold"].append(seconds(render, body))
        times["same"].append(seconds(render, body))
        times["copied"].append(seconds(render, copy.deepcopy(body)))
    shortest = {kind: min(runs) for kind, runs in times.items()}
    return {kind: shortest[kind] / shortest["dumps"] for kind in shortest}


def main() -> None:
    """Print the table."""
    print(f"{'format':14} {'tools':>5} {'turns':>5} {'same':>6} {'copied':>7} {'cold':>6}")
    for name in ("functiongemma", "gemma4", "gemma3"):
        for tool_count, turn_count in SIZES:
            row = ratios(get_format(name), make_request(tool_count, turn_count))
            print(f"{name:14} {tool_count:5} {turn_count:5} {row['same']:6.2f} {row['copied']:7.2f} {row['cold']:6.2f}")


if __name__ == "__main__":
    main()
