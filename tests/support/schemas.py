"""Schemas of every keyword that grammars hold, each with values that fit it and values that do not."""

from __future__ import annotations

from typing import Any

from support.grammar_tools import properties

SCHEMAS: list[tuple[Any, list[Any], list[Any]]] = [
    ({"type": "string"}, ["", "x", "a < b", "ends with <", "</b>", 'q"\\', "é🌊\n"], [1, True, None, [], {}]),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "abc", "é🌊"], ["", "a", "abcd"]),
    ({"type": "string", "minLength": 1}, ["a", "<", "<b>x</b>"], [""]),
    ({"type": "string", "maxLength": 0}, [""], ["a"]),
    ({"type": "integer"}, [0, -1, 12345678901234567890], [1.5, "1", True]),
    ({"type": "number"}, [0, -1, 1.5, 1e-07, 1e20, 1e22, 0.1 + 0.2], ["1", None]),
    ({"type": "boolean"}, [True, False], ["true", 1, None]),
    ({"type": "null"}, [None], ["null", 0]),
    ({"type": ["string", "null"]}, ["x", None], [1]),
    ({"type": "STRING", "nullable": True}, ["x", None], [1]),
    ({"type": "string", "enum": ["high", "higher", "a,b"]}, ["high", "higher", "a,b"], ["hig", "highe", "highers", ""]),
    ({"enum": [1, "1", None, [1, {"k": "v"}]]}, [1, "1", None, [1, {"k": "v"}]], [2, "2", [1], 11]),
    ({"type": "integer", "enum": [1, "a", 2.0]}, [1], ["a", 3]),
    ({"const": "only"}, ["only"], ["onl", None]),
    ({"type": "integer", "minimum": 1, "maximum": 120}, [1, 9, 10, 99, 100, 119, 120], [0, -1, 121, 200, 1000]),
    ({"type": "integer", "minimum": 0}, [0, 7, 10**20], [-1]),
    ({"type": "integer", "maximum": -3}, [-3, -4, -30, -1000], [-2, 0, 3]),
    ({"type": "integer", "exclusiveMinimum": -2, "exclusiveMaximum": 2}, [-1, 0, 1], [-2, 2]),
    ({"type": "number", "minimum": 0, "maximum": 1}, [0, 0.0, 0.25, 1, 1.0], [-0.5, 1.5, 2]),
    ({"type": "number", "exclusiveMinimum": 0}, [0.001, 1, 7.5], [0, 0.0, -1]),
    ({"type": "number", "minimum": -90, "maximum": 90}, [-90, -89.5, -0.5, 0, 90.0], [-90.5, 90.5, 91, -91]),
    ({"type": "array", "items": {"type": "integer"}}, [[], [1], [1, 2, 3]], [["1"], {}, 1]),
    (
        {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3},
        [[1, 2], [1, 2, 3]],
        [[], [1], [1] * 4],
    ),
    (
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
        [[], ["a"], ["a", 1]],
        [["a", 1, 1], [1]],
    ),
    ({"type": "array", "items": [{"type": "string"}], "additionalItems": {"type": "null"}}, [["a", None]], [["a", 1]]),
    ({"type": "array"}, [[], [1, "a", [None], {"k": [True]}]], ["[]"]),
    ({"type": "object"}, [{}, {"a": 1, "b": {"c": ["d"]}}, {"first name": 1}, {"@x": None}], ["{}", []]),
    ({"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 2}, [{}, {"a": 1}], [{"a": "1"}]),
    ({"type": "object", "properties": {}, "additionalProperties": False}, [{}], [{"a": 1}]),
    (
        properties("b", b={"type": "integer"}, A={"type": "integer"}, c={"type": "integer"}),
        [{"b": 1}, {"A": 1, "b": 1}, {"b": 1, "c": 1}, {"A": 1, "b": 2, "c": 3}],
        [{}, {"A": 1}, {"b": 1, "d": 1}, {"b": "1"}],
    ),
    (
        properties(a={"type": "integer"}, b={"type": "integer"}) | {"additionalProperties": {"type": "null"}},
        [{}, {"a": 1}, {"ab": None}, {"a": 1, "aa": None, "b": 1, "x y": None}],
        [{"a": None}, {"c": 1}],
    ),
    (properties(a={"type": "integer"}, b={"type": "integer"}) | {"minProperties": 1}, [{"b": 1}, {"a": 1}], [{}]),
    (
        {"anyOf": [{"type": "integer"}, properties("k", k={"type": "string"})]},
        [1, {"k": "v"}],
        ["1", {"k": 1}, {}],
    ),
    (
        {
            "oneOf": [
                properties("kind", colour={"type": "string"}, kind={"const": "cat"}),
                properties("kind", kind={"const": "dog"}),
            ]
        },
        [{"kind": "cat"}, {"colour": "grey", "kind": "cat"}, {"kind": "dog"}],
        [{"colour": "grey", "kind": "dog"}, {"kind": "do"}, {"colour": "grey"}],
    ),
    (
        {"anyOf": [properties("a", a={"type": "integer"}), properties("b", a={"type": "integer"}, b={"type": "string"})]},
        [{"a": 1}, {"b": "x"}, {"a": 1, "b": "x"}],
        [{}, {"a": 1, "b": 2}],
    ),
    (
        {"anyOf": [properties("b", b={"type": "string"}), {"type": "object", "additionalProperties": {"type": "integer"}}]},
        [{"b": "x"}, {"b": 1}, {"bb": 1, "b": 1}, {}],
        [{"b": None}, {"c": "x"}],
    ),
    (
        {"anyOf": [{"const": [1, {"k": "v"}]}, {"type": "array", "items": {"type": "integer"}, "maxItems": 2}]},
        [[1, {"k": "v"}], [1], [12], [1, 23], []],
        [[1, {"k": "w"}], [2, {"k": "v"}], [1, 2, 3]],
    ),
    ({"type": "string", "oneOf": [{"const": "a"}, {"const": "b"}]}, ["a", "b"], ["c"]),
    (
        {"allOf": [properties("a", a={"type": "integer"}), properties("b", b={"type": "null"})]},
        [{"a": 1, "b": None}],
        [{"a": 1}, {"b": None}],
    ),
    ({"allOf": [{"type": "number"}, {"type": "integer", "minimum": 1}, {"minimum": 3}]}, [3, 4], [2, 3.5]),
    ({"type": "string", "pattern": r"^[A-Z]{2}-\d+$"}, ["AB-1", "XY-001"], ["AB-", "ab-1", "AB-1x", ""]),
    ({"type": "string", "pattern": "b+"}, ["b", "abbc", "é b"], ["", "ac"]),
    ({"type": "string", "pattern": r"^(\w+|\.)[^x\-]?$"}, ["abc", ".", "ab!"], ["..x", ""]),
    ({"type": "string", "format": "date"}, ["2026-02-28"], ["2026-2-28", "2026-02-30x", "2026-04-31", "Friday"]),
    ({"type": "string", "format": "date-time"}, ["2026-11-21T05:09:00Z", "2026-11-21T05:09:00.5+01:00"], ["2026-11-21"]),
    ({"type": "string", "format": "time"}, ["05:09:00Z"], ["25:00:00Z", "05:09"]),
    ({"type": "string", "format": "email"}, ["a.b+c@example.co.uk"], ["a@b", "a b@example.com", "@example.com"]),
    ({"type": "string", "format": "uuid"}, ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567"]),
    ({"type": "string", "format": "ipv4"}, ["127.0.0.1", "255.255.255.255"], ["256.0.0.1", "1.2.3"]),
    (
        {"type": "string", "format": "uri"},
        ["https://example.com", "https://a.b:8/c?d=e#f", "mailto:x@y.z"],
        ["example.com", "a b"],
    ),
    (True, [1, "a", [{}]], []),
    ({}, [1, "a", None, {"a": [1]}], []),
    ({"required": ["a"]}, [{"a": 1}], [{}, 1]),
]
