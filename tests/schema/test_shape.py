"""What the parsers ask a schema: types, members, elements, whatever way it is written and however hostile it is."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_tools.schema.shape import ANY, Shape, shape_of

ROOT = {
    "$id": "https://example.org/tool",
    "$defs": {
        "a": {"type": "number"},
        "loop": {"$ref": "#/$defs/loop"},
        "round": {"anyOf": [{"$ref": "#/$defs/trip"}, {"type": "string"}]},
        "trip": {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/round"}]},
        "named": {"$anchor": "here", "type": "boolean"},
        "resource": {"$id": "https://example.org/other", "$defs": {"b": {"type": "array"}}},
        "slash/tilde~ %": {"type": "integer"},
        "any": True,
        "none": False,
        "list": [{"type": "string"}, {"type": "object"}],
    },
}


def shape(schema: Any) -> Shape:
    return shape_of({**ROOT, "properties": {"value": schema}}).member("value")


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"type": ["STRING", "Null", "other"]}, {"string", "null"}),
        ({"type": "text"}, None),
        ({"type": "integer", "nullable": True}, {"integer", "null"}),
        ({"nullable": True}, None),
        ({"type": "integer", "nullable": False}, {"integer"}),
        ({"enum": ["a", 1, None]}, {"string", "integer", "null"}),
        ({"enum": [1.0, True]}, {"number", "boolean"}),
        ({"type": ["string", "integer"], "enum": [1.0]}, {"integer"}),
        ({"type": "string", "enum": [1]}, {"string"}),
        ({"type": "string", "enum": ["a"], "nullable": True}, {"string", "null"}),
        ({"const": True}, {"boolean"}),
        ({"const": None}, {"null"}),
        ({"const": "a", "enum": ["a", 2]}, {"string"}),
        ({"anyOf": [{"type": "string"}, {"type": "array"}]}, {"string", "array"}),
        ({"anyOf": [{"type": "string"}, {}]}, None),
        ({"anyOf": [{"anyOf": [{"type": "string"}]}, {"oneOf": [{"type": "null"}]}]}, {"string", "null"}),
        ({"anyOf": [{"type": "string"}], "oneOf": [{"type": ["string", "null"]}]}, {"string"}),
        ({"allOf": [{"type": ["string", "integer"]}, {"type": "number"}]}, {"integer"}),
        ({"allOf": [{"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "string"}]}, {"string"}),
        ({"allOf": [{"enum": ["a", 1]}, {"enum": [1, 2]}]}, {"integer"}),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, {"string"}),
        ({"allOf": [{"type": "string"}, False]}, None),
        ({"allOf": [{"$ref": "#/$defs/a"}], "nullable": True}, {"number", "null"}),
        ({"$ref": "#/$defs/a", "nullable": True}, {"number", "null"}),
        ({"$ref": "#/$defs/a", "type": ["integer", "string"]}, {"integer"}),
        ({"$ref": "#/$defs/loop"}, None),
        ({"$ref": "#/$defs/round"}, {"string", "null"}),
        ({"$ref": "#here"}, {"boolean"}),
        ({"$ref": "https://example.org/other#/$defs/b"}, {"array"}),
        ({"$ref": "https://example.org/tool#/$defs/a"}, {"number"}),
        ({"$ref": "#/$defs/slash~1tilde~0%20%25"}, {"integer"}),
        ({"$ref": "#/$defs/list/1"}, {"object"}),
        ({"$ref": "#/$defs/list/2"}, None),
        ({"$ref": "#/$defs/list/-1"}, None),
        ({"$ref": "#/$defs/list/x"}, None),
        ({"$ref": "#/$defs/any"}, None),
        ({"$ref": "#/$defs/none"}, None),
        ({"$ref": "elsewhere.json#/a"}, None),
        ({"$ref": 5}, None),
        ({"properties": {}}, {"object"}),
        ({"minItems": 1}, {"array"}),
        ({"format": "date"}, {"string"}),
        ({"minimum": 1, "maxLength": 3}, {"number", "string"}),
        ({"type": "integer", "minLength": 3}, {"integer"}),
        ({}, None),
        (True, None),
        (False, None),
        (["string"], None),
    ],
)
def test_the_types_that_a_schema_allows(schema: Any, types: set[str] | None) -> None:
    found = shape(schema).types
    assert found == (None if types is None else frozenset(types))
    assert shape(schema).textual == (types is None or "string" in types)


def test_members_of_every_form_are_known() -> None:
    cat = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "lives": {"type": "integer"}},
        "required": ["name", "lives"],
    }
    dog = {"properties": {"name": {"type": "STRING"}, "lives": {"type": "boolean"}}, "required": ["name"], "type": "object"}
    pet = shape({"anyOf": [cat, {"allOf": [dog, {"required": ["tail"]}]}, {"type": "null"}]})
    assert list(pet.properties) == ["name", "lives"]
    assert pet.required == {"name"}
    assert pet.member("name").types == {"string"}
    assert pet.member("lives").types == {"integer", "boolean"}
    assert pet.declares("lives")
    assert not pet.declares("tail")
    assert pet.member("tail") is ANY


def test_members_that_are_not_declared_have_the_type_of_the_others() -> None:
    others = {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}}
    assert shape(others).member("b").types == {"integer"}
    assert shape({"patternProperties": {"^x": {"type": "string"}}}).member("xy").types == {"string"}
    assert shape({"type": "object", "additionalProperties": False}).member("b") is ANY
    both = {
        "allOf": [{"properties": {"a": {"type": ["string", "null"]}}}, {"properties": {"a": {"type": ["null", "integer"]}}}]
    }
    assert shape(both).member("a").types == {"null"}


@pytest.mark.parametrize(
    ("more", "closed"),
    [({}, True), ({"additionalProperties": False}, True), ({"additionalProperties": True}, False),
     ({"additionalProperties": {"type": "string"}}, False), ({"patternProperties": {"^x": {}}}, False)],
)  # fmt: skip
def test_other_properties_are_allowed_only_where_the_schema_says_so(more: dict[str, Any], closed: bool) -> None:
    assert shape({"type": "object", "properties": {"a": {}}, **more}).closed is closed
    assert not shape({"type": "object", **more}).closed
    assert not ANY.closed


def test_elements() -> None:
    assert shape({"type": "array", "items": {"$ref": "#/$defs/a"}}).element.types == {"number"}
    by_place = shape({"prefixItems": [{"type": "string"}, {"type": "null"}], "items": {"type": "boolean"}})
    assert [place.types for place in by_place.places] == [{"string"}, {"null"}]
    assert by_place.element.types == {"boolean"}
    old = shape({"items": [{"type": "string"}], "additionalItems": {"type": "boolean"}})
    assert ([place.types for place in old.places], old.element.types) == ([{"string"}], {"boolean"})
    either = shape({"anyOf": [{"prefixItems": [{"type": "string"}]}, {"items": {"type": "null"}}]})
    assert [place.types for place in either.places] == [{"string", "null"}]
    for rest in ({}, {"items": True}):
        assert shape({"prefixItems": [{"type": "string"}], **rest}).element.types is None
    lists = {"anyOf": [{"items": {"type": "string"}}, {"items": {"type": "integer"}}, {"type": "null"}]}
    assert shape(lists).element.types == {"string", "integer"}
    assert shape({"allOf": [{"items": {"type": "number"}}, {"items": {"type": ["integer", "null"]}}]}).element.types == {
        "integer"
    }
    assert shape({"type": "array"}).element is ANY


def test_a_schema_that_contains_itself_is_walked_as_far_as_it_is_asked() -> None:
    tree = {"type": "object", "properties": {"name": {"type": "string"}, "children": {"items": {"$ref": "#"}}}}
    node = shape_of(tree)
    for _ in range(50):
        node = node.member("children").element
    assert node.member("name").types == {"string"}


def test_hostile_schemas_cost_little() -> None:
    deep: Any = {"type": "string"}
    for _ in range(5000):
        deep = {"allOf": [{"anyOf": [deep]}]}
    assert shape(deep).types is None  # nothing recurses, and such depth is not looked into
    many = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{j}"} for j in range(12)]} for i in range(12)}
    assert shape_of({"$defs": many, "$ref": "#/$defs/d0"}).types is None
    doubled = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(200)}
    doubled["d200"] = {"type": "integer"}
    assert shape_of({"$defs": doubled, "$ref": "#/$defs/d0"}).types == {"integer"}
    choices = [{"anyOf": [{"type": "string", "minLength": i}, {"type": ["string", "null"]}]} for i in range(40)]
    assert shape({"allOf": choices}).types == {"string"}
