"""Typing by schema: what the model wrote becomes what the schema asks for, and nothing is guessed."""

from __future__ import annotations

import json

import pytest

from gemma_tools.formats import get_format
from gemma_tools.schema import coerce

STRING, INTEGER, NUMBER = frozenset(["string"]), frozenset(["integer"]), frozenset(["number"])


@pytest.mark.parametrize(
    ("text", "types", "json_text"),
    [
        ("02134", STRING, '"02134"'),
        ("02134", INTEGER, "2134"),
        ("02134", frozenset(["string", "integer"]), '"02134"'),
        ("42", frozenset(["string", "integer"]), "42"),
        ("true", STRING, '"true"'),
        ("TRUE", frozenset(["boolean"]), "true"),
        ("null", INTEGER, "null"),
        ("None", None, "null"),
        ("108.", NUMBER, "108.0"),
        ("+3", INTEGER, "3"),
        (".5", NUMBER, "0.5"),
        ("12345678901234567890123", INTEGER, "12345678901234567890123"),
        ("1.10", NUMBER, "1.10"),
        ("1.5", frozenset(["string", "integer"]), '"1.5"'),
        ("1.0", frozenset(["string", "integer"]), "1.0"),
        ("-7", frozenset(["string", "integer"]), "-7"),
        ("-" + "9" * 400, INTEGER, "-" + "9" * 400),
        ("9" * 5000, INTEGER, None),
        ("1e999", NUMBER, None),
        ("Paris", None, None),
        ("Paris", INTEGER, None),
        ("Paris", STRING, '"Paris"'),
    ],
)
def test_bare_values(text, types, json_text):
    assert coerce.bare(text, types) == json_text


@pytest.mark.parametrize(
    ("text", "types", "value"),
    [
        ("42", STRING, "42"),
        ("42", None, "42"),
        ("42", INTEGER, 42),
        ("forty", INTEGER, "forty"),
        ("true", frozenset(["boolean"]), True),
        ("[1, 2]", frozenset(["array"]), [1, 2]),
        ("[1, NaN]", frozenset(["array"]), "[1, NaN]"),
        ('{"a": 1}', frozenset(["object", "null"]), {"a": 1}),
    ],
)
def test_delimited_values(text, types, value):
    assert json.loads(coerce.delimited(text, types)) == value


@pytest.mark.parametrize("name", ["functiongemma", "gemma4", "gemma3"])
def test_a_union_of_lists_takes_what_any_of_them_takes(name):
    items = {"anyOf": [{"type": "array", "items": {"type": "boolean"}}, {"type": "array", "items": {"type": "string"}}]}
    tools = [{"type": "function", "function": {"name": "put", "parameters": {"type": "object", "properties": {"v": items}}}}]
    format = get_format(name)
    call = {"id": "a", "type": "function", "function": {"name": "put", "arguments": {"v": ["true", "x"]}}}
    text = format.turn({"role": "assistant", "content": None, "tool_calls": [call]}).split("model\n")[1]
    (read,) = format.parse(text, tools).tool_calls
    assert read.arguments == {"v": ["true", "x"]}
