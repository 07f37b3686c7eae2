"""Tools, schemas and grammars that are too large are refused before anything is made of them, by limits that can be set."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_tools import FunctionGemmaModel, create_model
from gemma_tools.engines.base import Capabilities
from gemma_tools.errors import InvalidRequest
from gemma_tools.testing import ScriptedEngine
from support.chat import WEATHER, user

GRAMMARS = Capabilities(settings=frozenset(), constraints=frozenset({"gbnf", "lark"}))


def refused(fields: dict[str, Any], **settings: Any) -> InvalidRequest:
    """The refusal of a request with `fields` by a model with `settings`; the engine is not asked."""
    engine = ScriptedEngine([""], capabilities=GRAMMARS)
    with pytest.raises(InvalidRequest) as caught:
        create_model("functiongemma", engine=engine, **settings).run(user("hi"), **fields)
    assert engine.asked == []
    assert caught.value.code == "too_large"
    return caught.value


def wide(properties: int, words: int = 1) -> dict[str, Any]:
    names = {f"name{i}": {"type": "string", "description": "word " * words} for i in range(properties)}
    return {"type": "object", "properties": names}


def tools(*schemas: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": f"t{i}", "parameters": s}} for i, s in enumerate(schemas)]


def test_too_many_tools() -> None:
    wrong = refused({"tools": tools(*[wide(1)] * 5)}, max_tools=4)
    assert (wrong.param, "max_tools" in str(wrong)) == ("tools", True)


@pytest.mark.parametrize("schemas", [[wide(100)], [wide(50), wide(50)], [wide(1, words=1000)], [{"enum": list(range(2000))}]])
def test_too_large_schemas(schemas: list[dict[str, Any]]) -> None:
    wrong = refused({"tools": tools(*schemas)}, max_schema_size=2000)
    assert (wrong.param, "max_schema_size" in str(wrong)) == ("tools", True)


def test_a_schema_too_large_for_plain_values() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(3000):
        deep = {"type": "array", "items": deep}
    assert refused({"tools": tools({"type": "object", "properties": {"a": deep}})}, max_schema_size=2000).param == "tools"


def test_the_schema_of_the_answer_counts_too() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": wide(50)}}
    wrong = refused({"response_format": wanted, "tools": tools(wide(50))}, max_schema_size=3000)
    assert wrong.param == "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": tools(wide(20)), "tool_choice": "required"}, "tools"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": wide(20)}}}, "response_format"),
        ({"grammar": "root ::= " + '"a" ' * 1000}, "grammar"),
    ],
)
def test_too_large_grammars(fields: dict[str, Any], param: str) -> None:
    wrong = refused(fields, max_grammar_size=1000)
    assert (wrong.param, "max_grammar_size" in str(wrong)) == (param, True)


def test_sixty_thousand_names_are_refused_by_default() -> None:
    names = {"type": "object", "required": [f"name{i}" for i in range(60_000)]}
    assert refused({"tools": tools(names), "tool_choice": "required"}).param == "tools"


def test_tools_of_every_day_are_within_the_limits() -> None:
    many = [{**WEATHER, "function": {**WEATHER["function"], "name": f"t{i}"}} for i in range(200)]
    engine = ScriptedEngine(["hello"])
    assert FunctionGemmaModel("x", engine=engine).run(user("hi"), tools=many).choices[0].message.content == "hello"
