"""Schemas of any size, each large in one way: the name of the way, and the parameters of a tool of size `n`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

TEXT = {"type": "string"}


def _one(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


def _named(n: int) -> dict[str, Any]:
    return {f"p{i}": TEXT for i in range(n)}


def _small(i: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"k{i}": TEXT}, "required": [f"k{i}"]}


def _defined(n: int) -> dict[str, Any]:
    definitions = {f"d{i}": _small(i) for i in range(n)}
    return {
        "type": "object",
        "properties": {f"p{i}": {"$ref": f"#/$defs/d{i}"} for i in range(n)},
        "$defs": definitions,
    }


def _ways(n: int) -> list[dict[str, Any]]:
    return [_small(i) for i in range(n)]


def _pattern(pattern: str) -> dict[str, Any]:
    return _one({"type": "string", "pattern": pattern})


def _unions(n: int, ways: int) -> dict[str, Any]:
    return {"allOf": [{"anyOf": [{"minLength": i + j} for j in range(ways)]} for i in range(n)]}


WIDE: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "required names without properties": lambda n: {"type": "object", "required": [f"name{i}" for i in range(n)]},
    "the same with other properties": lambda n: {
        "type": "object", "required": [f"name{i}" for i in range(n)], "additionalProperties": TEXT,
    },
    "required properties": lambda n: {"type": "object", "properties": _named(n), "required": list(_named(n))},
    "optional properties": lambda n: {"type": "object", "properties": _named(n)},
    "every third property required": lambda n: {"type": "object", "properties": _named(n), "required": list(_named(n))[::3]},
    "properties beside others": lambda n: {"type": "object", "properties": _named(n), "additionalProperties": TEXT},
    "keys with a common beginning": lambda n: {
        "type": "object", "properties": {"a" * (i % 39) + str(i): TEXT for i in range(n)}, "additionalProperties": TEXT,
    },
    "objects": lambda n: {"type": "object", "properties": {f"p{i}": _small(i) for i in range(n)}},
    "enum": lambda n: _one({"enum": [f"word{i}" for i in range(n)]}),
    "const with a long array": lambda n: _one({"const": list(range(n))}),
    "const with a wide object": lambda n: _one({"const": {f"k{i}": i for i in range(n)}}),
    "pattern of alternatives": lambda n: _pattern(f"^({'|'.join(f'w{i}' for i in range(n))})$"),
    "pattern of whole alternatives": lambda n: _pattern("|".join(f"^w{i}$" for i in range(n))),
    "pattern in a row": lambda n: _pattern("^" + "ab?" * n + "$"),
    "pattern of optional groups": lambda n: _pattern("^" + "(ab|c)?" * n + "$"),
    "pattern of classes in a row": lambda n: _pattern("^" + "[a-d]{2,9}" * n + "$"),
    "class with many ranges": lambda n: _pattern("^(x[" + "".join(chr(0x4E00 + 2 * i) for i in range(n)) + "]?)*$"),
    "anyOf of strings": lambda n: _one({"anyOf": [{"type": "string", "maxLength": i + 1} for i in range(n)]}),
    "anyOf of objects": lambda n: _one({"anyOf": [_small(i) for i in range(n)]}),
    "anyOf of all arguments": lambda n: {"anyOf": [_small(i) for i in range(n)]},
    "oneOf of constants": lambda n: _one({"oneOf": [{"const": f"c{i}"} for i in range(n)]}),
    "allOf of objects": lambda n: _one({"allOf": [_small(i) for i in range(n)]}),
    "allOf of closed objects": lambda n: _one({"allOf": [{**_small(i), "additionalProperties": False} for i in range(n)]}),
    "allOf of enums": lambda n: _one({"allOf": [{"enum": [f"x{i}" for i in range(n)]}, {"enum": [f"x{i}" for i in range(n)]}]}),
    "references": _defined,
    "one reference often": lambda n: {
        "type": "object", "properties": {f"p{i}": {"$ref": "#/$defs/d"} for i in range(n)}, "$defs": {"d": _small(0)},
    },
    "items of their own": lambda n: _one(
        {"type": "array", "prefixItems": [{"type": "string", "maxLength": i + 1} for i in range(n)], "minItems": n}
    ),
    "keywords that are not held": lambda n: {
        "type": "object", "properties": {f"p{i}": {"type": "string", "format": f"f{i}"} for i in range(n)},
    },
}  # fmt: skip


BRANCHED: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "anyOf beside properties": lambda n: {"type": "object", "properties": _named(n), "anyOf": _ways(n)},
    "anyOf beside required names": lambda n: {"type": "object", "required": list(_named(n)), "anyOf": _ways(n)},
    "oneOf in a property beside properties": lambda n: _one({"type": "object", "properties": _named(n), "oneOf": _ways(n)}),
    "anyOf beside enum": lambda n: _one({"enum": list(_named(n)), "anyOf": [{"minLength": i} for i in range(n)]}),
    "anyOf beside a pattern": lambda n: _one({"pattern": "a" * n, "anyOf": [{"title": str(i)} for i in range(n)]}),
    "allOf of unions of one": lambda n: _one(_unions(n, 1)),
    "allOf of unions of two": lambda n: _one(_unions(n, 2)),
    "all arguments an allOf of unions": lambda n: {"type": "object", **_unions(n, 2)},
}
"""Schemas in which each of `n` branches stands beside `n` other things."""
