"""Checking values against schemas that callers choose."""

from __future__ import annotations

import json

import pytest

from gemma_tools.backends.checks import schema_fault

pytest.importorskip("jsonschema")


@pytest.mark.parametrize(
    ("value", "schema", "fault"),
    [
        ("AB-12", {"pattern": "^[A-Z]{2}-[0-9]+$"}, None),
        ("ab", {"pattern": "^[A-Z]+$"}, "does not match"),
        (7, {"pattern": "^[A-Z]+$"}, None),
        ({"x_1": 1}, {"patternProperties": {"^x_": {"type": "integer"}}, "additionalProperties": False}, None),
        ({"x_1": "a"}, {"patternProperties": {"^x_": {"type": "integer"}}}, "x_1"),
        ({"x_1": 1, "y": 2}, {"patternProperties": {"^x_": {}}, "additionalProperties": False}, "'y'"),
        ({"a": 1, "b": "c"}, {"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, "b"),
        ({"a": 1}, {"properties": {"a": {}}, "additionalProperties": True}, None),
        ("a", {"pattern": "("}, ""),
    ],
)
def test_faults_are_told(value, schema, fault):
    found = schema_fault(json.dumps(value), schema)
    assert (found is None) == (fault is None)
    assert fault is None or fault in (found or "")


@pytest.mark.parametrize("keyword", ["pattern", "patternProperties", "additionalProperties"])
def test_a_pattern_that_would_take_for_ever_is_given_up(keyword):
    text = "a" * 60 + "!"
    endless = r"^(a|a)+$(?=)"
    schemas = {
        "pattern": {"pattern": endless},
        "patternProperties": {"patternProperties": {endless: {}}},
        "additionalProperties": {"patternProperties": {endless: {}}, "additionalProperties": False},
    }
    value = text if keyword == "pattern" else {text: 1}
    fault = schema_fault(json.dumps(value), schemas[keyword])
    assert fault is not None
    assert "cannot be checked" in fault


def test_what_would_match_without_a_bound_is_refused():
    schema = {"patternProperties": {"^a": {}}, "unevaluatedProperties": False}
    assert "unevaluatedProperties" in (schema_fault("{}", schema) or "")
