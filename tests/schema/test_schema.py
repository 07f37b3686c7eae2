"""What `simplify` makes of JSON Schema, and what it reports."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_tools.schema.check import value_fault
from gemma_tools.schema.declare import simplify


def simplified(schema: dict[str, Any], **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """One property's schema, simplified, and the warnings."""
    plain, warnings = simplify({"type": "object", "properties": {"p": schema}, **more})
    return plain["properties"]["p"], warnings


def test_plain_schemas_come_out_as_they_went_in() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "enum": ["x", None], "description": "d", "format": "date", "default": None},
            "b": {"type": "Array", "items": {"type": ["string", "null"], "anyOf": [{"type": "string"}], "title": None}},
            "c": {"type": "object", "properties": {"d": {"type": "null"}}, "required": ["d"], "nullable": True},
            "e": {"type": "object", "properties": {}, "anyOf": [{"required": ["x"]}]},
        },
        "required": ["a", "missing"],
    }
    assert simplify(schema) == (schema, ())


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        ({"type": ["null", "string"], "enum": ["a", None]}, {"type": "string", "enum": ["a"], "nullable": True}),
        (
            {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "d"},
            {"type": "integer", "description": "d", "nullable": True},
        ),
        (
            {"oneOf": [{"const": "a"}, {"const": "b"}, {"const": None}]},
            {"type": "string", "enum": ["a", "b"], "nullable": True},
        ),
        ({"anyOf": [{"anyOf": [{"type": "string"}, {"type": "null"}]}]}, {"type": "string", "nullable": True}),
    ],
)
def test_null_becomes_nullable(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    plain, warnings = simplified(schema)
    assert plain == expected
    assert warnings == ("property p: null among the types becomes nullable",)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"const": 1}, {"type": "integer", "enum": [1]}),
        ({"enum": [1, 2.5]}, {"type": "number", "enum": [1, 2.5]}),
        ({"enum": [True]}, {"type": "boolean", "enum": [True]}),
        ({"properties": {"a": {"type": "string"}}}, {"type": "object", "properties": {"a": {"type": "string"}}}),
        ({"items": {"type": "string"}}, {"type": "array", "items": {"type": "string"}}),
        ({"minLength": 1}, {"type": "string", "minLength": 1}),
        ({"maximum": 1}, {"type": "number", "maximum": 1}),
        ({"type": ["integer", "number"]}, {"type": "number"}),
        ({"const": None}, {"const": None, "type": "null"}),
        (
            {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["b"]}]},
            {"type": "string", "enum": ["a", "b"]},
        ),
        ({"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "string"}]}, {"type": "string"}),
    ],
)
def test_types_are_inferred_and_equal_forms_merged(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    plain, warnings = simplified(schema)
    assert (plain, warnings) == (expected, ())


@pytest.mark.parametrize("schema", [{}, True, {"description": "anything"}, {"type": 5}])
def test_without_any_type_a_property_is_text_and_that_is_reported(schema: Any) -> None:
    plain, warnings = simplified(schema)
    assert plain["type"] == "string"
    assert warnings == ("property p: it has no type, and is written as STRING",)


@pytest.mark.parametrize(
    ("kinds", "written"),
    [
        (["string", "object"], "object"),
        (["string", "array"], "array"),
        (["integer", "string"], "string"),
        (["boolean", "integer"], "integer"),
    ],
)
def test_of_a_union_the_widest_form_is_written(kinds: list[str], written: str) -> None:
    for schema in ({"type": kinds}, {"anyOf": [{"type": kind} for kind in kinds]}):
        plain, warnings = simplified(schema)
        other = next(kind for kind in kinds if kind != written)
        assert plain["type"] == written
        assert warnings == (f"property p: it is a union, and is written as {written.upper()} without {other}",)


def test_objects_of_a_union_are_merged() -> None:
    plain, warnings = simplified(
        {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
                    "required": ["kind", "lives"],
                },
                {
                    "type": "object",
                    "properties": {"kind": {"const": "dog"}, "tricks": {"type": "string"}},
                    "required": ["kind"],
                },
            ]
        }
    )
    assert plain["properties"] == {
        "kind": {"type": "string", "enum": ["cat", "dog"]},
        "lives": {"type": "integer"},
        "tricks": {"type": "string"},
    }
    assert plain["required"] == ["kind"]
    assert warnings == ()


def test_a_property_of_several_branches_keeps_what_each_says() -> None:
    inner = {"type": "object", "properties": {"unit": {"const": "m"}}}
    other = {"type": "object", "properties": {"unit": {"const": "ft"}, "note": {"type": "string"}}}
    branches = [
        {"type": "object", "properties": {"size": size, "id": {"type": "string", "description": "the same"}}}
        for size in (inner, other, {"type": "integer"})
    ]
    plain, warnings = simplified({"anyOf": branches})
    assert plain["properties"] == {
        "size": {
            "type": "object",
            "properties": {"unit": {"type": "string", "enum": ["m", "ft"]}, "note": {"type": "string"}},
        },
        "id": {"type": "string", "description": "the same"},
    }
    assert warnings == ("property p.size: it is a union, and is written as OBJECT without integer",)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([{"type": "string"}, {"type": "string"}], {"items": {"type": "string"}}),
        ([{"type": "string"}, {"type": "integer"}], {"items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}),
        ([{"type": "string"}, True], {}),
        ([True, {"type": "string"}], {}),
    ],
)
def test_arrays_of_a_union_allow_the_elements_of_each(items: list[Any], expected: dict[str, Any]) -> None:
    plain, warnings = simplified({"anyOf": [{"type": "array", "items": kind} for kind in items]})
    assert plain == {"type": "array", **expected}
    assert warnings == ()


def test_equal_parts_may_be_of_any_depth() -> None:
    def deep() -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string"}
        for _ in range(2000):
            schema = {"type": "object", "properties": {"a": schema}}
        return schema

    for keyword in ("allOf", "anyOf"):
        plain, warnings = simplified({keyword: [deep(), deep()]})
        for _ in range(2000):
            plain = plain["properties"]["a"]
        assert (plain, warnings) == ({"type": "string"}, ())


def test_references_are_written_out() -> None:
    definitions = {"A": {"type": "string", "description": "theirs"}, "a/b~c d": {"type": "integer"}, "L": [{"type": "boolean"}]}
    assert simplified({"$ref": "#/$defs/A", "description": "ours"}, **{"$defs": definitions})[0] == {
        "type": "string",
        "description": "ours",
    }
    assert simplified({"$ref": "#/$defs/a~1b~0c%20d"}, **{"$defs": definitions}) == ({"type": "integer"}, ())
    assert simplified({"$ref": "#/$defs/L/0"}, **{"$defs": definitions}) == ({"type": "boolean"}, ())
    items = simplified(
        {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/A"}], "enum": [{"$ref": "data"}]}}, **{"$defs": definitions}
    )
    assert items[0]["items"] == {"anyOf": [definitions["A"]], "enum": [{"$ref": "data"}]}
    both = simplified({"allOf": [{"$ref": "#/$defs/A"}, {"maxLength": 3}]}, **{"$defs": definitions})
    assert both == ({"type": "string", "description": "theirs", "maxLength": 3}, ())


@pytest.mark.parametrize("reference", ["#/$defs/None", "other.json#/a", "#/$defs/A/x", "#name"])
def test_a_reference_to_nothing_is_reported(reference: str) -> None:
    plain, warnings = simplified({"$ref": reference}, **{"$defs": {"A": {"type": "string"}}})
    assert plain["type"] == "string"
    assert f"property p: {reference} cannot be resolved within the tool" in warnings[0]


def test_a_schema_that_refers_to_itself_is_written_once() -> None:
    tree = {
        "type": "object",
        "properties": {"value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#/$defs/T"}}},
    }
    plain, warnings = simplified({"$ref": "#/$defs/T"}, **{"$defs": {"T": tree}})
    assert plain["properties"]["children"]["items"] == {"type": "object"}
    assert warnings == ("property p.children: #/$defs/T refers to itself; its properties are written only once",)
    assert simplify({"$ref": "#"})[0]["type"] == "object"


def test_allof_joins_what_its_parts_ask_for() -> None:
    plain, warnings = simplified(
        {
            "allOf": [
                {"properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"properties": {"b": {"type": "string"}, "a": {"type": "integer"}}, "required": ["a", "b"]},
            ],
            "type": "object",
        }
    )
    assert plain["properties"] == {"a": {"type": "string"}, "b": {"type": "string"}}
    assert plain["required"] == ["a", "b"]
    assert warnings == ()


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ({"type": "integer", "minimum": 1}, {"minimum": 3}, {"type": "integer", "minimum": 3}),
        ({"type": "integer", "maximum": 5}, {"maximum": 2}, {"type": "integer", "maximum": 2}),
        ({"type": "number", "exclusiveMinimum": 1}, {"exclusiveMinimum": 0}, {"type": "number", "exclusiveMinimum": 1}),
        ({"type": "number", "exclusiveMaximum": 1}, {"exclusiveMaximum": 0}, {"type": "number", "exclusiveMaximum": 0}),
        ({"type": "string", "minLength": 1}, {"minLength": 2}, {"type": "string", "minLength": 2}),
        ({"type": "string", "maxLength": 1}, {"maxLength": 2}, {"type": "string", "maxLength": 1}),
        ({"type": "array", "minItems": 1}, {"minItems": 2, "maxItems": 3}, {"type": "array", "minItems": 2, "maxItems": 3}),
        ({"type": "array", "maxItems": 4}, {"maxItems": 3}, {"type": "array", "maxItems": 3}),
        ({"type": "object", "minProperties": 1}, {"minProperties": "x"}, {"type": "object", "minProperties": 1}),
        ({"type": "object", "minProperties": 1}, {"minProperties": 2}, {"type": "object", "minProperties": 2}),
        ({"type": "object", "maxProperties": 1}, {"maxProperties": 2}, {"type": "object", "maxProperties": 1}),
        ({"type": "string", "enum": ["a", "b", "c"]}, {"enum": ["b", "c", "d"]}, {"type": "string", "enum": ["b", "c"]}),
        ({"enum": ["a", "b"]}, {"const": "b"}, {"type": "string", "enum": ["b"]}),
        ({"const": "b"}, {"enum": ["a", "b"]}, {"type": "string", "enum": ["b"]}),
        ({"enum": [1, True, [1], {"a": 1}]}, {"enum": [1.0, {"a": 1}]}, {"type": "object", "enum": [1, {"a": 1}]}),
        ({"type": "number"}, {"type": "integer"}, {"type": "integer"}),
        ({"type": ["string", "integer"]}, {"type": ["integer", "null"]}, {"type": "integer"}),
        ({"type": "string", "description": "one"}, {"description": "two"}, {"type": "string", "description": "one"}),
        ({"type": "string", "title": "T"}, {"title": "U", "default": "d"}, {"type": "string", "title": "T", "default": "d"}),
        ({"type": "string", "format": "date"}, {"format": "email"}, {"type": "string", "format": "date"}),
        ({"type": "array", "items": {"type": "string"}}, {"items": {"maxLength": 4}},
         {"type": "array", "items": {"allOf": [{"type": "string"}, {"maxLength": 4}]}}),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"additionalProperties": {"minimum": 2}},
         {"type": "object", "additionalProperties": {"allOf": [{"type": "integer"}, {"minimum": 2}]}}),
        ({"type": "object", "propertyNames": {"minLength": 1}}, {"propertyNames": {"maxLength": 3}},
         {"type": "object", "propertyNames": {"allOf": [{"minLength": 1}, {"maxLength": 3}]}}),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"minimum": 2}}},
         {"type": "object", "properties": {"a": {"type": "integer", "minimum": 2}}}),
        ({"type": "object", "required": ["a", 1]}, {"required": ["b", "a"]}, {"type": "object", "required": ["a", "b"]}),
        ({"properties": {"a": {"type": "string"}}}, {"properties": ["a"]},
         {"type": "object", "properties": {"a": {"type": "string"}}}),
    ],
)  # fmt: skip
def test_allof_merges_each_keyword_by_what_it_means(one: dict[str, Any], other: dict[str, Any], both: dict[str, Any]) -> None:
    assert simplified({"allOf": [one, other]})[0] == both


@pytest.mark.parametrize("schema", [{"type": ["string"], "enum": ["a"]}, {"const": "a"}, {"type": "string", "enum": ["a"]}])
def test_a_nullable_value_of_a_list_may_be_null(schema: dict[str, Any]) -> None:
    nullable = {"properties": {"p": {**schema, "nullable": True}}}
    assert value_fault('{"p": null}', nullable) is None
    assert value_fault('{"p": "b"}', nullable) is not None
    assert value_fault('{"p": null}', {"properties": {"p": schema}}) is not None
    assert simplified(nullable["properties"]["p"])[0] == {"type": "string", "enum": ["a"], "nullable": True}


def test_forms_that_exclude_each_other_are_none() -> None:
    choice: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    assert simplified({"allOf": [choice] * 20, "maxLength": 3, "type": ["integer", "null"]})[0]["type"] == "integer"
    assert simplified({"allOf": [{"type": "boolean"}, {"type": "string"}]}) == ({"type": "boolean"}, ())


def test_a_property_that_can_have_no_value_is_not_declared() -> None:
    plain, warnings = simplify({"type": "object", "properties": {"a": {"type": "string"}, "b": False}})
    assert plain["properties"] == {"a": {"type": "string"}}
    assert warnings == ("property b: no value is allowed for it, so it is not declared",)
    closed = {"properties": {"a": {"type": "string"}}, "additionalProperties": False}
    assert list(simplified({"allOf": [closed, {"properties": {"b": {"type": "string"}}}]})[0]["properties"]) == ["a"]


def test_the_source_is_not_changed() -> None:
    schema = {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}], "$defs": {"A": {"enum": ["x", None]}}}
    before = repr(schema)
    simplify(schema)
    assert repr(schema) == before


def test_reports_are_bounded() -> None:
    schema = {"type": "object", "properties": {f"p{i}": {} for i in range(1000)}}
    warnings = simplify(schema)[1]
    assert len(warnings) == 101
    assert warnings[-1] == "and there are more such warnings"


def test_many_alternatives_are_bounded() -> None:
    choices = [{"anyOf": [{"minLength": i}, {"maxLength": 50 + i}]} for i in range(20)]
    plain, warnings = simplified({"allOf": choices})
    assert plain["type"] == "string"
    assert any("first 32" in warning for warning in warnings)


def test_what_is_not_a_schema_keyword_is_reported() -> None:
    plain, warnings = simplified({"type": "object", "properties": ["a"], "required": "a"})
    assert plain == {"type": "object"}
    assert warnings == (
        "property p: its properties are not an object, and are left out",
        "property p: its required is not a list of names, and is left out",
    )
