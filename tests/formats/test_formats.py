"""Formats by name: built in, registered, and from other packages."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat import ChatCompletionFunctionTool

from gemma_tools.errors import InvalidRequest, UnknownName
from gemma_tools.formats import get_format


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="functiongemma, gemma3, gemma4"):
        get_format("gemma5")


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="varnish"):
        get_format("gemma4", varnish=1)


@pytest.mark.parametrize("name", ["functiongemma", "gemma3", "gemma4"])
@pytest.mark.parametrize("recovery", ["schema", "eager"])
@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([{"type": "function", "function": {}}], "tools[0].function.name"),
        ([{"type": "function", "function": {"name": "f", "parameters": "none"}}], "tools[0].function.parameters"),
        ([{"type": "function"}], "tools[0].function"),
        (["f"], "tools[0]"),
        ("f", "tools"),
        ({"name": "f"}, "tools"),
    ],
)
def test_a_parser_refuses_what_is_not_a_list_of_tools(name: str, recovery: str, tools: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as wrong:
        get_format(name, recovery=recovery).parse("text", tools)
    assert wrong.value.param == param


def test_a_parser_takes_the_openai_packages_own_tools() -> None:
    function = {"name": "ping", "parameters": {"type": "object", "properties": {"host": {"type": "string"}}}}
    tool = ChatCompletionFunctionTool.model_validate({"type": "function", "function": function})
    reply = get_format("gemma4").parse("<|tool_call>call:ping{host:007}<tool_call|>", [tool])
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("ping", {"host": "007"})]
