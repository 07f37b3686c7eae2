"""One reader of JSON Schema: the declaration, the parser, the grammar and the check agree on what a parameter is."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_tools.formats import get_format
from support.grammar_tools import ALL, properties, tool

DEFINITIONS = {
    "$defs": {"Code": {"type": "string"}, "Count": {"type": "integer"}},
    "definitions": {"Code<text>": {"type": "string"}, "Count<int>": {"type": "integer"}},
}
FIRST: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "null"}]}
FIRST_COUNT: dict[str, Any] = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
TEXTS: dict[str, dict[str, Any]] = {
    "by the index of a list": {"$ref": "#/properties/first/anyOf/0"},
    "percent-encoded": {"$ref": "#/definitions/Code%3Ctext%3E"},
    "a reference in allOf": {"allOf": [{"$ref": "#/$defs/Code"}], "description": "a code"},
    "inline in allOf": {"allOf": [{"type": "string"}]},
    "nested unions": {"anyOf": [{"anyOf": [{"type": "string"}]}, {"type": "null"}]},
    "meant by pattern": {"pattern": "^[0-9]{5}$"},
    "meant by minLength": {"minLength": 5},
    "in capitals": {"type": "STRING"},
    "nullable beside allOf": {"allOf": [{"$ref": "#/$defs/Code"}], "nullable": True},
    "the common type of allOf": {"allOf": [{"type": ["string", "integer"]}, {"type": ["string", "null"]}]},
}
COUNTS: dict[str, dict[str, Any]] = {
    "by the index of a list": {"$ref": "#/properties/count/anyOf/0"},
    "percent-encoded": {"$ref": "#/definitions/Count%3Cint%3E"},
    "a reference in allOf": {"allOf": [{"$ref": "#/$defs/Count"}]},
    "inline in allOf": {"allOf": [{"type": "integer"}]},
    "nested unions": {"anyOf": [{"anyOf": [{"type": "integer"}]}, {"type": "null"}]},
    "meant by minimum": {"minimum": 1},
    "in capitals": {"type": "INTEGER"},
    "nullable beside allOf": {"allOf": [{"$ref": "#/$defs/Count"}], "nullable": True},
    "the common type of allOf": {"allOf": [{"type": "number"}, {"type": ["integer", "string"]}]},
}


def tools(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [tool("send", properties(value=schema, first=FIRST, count=FIRST_COUNT) | DEFINITIONS)]


def written(notation: str, value: str) -> str:
    """A call of `send` whose value is written just so, without the marks that a string needs."""
    return {
        "functiongemma": "<start_function_call>call:send{{value:{}}}<end_function_call>",
        "gemma4": "<|tool_call>call:send{{value:{}}}<tool_call|>",
        "gemma3-pythonic": "[send(value={})]",
        "gemma3-json": '{{"name": "send", "parameters": {{"value": {}}}}}',
    }[notation].format(value)


def quoted(notation: str, text: str) -> str:
    """The text as the notation writes strings."""
    return {"functiongemma": f"<escape>{text}<escape>", "gemma4": f'<|"|>{text}<|"|>'}.get(notation, f'"{text}"')


def read(notation: str, text: str, schema: dict[str, Any]) -> Any:
    """The value that a call with this text has."""
    format = get_format(ALL[notation][0], **ALL[notation][1])
    (call,) = format.parse(written(notation, text), tools(schema)).tool_calls
    return call.arguments["value"]


@pytest.mark.parametrize("notation", ALL)
@pytest.mark.parametrize("shape", TEXTS)
def test_digits_stay_text_where_text_is_declared(notation: str, shape: str) -> None:
    assert read(notation, "60155", TEXTS[shape]) == "60155"


@pytest.mark.parametrize("notation", ALL)
@pytest.mark.parametrize("shape", COUNTS)
def test_text_becomes_a_number_where_a_number_is_declared(notation: str, shape: str) -> None:
    assert read(notation, quoted(notation, "31"), COUNTS[shape]) == 31
