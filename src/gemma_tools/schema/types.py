"""The types of values, and how JSON Schema, OpenAPI and google-genai write them.

Sources: JSON Schema 2020-12, validation, section 6.1; OpenAPI 3.0.3, Schema Object, for `nullable`; google-genai's `Type`,
whose names are in capitals.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final, TypeAlias

from gemma_tools.jsontext import is_mapping

Schema: TypeAlias = Mapping[str, Any]
Types: TypeAlias = frozenset[str] | None
"""JSON types in lower case; None for any."""

ONLY: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset((name,)) for name in ("string", "integer", "number", "boolean", "array", "object", "null")
}
"""Every JSON type, and the set with only it."""
TYPE_OF_KEYWORD: Final = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "patternProperties": "object",
    "propertyNames": "object",
    "minProperties": "object",
    "maxProperties": "object",
    "dependentRequired": "object",
    "dependentSchemas": "object",
    "dependencies": "object",
    "unevaluatedProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "additionalItems": "array",
    "contains": "array",
    "minContains": "array",
    "maxContains": "array",
    "minItems": "array",
    "maxItems": "array",
    "uniqueItems": "array",
    "unevaluatedItems": "array",
    "pattern": "string",
    "format": "string",
    "minLength": "string",
    "maxLength": "string",
    "multipleOf": "number",
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
}
"""The type that a keyword is for. In a schema without a type, its author means these."""
ANNOTATIONS: Final = frozenset(
    ("title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$id",
     "$anchor", "$comment", "$defs", "$vocabulary", "definitions", "contentMediaType", "contentEncoding", "contentSchema",
     "externalDocs", "xml", "discriminator", "strict")
)  # fmt: skip
"""Keywords that do not constrain values."""
_WIDEST_FIRST: Final = ("object", "array", "string", "number", "integer", "boolean", "null")


def normal(schema: Schema) -> Schema:
    """`schema` itself in JSON Schema's form: types in lower case, and `nullable: true` as the type null.

    Its parts (properties, items, branches) are unchanged.
    """
    kind = schema.get("type")
    if "nullable" not in schema and (kind is None or (kind.__class__ is str and kind in ONLY)):
        return schema
    result = dict(schema)
    nullable = result.pop("nullable", None) is True
    if isinstance(kind, (str, list, tuple)):
        names: list[Any] = [_lower(name) for name in ([kind] if isinstance(kind, str) else kind)]
        if nullable and "const" not in result:
            names += [] if "null" in names else ["null"]
            enum = result.get("enum")
            if isinstance(enum, (list, tuple)) and None not in enum:
                result["enum"] = [*enum, None]
            nullable = False
        result["type"] = names[0] if isinstance(kind, str) and len(names) == 1 else names
    return _or_null(result) if nullable else result


def _lower(name: object) -> object:
    lower = name.lower() if isinstance(name, str) else ""
    return lower if lower in ONLY else name


def _or_null(schema: dict[str, Any]) -> Schema:
    said = schema.keys() - ANNOTATIONS
    if said == {"anyOf"} and isinstance(schema["anyOf"], (list, tuple)):
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    inner = {key: value for key, value in schema.items() if key in said}
    outer = {key: value for key, value in schema.items() if key not in said}
    return {**outer, "anyOf": [inner, {"type": "null"}]} if inner else outer


def named_types(schema: Schema) -> Types:
    """The types in a normal schema; None if it has none that JSON has."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return ONLY.get(kind)
    names = kind if isinstance(kind, (list, tuple)) else ()
    return frozenset(name for name in names if isinstance(name, str) and name in ONLY) or None


def allowed_types(schema: Schema) -> Types:
    """The types that a normal schema without references and unions allows: from `type`, its values, or its other keywords."""
    named, values = named_types(schema), members(schema)
    if values is not None:
        return frozenset(map(type_of, values) if named is None else (k for v in values for k in types_of(v) if k in named))
    return named or frozenset(TYPE_OF_KEYWORD[key] for key in schema.keys() & TYPE_OF_KEYWORD.keys()) or None


def members(schema: Schema) -> list[Any] | None:
    """The values that `enum` and `const` allow; None without either."""
    if "const" in schema:
        return [schema["const"]]
    enum = schema.get("enum")
    return list(enum) if isinstance(enum, (list, tuple)) else None


def type_of(value: object) -> str:
    """The type of a JSON value in its written form: `1.0` is a number."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) else "number"
    return "string" if isinstance(value, str) else "object" if is_mapping(value) else "array"


def types_of(value: object) -> frozenset[str]:
    """Every type of a value in JSON Schema: `1` and `1.0` are numbers and integers."""
    kind = type_of(value)
    if kind == "integer" or (kind == "number" and isinstance(value, float) and value.is_integer()):
        return _WHOLE
    return ONLY[kind]


def value_key(value: object) -> Hashable:
    """Equal if the JSON values are equal: `1` is `1.0`, but not `true`. Values that are nested too deep are never equal."""
    try:
        return _key(value)
    except RecursionError:
        return "deep", id(value)


def same(first: object, second: object) -> bool:
    """Whether two parts of a schema are equal. Parts that are nested too deep are equal only to themselves."""
    try:
        return first == second
    except RecursionError:
        return False


def _key(value: object) -> Hashable:
    if isinstance(value, Mapping):
        return "object", frozenset((name, _key(member)) for name, member in value.items())
    if isinstance(value, (list, tuple)):
        return "array", tuple(map(_key, value))
    return isinstance(value, bool), value


_WHOLE: Final = frozenset(("integer", "number"))


def common_types(first: Types, second: Types) -> Types:
    """The types that are in both; an integer is a number."""
    if first is None or second is None:
        return first if second is None else second
    both = first & second
    return both | {"integer"} if "integer" in first ^ second and "number" in first ^ second else both


def widest(types: frozenset[str]) -> str:
    """The most informative of several types, which is declared for all of them."""
    return min(types, key=_WIDEST_FIRST.index)
