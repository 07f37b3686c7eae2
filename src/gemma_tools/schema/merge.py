"""Several JSON Schemas that must all hold, as one: `allOf`, and the keywords beside a `$ref`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

ANNOTATIONS: Final = frozenset(
    ("title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$id",
     "$anchor", "$comment", "$defs", "$vocabulary", "definitions", "contentMediaType", "contentEncoding", "contentSchema",
     "externalDocs", "xml", "discriminator", "strict")
)  # fmt: skip
"""Keywords that say nothing of what is valid."""

_LOWER: Final = frozenset(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"))
_UPPER: Final = frozenset(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"))
_BOTH: Final = frozenset(("items", "additionalProperties", "propertyNames"))


def types(schema: Schema) -> frozenset[str] | None:
    """The JSON types that `schema` names, in lower case, with `nullable`; None for any."""
    named = schema.get("type")
    names = [named] if isinstance(named, str) else named if isinstance(named, list | tuple) else []
    known = frozenset(name.lower() for name in names if isinstance(name, str))
    if not known:
        return None
    return known | {"null"} if schema.get("nullable") is True else known


def members(schema: Schema) -> list[Any] | None:
    """The values that `enum` and `const` leave; None without either."""
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if isinstance(schema.get("enum"), list | tuple) else None


def merge(first: Schema, second: Schema, lose: Callable[[str], None]) -> Schema:
    """What holds for both. `lose` is told the keyword of which only the first's could be kept."""
    result = dict(first)
    _shut(result, second)
    for key, value in second.items():
        mine = result.get(key)
        if key in ANNOTATIONS or mine == value:
            continue
        if key in ("type", "nullable"):
            both = _common_types(types(first), types(second))
            if both is not None:
                result.pop("nullable", None)
                result.update({"type": sorted(both)} if both else {"enum": []})
        elif key in ("enum", "const"):
            ours = members(result)
            theirs = members(second) or []
            result.pop("const", None)
            result["enum"] = theirs if ours is None else [v for v in ours if any(same(v, other) for other in theirs)]
        elif mine is None:
            result[key] = value
        elif key == "properties" and isinstance(mine, Mapping) and isinstance(value, Mapping):
            result[key] = {**mine, **{k: {"allOf": [mine[k], v]} if k in mine else v for k, v in value.items()}}
        elif key == "required" and isinstance(mine, list) and isinstance(value, list):
            result[key] = [*mine, *value]
        elif key in _LOWER | _UPPER and isinstance(mine, int | float) and isinstance(value, int | float):
            result[key] = max(mine, value) if key in _LOWER else min(mine, value)
        elif key in _BOTH:
            result[key] = {"allOf": [mine, value]}
        else:
            lose(key)
    return result


def same(first: object, second: object) -> bool:
    """JSON's equality: `1` is `1.0`, and is not `true`."""
    return first == second and isinstance(first, bool) == isinstance(second, bool)


def _shut(result: dict[str, Any], second: Schema) -> None:
    """Where one of the two allows no other properties, what only the other declares cannot be there."""
    mine, theirs = result.get("properties") or {}, second.get("properties") or {}
    foreign: set[str] = set()
    if result.get("additionalProperties") is False:
        foreign |= {key for key in theirs if key not in mine}
    if second.get("additionalProperties") is False:
        foreign |= {key for key in mine if key not in theirs}
        result["additionalProperties"] = False
    if foreign:
        result["properties"] = {**mine, **dict.fromkeys(foreign, False)}


def _common_types(first: frozenset[str] | None, second: frozenset[str] | None) -> frozenset[str] | None:
    if first is None or second is None:
        return first if second is None else second
    both = first & second
    return both | {"integer"} if "integer" in first ^ second and "number" in first ^ second else both
