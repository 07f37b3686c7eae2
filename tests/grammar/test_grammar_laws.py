"""Whatever a grammar takes is a valid call, and all of its printed forms say the same."""

from __future__ import annotations

from random import Random
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.formats import get_format
from support.gbnf import Gbnf
from support.grammar_tools import ALL, random_text, takes, tool, without_controls

NAMES = ("a", "B", "b2", "_z", "at", "first name", "x.y", "type")

scalars = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": ["string", "null"]}),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more}, st.integers(0, 4), st.integers(0, 90)
    ),
    st.builds(lambda low: {"type": "string", "minLength": low}, st.integers(0, 3)),
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "integer"},
            {"type": "number"},
            {"type": ["integer", "string"]},
            {"enum": ["high", "higher", 1, 10, 1.5, None, True]},
            {"type": "string", "enum": ["<", "<=", ">", "a,b"]},
            {"const": "only"},
            {"type": "string", "format": "date"},
            {"type": "string", "format": "date-time"},
            {"type": "string", "format": "email"},
            {"type": "string", "format": "uuid"},
            {"type": "string", "format": "ipv4"},
            {"type": "string", "format": "uri"},
            {"type": "string", "pattern": r"^[A-Z]{2}-\d{1,4}(x|yz)?$"},
            {"type": "string", "pattern": "ab+c"},
            {"type": "string", "pattern": r"^\w+\s\S*$|^\.+"},
        ]
    ),
    st.builds(
        lambda kind, low, more, strict: {"type": kind, "exclusiveMinimum" if strict else "minimum": low, "maximum": low + more},
        st.sampled_from(["integer", "number"]),
        st.integers(-1200, 1200),
        st.integers(1, 2000),
        st.booleans(),
    ),
    st.builds(lambda key, n: {"type": "number", key: n}, st.sampled_from(["minimum", "exclusiveMaximum"]), st.integers(-9, 99)),
)
containers = st.sampled_from(
    [
        {},
        {"type": "object"},
        {"type": "array"},
        {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
        {"enum": ["x", ["x", "xy"], {"k": "v"}, []]},
    ]
)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def build(members: dict[str, Any], wanted: list[bool], more: object) -> dict[str, Any]:
        required = [name for name, need in zip(members, wanted, strict=False) if need]
        schema = {"type": "object", "properties": members, "required": required}
        return schema if more is None else {**schema, "additionalProperties": more}

    more = st.sampled_from([None, None, None, False, True, {"type": "integer"}])
    return st.builds(
        build, st.dictionaries(st.sampled_from(NAMES), inner, max_size=4), st.lists(st.booleans(), max_size=4), more
    )


schemas = st.recursive(
    scalars | containers,
    lambda inner: st.one_of(
        _objects(inner),
        st.builds(
            lambda items, low, more: {"type": "array", "items": items, "minItems": low, "maxItems": low + more},
            inner,
            st.integers(0, 3),
            st.integers(0, 70),
        ),
        st.builds(
            lambda firsts, rest: {"type": "array", "prefixItems": firsts, "items": rest},
            st.lists(inner, min_size=1, max_size=3),
            st.sampled_from([True, False]),
        ),
        # Readers take the type of an array's items, or of a key, from one branch: so one branch at most has any.
        st.builds(lambda branches, last: {"anyOf": [*branches, last]}, st.lists(scalars, max_size=2), inner),
        st.builds(lambda schema: {"allOf": [schema, {"description": "same"}]}, inner),
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("notation", ALL)
@given(parameters=_objects(schemas), seed=st.integers(0, 2**32))
def test_what_a_grammar_takes_reads_back_as_valid_arguments(notation: str, parameters: dict[str, Any], seed: int) -> None:
    tools, format = [tool("put", parameters)], get_format(ALL[notation][0], **ALL[notation][1])
    grammar = format.grammar(tools, tool_choice="required", parallel=False)
    text = random_text(grammar, Random(seed))
    reply = format.parse(text, tools)
    assert [call.name for call in reply.tool_calls] == ["put"], text
    assert reply.content is None
    # Keys that no schema names may be drawn twice; then the last value counts.
    assert {problem.kind for problem in reply.problems} <= {"key_twice", "duplicate"}
    if not grammar.warnings:
        jsonschema_rs.validate(parameters, reply.tool_calls[0].arguments)
    # As printed, a string with limits of its own may hold fewer `<`.
    angles = without_controls(text, grammar.controls).count("<")
    angled = angles > 64 or ("Length" in str(parameters) and angles > 0)
    assert angled or (takes(grammar, text) and Gbnf(grammar.gbnf).takes(text) and Gbnf(grammar.ebnf).takes(text)), text


@pytest.mark.parametrize("notation", ALL)
@given(parameters=_objects(schemas), seed=st.integers(0, 2**32))
def test_what_is_drawn_from_the_printed_gbnf_is_a_valid_call_too(notation: str, parameters: dict[str, Any], seed: int) -> None:
    tools, format = [tool("put", parameters)], get_format(ALL[notation][0], **ALL[notation][1])
    grammar = format.grammar(tools, tool_choice="required", parallel=False)
    text = Gbnf(grammar.gbnf).draw(Random(seed))
    reply = format.parse(text, tools)
    assert [call.name for call in reply.tool_calls] == ["put"], text
    if not grammar.warnings:
        jsonschema_rs.validate(parameters, reply.tool_calls[0].arguments)
    # Where a text without limits is full of `<`, the two printed forms count it differently, and end it at different places.
    crowded = without_controls(text, grammar.controls).count("<") > 64
    assert crowded or takes(grammar, text), text


words = st.sampled_from(
    ["type", "properties", "required", "additionalProperties", "items", "prefixItems", "enum", "const", "anyOf", "oneOf",
     "allOf", "$ref", "$defs", "not", "nullable", "minLength", "maxLength", "pattern", "format", "minimum", "maximum",
     "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "minProperties", "maxProperties",
     "propertyNames", "title"]
)  # fmt: skip
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    words,
    st.sampled_from(
        ["string", "integer", "number", "object", "array", "null", "#", "#/$defs/a", "#/properties/a", "date", "^a(b|c)*$"]
    ),
)
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(words | st.sampled_from(["a", "b"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    parameters=st.dictionaries(words, anything, max_size=6), notation=st.sampled_from(sorted(ALL)), seed=st.integers(0, 2**32)
)
def test_any_json_for_a_schema_gives_a_grammar_that_can_be_left(parameters: dict[str, Any], notation: str, seed: int) -> None:
    format = get_format(ALL[notation][0], **ALL[notation][1])
    tools = [tool("put", parameters)]
    grammar = format.grammar(tools, tool_choice="required", parallel=False)
    text = random_text(grammar, Random(seed))
    assert [call.name for call in format.parse(text, tools).tool_calls] == ["put"]
    Gbnf(grammar.gbnf)
    assert "<" in text or takes(grammar, text)
