"""One reader of JSON Schema: the declaration, the parser, the grammar and the check agree on what a parameter is."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.formats import get_format
from gemma_tools.schema.check import value_fault
from gemma_tools.schema.shape import shape_of
from gemma_tools.schema.types import types_of
from support.grammar_tools import ALL, BRACES, properties, random_text, tool

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


TYPES = st.one_of(
    st.sampled_from(["string", "STRING", "integer", "Integer", "number", "NUMBER", "boolean", "BOOLEAN"]).map(
        lambda kind: {"type": kind}
    ),
    st.lists(
        st.sampled_from(["string", "integer", "number", "BOOLEAN", "null", "NULL"]), min_size=1, max_size=3, unique_by=str.lower
    ).map(lambda kinds: {"type": kinds}),
)
SCALARS = st.one_of(
    TYPES,
    # Which type a bare value has is told by the types alone: so no union here has texts, and numbers with limits of their own.
    st.builds(lambda schema, other: {"anyOf": [schema, other]}, TYPES, TYPES),
    st.sampled_from(
        [
            {"enum": ["02134", "Paris"]},
            {"enum": [7, 42]},
            {"enum": ["Paris", None]},
            {"enum": [True, 42, "Paris"]},
            {"type": "STRING", "enum": ["42", "true", "Paris"]},
            {"type": ["string", "integer"], "enum": [42]},
            {"const": "42"},
            {"const": 42},
            {"type": "string", "maxLength": 4},
            {"type": "integer", "minimum": 10},
            {"minLength": 2},
            {"pattern": "^[0-9]+$"},
            {"maximum": 50},
            {"multipleOf": 0.5},
        ]
    ),
)
CONTAINERS = st.sampled_from(
    [
        {"type": "ARRAY", "items": {"type": "STRING"}},
        {"items": {"type": "integer"}},
        {"type": "object", "properties": {"a": {"type": "INTEGER"}}, "required": ["a"]},
        {"properties": {"a": {"type": "string"}}, "additionalProperties": False},
    ]
)


@st.composite
def parameters(draw: st.DrawFn, leaves: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    """Parameters whose property `value` says what it is in some roundabout way."""
    root: dict[str, Any] = properties("value", value={}) | {"$defs": {}}

    def referred(schema: dict[str, Any]) -> dict[str, Any]:
        name = f"T<{len(root['$defs'])}> a/b%"
        pointer = draw(st.sampled_from(["named", "inside a list", "at an anchor"]))
        if pointer == "at an anchor":
            root["$defs"][name] = {**schema, "$anchor": f"t{len(root['$defs'])}"}
            return {"$ref": "#" + root["$defs"][name]["$anchor"]}
        root["$defs"][name] = schema if pointer == "named" else {"anyOf": [{"type": "null"}, schema]}
        path = quote(name.replace("~", "~0").replace("/", "~1"))
        return {"$ref": f"#/$defs/{path}" + ("" if pointer == "named" else "/anyOf/1")}

    wrappers = [
        referred,
        lambda schema: {"allOf": [schema], "description": "wrapped"},
        lambda schema: {"allOf": [{"title": "first"}, {"allOf": [schema]}]},
        lambda schema: {"anyOf": [schema]},
        lambda schema: {"oneOf": [schema], "nullable": True},
        lambda schema: {"anyOf": [{"anyOf": [schema]}, {"type": "NULL"}]},
        lambda schema: {"allOf": [schema], "nullable": True},
        lambda schema: {**schema, "nullable": True},
    ]
    schema = draw(leaves)
    for wrap in draw(st.lists(st.sampled_from(wrappers), max_size=3)):
        schema = wrap(schema)
    root["properties"]["value"] = schema
    return root


LEXEMES = ("02134", "42", "true", "null", "Paris", "1.5", "7", "auto")


def readings(lexeme: str) -> list[Any]:
    """What a value that was written without any marks may mean. That `null` is text is never meant."""
    found: list[Any] = [{"true": True, "null": None}.get(lexeme, lexeme)]
    if lexeme[0].isdigit():
        found.append(float(lexeme) if "." in lexeme else int(lexeme))
    return [*found, lexeme] if lexeme == "true" else found


@given(schema=parameters(SCALARS))
def test_a_bare_value_matches_the_schema_if_possible(schema: dict[str, Any]) -> None:
    types = shape_of(schema).member("value").types
    for lexeme in LEXEMES:
        meant = [value for value in readings(lexeme) if types is None or not types.isdisjoint(types_of(value))]
        accepted = [value for value in meant if value_fault(json.dumps({"value": value}), schema) is None]
        for notation, (family, options) in ALL.items():
            (call,) = get_format(family, **options).parse(written(notation, lexeme), [tool("send", schema)]).tool_calls
            if accepted:
                assert value_fault(call.arguments_json, schema) is None, (notation, lexeme, call.arguments, accepted)


@given(schema=parameters(SCALARS | CONTAINERS))
def test_the_declared_type_is_one_that_the_parser_reads(schema: dict[str, Any]) -> None:
    types = shape_of(schema).member("value").types
    for family in BRACES:
        declaration = get_format(family).declaration(tool("send", schema))
        # The type of a property is written last: it stands before the two brackets that close it and the properties.
        *_, declared = re.findall(r'type:(?:<escape>|<\|"\|>)([A-Z]+)(?:<escape>|<\|"\|>)\}\},required', declaration)
        assert types is None or declared.lower() in types, (declaration, types)


@pytest.mark.parametrize("notation", ALL)
@given(schema=parameters(SCALARS | CONTAINERS), seed=st.integers(0, 2**32))
def test_what_the_grammar_lets_through_is_what_the_check_accepts(notation: str, schema: dict[str, Any], seed: int) -> None:
    format, tools = get_format(ALL[notation][0], **ALL[notation][1]), [tool("send", schema)]
    grammar = format.grammar(tools, tool_choice="required", parallel=False)
    text = random_text(grammar, Random(seed))
    (call,) = format.parse(text, tools).tool_calls
    if not grammar.warnings:
        assert value_fault(call.arguments_json, schema) is None, text
