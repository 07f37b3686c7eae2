"""Formats by name: built in, registered, and from other packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest
from openai.types.chat import ChatCompletionFunctionTool

import gemma_tools.formats as formats
from gemma_tools.errors import InvalidRequest, UnknownName
from gemma_tools.formats import get_format, register_format
from gemma_tools.formats.functiongemma import FunctionGemmaFormat


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="functiongemma, gemma3, gemma4"):
        get_format("gemma5")


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="varnish"):
        get_format("gemma4", varnish=1)


def test_a_registered_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_registered", {})
    register_format("mine", FunctionGemmaFormat)
    assert get_format("mine", exact=True) == FunctionGemmaFormat(exact=True)
    register_format("gemma4", FunctionGemmaFormat)
    assert get_format("gemma4") == FunctionGemmaFormat()
    with pytest.raises(UnknownName, match="mine"):
        get_format("yours")


def test_a_format_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("theirs", "gemma_tools.formats.functiongemma:FunctionGemmaFormat", formats.ENTRY_POINTS)

    def entry_points(**asked: Any) -> EntryPoints:
        return EntryPoints([point]).select(**asked)

    monkeypatch.setattr(formats, "entry_points", entry_points)
    assert get_format("theirs") == FunctionGemmaFormat()
    with pytest.raises(UnknownName, match="theirs"):
        get_format("yours")


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
def test_a_parser_refuses_what_is_no_list_of_tools(name: str, recovery: str, tools: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as wrong:
        get_format(name, recovery=recovery).parse("text", tools)
    assert wrong.value.param == param


def test_a_parser_takes_the_openai_packages_own_tools() -> None:
    function = {"name": "ping", "parameters": {"type": "object", "properties": {"host": {"type": "string"}}}}
    tool = ChatCompletionFunctionTool.model_validate({"type": "function", "function": function})
    reply = get_format("gemma4").parse("<|tool_call>call:ping{host:007}<tool_call|>", [tool])
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("ping", {"host": "007"})]
