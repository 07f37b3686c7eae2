"""Checking values against schemas that callers choose."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from gemma_tools.schema.check import schema_fault, value_fault

pytest.importorskip("jsonschema_rs")

ENDLESS = r"^(?:a|a)+(?!x)$"
"""Looks ahead, so that no automaton can stand in for it, and has a million ways to match."""


@pytest.mark.parametrize(
    ("value", "schema", "fault"),
    [
        ("AB-12", {"pattern": "^[A-Z]{2}-[0-9]+$"}, None),
        ("ab", {"pattern": "^[A-Z]+$"}, '$: "ab" does not match'),
        (7, {"pattern": "^[A-Z]+$"}, None),
        ({"x_1": 1}, {"patternProperties": {"^x_": {"type": "integer"}}, "additionalProperties": False}, None),
        ({"x_1": "a"}, {"patternProperties": {"^x_": {"type": "integer"}}}, "$.x_1: "),
        ({"x_1": 1, "y": 2}, {"patternProperties": {"^x_": {}}, "additionalProperties": False}, "'y'"),
        ({"x_1": 1, "y": 2}, {"patternProperties": {"^x_": {}}, "unevaluatedProperties": False}, "'y'"),
        ({"a": 1, "b": "c"}, {"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, "$.b: "),
        ({"a": 1}, {"properties": {"a": {}}, "additionalProperties": True}, None),
        ({"a b": ["x", 1]}, {"properties": {"a b": {"items": {"type": "string"}}}}, "$['a b'][1]: 1 is not of type \"string\""),
        (True, {"anyOf": [{"type": "string"}, {"type": "null"}]}, 'true is not of type "string"'),
        ("2026-13-45", {"type": "string", "format": "date"}, None),
        (1.0, {"type": "integer"}, None),
        (10**60, {"type": "integer"}, None),
        (True, {"enum": [1]}, "$: true is not one of"),
    ],
)
def test_faults_say_where_and_what(value: Any, schema: dict[str, Any], fault: str | None) -> None:
    found = value_fault(json.dumps(value), schema)
    assert (found is None) == (fault is None)
    assert fault is None or fault in (found or "")


@pytest.mark.parametrize("google", ["STRING", "String"])
def test_types_in_capitals_and_nullable_are_checked_as_they_are_declared(google: str) -> None:
    schema = {
        "type": "OBJECT",
        "properties": {
            "type": {"type": google, "nullable": True},
            "nullable": {"type": "BOOLEAN"},
            "level": {"type": google, "enum": ["low", "high"], "nullable": True},
            "tags": {"type": "ARRAY", "items": {"type": google}},
            "place": {"allOf": [{"$ref": "#/$defs/Place"}], "nullable": True},
            "either": {"anyOf": [{"type": google}, {"type": "INTEGER"}], "nullable": True},
        },
        "required": ["type"],
        "$defs": {"Place": {"type": "OBJECT", "properties": {"city": {"type": google}}, "default": {"type": "STRING"}}},
    }
    assert schema_fault(schema) is None
    fine = {"type": None, "nullable": True, "level": None, "tags": ["a"], "place": None, "either": None}
    assert value_fault(json.dumps(fine), schema) is None
    assert value_fault(json.dumps({"type": "a", "level": "low", "place": {"city": "Oslo"}, "either": 2}), schema) is None
    for name, wrong in {"type": 1, "nullable": None, "level": "mid", "tags": [1], "place": {"city": 1}, "either": 1.5}.items():
        fault = value_fault(json.dumps({**fine, name: wrong}), schema)
        assert fault is not None
        assert fault.startswith(f"$.{name}"), fault


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"properties": {"a": {"type": "text"}}}, '$.properties.a.type: "text"'),
        ({"properties": {"a": {"pattern": "("}}}, '$.properties.a.pattern: "("'),
        ({"properties": ["a"]}, "$.properties: "),
        ({"required": "a"}, "$.required: "),
        ({"items": {"$ref": "#/$defs/none"}}, "$ref '#/$defs/none' leads nowhere in the schema"),
        ({"items": {"$ref": "https://example.org/item.json"}}, "'https://example.org/item.json' leads out of the schema"),
        ({"items": {"$ref": "item.json"}}, "'item.json' leads out of the schema"),
        ({"$id": "https://example.org/", "items": {"$ref": "item.json"}}, "'item.json' leads out of the schema"),
    ],
)
def test_an_invalid_schema_is_named_with_what_is_wrong(schema: dict[str, Any], fault: str) -> None:
    assert fault in (schema_fault(schema) or "")
    assert (value_fault("1", schema) or "").startswith("its schema is not valid: ")


def test_references_within_the_schema_are_followed() -> None:
    named = {"$anchor": "size", "type": "INTEGER"}
    schema = {"properties": {"a": {"$ref": "#size"}, "b": {"$ref": "#/$defs/a%20b/anyOf/0"}}}
    schema["$defs"] = {"n": named, "a b": {"anyOf": [{"type": "string"}]}}
    assert value_fault('{"a": 1, "b": "x"}', schema) is None
    assert (value_fault('{"a": "x"}', schema) or "").startswith("$.a: ")
    assert (value_fault('{"b": 1}', schema) or "").startswith("$.b: ")


def test_another_dialect_is_read_as_the_newest_draft() -> None:
    assert value_fault("1", {"$schema": "https://example.org/dialect", "type": "string"}) == '$: 1 is not of type "string"'
    old = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}
    assert (value_fault("[1]", old) or "").startswith("$[0]: ")


@pytest.mark.parametrize("keyword", ["pattern", "patternProperties", "additionalProperties", "propertyNames"])
def test_a_pattern_that_would_take_for_ever_is_given_up(keyword: str) -> None:
    text = "a" * 60 + "!"
    schemas: dict[str, dict[str, Any]] = {
        "pattern": {"pattern": ENDLESS},
        "patternProperties": {"patternProperties": {ENDLESS: {"type": "string"}}},
        "additionalProperties": {"patternProperties": {ENDLESS: {}}, "additionalProperties": False},
        "propertyNames": {"propertyNames": {"pattern": ENDLESS}},
    }
    value = text if keyword == "pattern" else {text: 1}
    fault = value_fault(json.dumps(value), schemas[keyword])
    assert fault is not None
    assert "cannot be checked: the pattern at $." in fault
    assert "too many steps" in fault


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def test_what_is_nested_too_deep_for_the_stack_is_not_checked() -> None:
    schema: dict[str, Any] = {"additionalProperties": {"$ref": "#"}}
    assert value_fault(nested(100), schema) is None
    for depth in (129, 100_000):
        assert value_fault(nested(depth), schema) == "it cannot be checked: it is nested deeper than 128 levels"
    wide = json.dumps([[]] * 1000)
    assert value_fault(wide, {"type": "array"}) is None


def test_long_ways_on_one_level_leave_less_depth() -> None:
    hops = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(1000)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**hops, "d1000": {"additionalProperties": {"$ref": "#"}}}}
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.extend(value_fault(nested(depth), schema) for depth in (10, 100)))
    thread.start()
    thread.join()
    assert found[0] is None
    assert "nested deeper than 15 levels" in (found[1] or "")


def test_schemas_too_large_or_too_deep_are_refused() -> None:
    many = {f"d{i}": {"$ref": "#/$defs/d0"} for i in range(1, 4000)}
    assert "more than 3000 references" in (schema_fault({"$defs": {"d0": {}, **many}}) or "")
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"items": deep}
    assert schema_fault(deep)
    for _ in range(100_000):
        deep = {"items": deep}
    assert "too deep" in (schema_fault(deep) or "")


def test_messages_stay_short() -> None:
    fault = value_fault(json.dumps("x" * 100_000), {"type": "integer"})
    assert fault is not None
    assert len(fault) < 500
    assert fault.endswith('is not of type "integer"')


def test_text_that_is_not_valid_unicode_or_json_is_a_fault() -> None:
    assert "cannot be checked" in (value_fault('"\\ud800"', {"type": "string"}) or "")
    assert "not valid JSON" in (value_fault("{", {}) or "")
    assert "not valid JSON" in (value_fault("NaN", {}) or "")
