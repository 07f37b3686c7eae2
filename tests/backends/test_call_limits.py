"""How many calls one answer holds: what the grammar allows, and an engine that is stopped where reading ends."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_tools import Gemma3Model
from gemma_tools.engines.base import Capabilities
from gemma_tools.testing import ScriptedEngine
from support.chat import WEATHER, calls, user

FORCED = Capabilities(settings=frozenset({"temperature", "max_tokens"}), constraints=frozenset({"gbnf"}))


@pytest.mark.parametrize(
    ("style", "asked", "most"),
    [
        ("json", {}, 1),
        ("json", {"parallel_tool_calls": None}, 1),
        ("json", {"parallel_tool_calls": False}, 1),
        ("json", {"parallel_tool_calls": True}, 16),
        ("pythonic", {}, 16),
        ("pythonic", {"parallel_tool_calls": False}, 1),
    ],
)
def test_gemma_3_s_json_style_takes_one_call_unless_the_request_says_otherwise(style: Any, asked: Any, most: int) -> None:
    once = '{"name": "get_weather", "parameters": {"city": "Paris"}}' if style == "json" else '[get_weather(city="Paris")]'
    engine = ScriptedEngine([once], capabilities=FORCED)
    model = Gemma3Model("gemma-3-4b-it", {"top_p": None, "top_k": None}, engine=engine, tool_style=style)
    answer = model.run(user("go"), tools=[WEATHER], tool_choice="required", **asked)
    assert len(calls(answer)) == 1
    constraint = engine.asked[0].constraint
    grammar = model.format.grammar([WEATHER], tool_choice="required", parallel=True, max_calls=most)
    assert constraint is not None
    assert constraint.gbnf == grammar.gbnf
