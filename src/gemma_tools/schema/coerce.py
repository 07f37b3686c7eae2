"""Give what a model wrote the type that the tool's schema asks for, and never guess.

Parsers know a value by how it was written: a bare run of characters (`02134`, `true`, `Paris`) or the text of a delimited
string. The functions here turn either into JSON text, driven by the set of types that the schema allows. Digits are kept:
numbers stay the characters they were, except where JSON has no such spelling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from json.encoder import encode_basestring
from math import isfinite
from typing import Any, Final

from gemma_tools.jsontext import read_json

Schema = Mapping[str, Any]

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LOOSE_NUMBER: Final = re.compile(r"([+-]?)([0-9]*)(?:(\.)([0-9]*))?([eE][+-]?[0-9]+)?")
_LONGEST_NUMBER: Final = 4000
"""In characters; Python reads integers of at most 4300 digits."""
_CONSTANTS: Final = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_REF_LIMIT: Final = 32
_TYPES_OF_VALUES: Final = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
_JSON_STARTS: Final = {"array": "[", "object": "{"}


def to_json(value: object) -> str:
    """A JSON value as JSON text.

    Raises:
        RecursionError: it is nested too deep for the standard writer.
    """
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isascii() else _escape_surrogates(text)


def _escape_surrogates(text: str) -> str:
    return _SURROGATE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def quote_json(text: str) -> str:
    """`text` as a JSON string. A lone surrogate, which UTF-8 cannot carry, is written as an escape."""
    quoted = encode_basestring(text)
    return quoted if text.isascii() else _escape_surrogates(quoted)


def resolve(node: object, root: Schema) -> Schema | None:
    """The schema that `node` stands for: local references followed (at most 32), None where it says nothing."""
    for _ in range(_REF_LIMIT):
        if not isinstance(node, dict):
            return None
        reference = node.get("$ref")
        if not isinstance(reference, str):
            return node
        node = _lookup(reference, root)
    return None


def _lookup(reference: str, root: Schema) -> object:
    target: object = root
    if not reference.startswith("#"):
        return None
    for part in reference[1:].split("/")[1:]:
        if not isinstance(target, dict):
            return None
        target = target.get(part.replace("~1", "/").replace("~0", "~"))
    return target


def _branches(node: Schema) -> list[object]:
    return [branch for key in ("anyOf", "oneOf", "allOf") if isinstance(node.get(key), list) for branch in node[key]]


def member(node: Schema | None, key: str, root: Schema) -> Schema | None:
    """The schema of the property `key` of objects that `node` describes; None if it says nothing of it."""
    if node is None:
        return None
    properties = node.get("properties")
    if isinstance(properties, dict) and key in properties:
        child = properties[key]
        return child if isinstance(child, dict) and "$ref" not in child else resolve(child, root)
    found = _any_of([member(_flat(branch, root), key, root) for branch in _branches(node)])
    return found if found is not None else resolve(node.get("additionalProperties"), root)


def element(node: Schema | None, root: Schema) -> Schema | None:
    """The schema of the items of arrays that `node` describes; None if it says nothing of them."""
    if node is None:
        return None
    if isinstance(node.get("items"), dict):
        return resolve(node["items"], root)
    return _any_of([element(_flat(branch, root), root) for branch in _branches(node)])


def _any_of(nodes: list[Schema | None]) -> Schema | None:
    """What a value may be of which each branch of a union says something, or nothing."""
    said = [node for node in nodes if node is not None]
    return {"anyOf": said} if len(said) > 1 else said[0] if said else None


def declares(node: Schema | None, key: str, root: Schema) -> bool:
    """Whether objects that `node` describes have a property `key` by name."""
    if node is None:
        return False
    properties = node.get("properties")
    if isinstance(properties, dict) and key in properties:
        return True
    return any(declares(_flat(branch, root), key, root) for branch in _branches(node))


def _flat(branch: object, root: Schema) -> Schema | None:
    # A branch of a union is looked into once, not for unions of its own: schemas may refer to themselves.
    node = resolve(branch, root)
    if node is None or not _branches(node):
        return node
    return {key: value for key, value in node.items() if key not in ("anyOf", "oneOf", "allOf")}


def types_of(node: Schema | None, root: Schema) -> frozenset[str] | None:
    """The JSON types that `node` allows; None for any."""
    if node is None:
        return None
    named = node.get("type")
    if type(named) is str:
        types = _SINGLE.get(named)
        if types is None or not node.get("nullable"):
            return types
        return types | {"null"}
    if isinstance(named, list):
        return frozenset(t for t in named if isinstance(t, str)) or None
    values = node.get("enum") if isinstance(node.get("enum"), list) else [node["const"]] if "const" in node else None
    if values:
        return frozenset("null" if v is None else _TYPES_OF_VALUES.get(type(v), "string") for v in values)
    if "properties" in node:
        return _SINGLE["object"]
    if "items" in node:
        return _SINGLE["array"]
    unions = [branch for key in ("anyOf", "oneOf") if isinstance(node.get(key), list) for branch in node[key]]
    allowed = [types_of(_flat(branch, root), root) for branch in unions]
    if not allowed or any(types is None for types in allowed):
        return None
    return frozenset().union(*(types for types in allowed if types is not None))


_SINGLE: Final = {name: frozenset((name,)) for name in ("string", "integer", "number", "boolean", "array", "object", "null")}


def number(text: str) -> str | None:
    """The JSON spelling of a number written as `text`; None if it is none, or more than a float can hold.

    `108.`, `.5`, `+3` and leading zeros, which models write and JSON does not know, are mended.
    """
    if len(text) > _LONGEST_NUMBER:
        return None
    if _NUMBER.fullmatch(text):
        return text if text.isdecimal() or isfinite(float(text)) else None
    loose = _LOOSE_NUMBER.fullmatch(text)
    if not loose or not (loose[2] or loose[4]) or not isfinite(float(text)):
        return None
    sign, whole, point, fraction, exponent = loose.groups()
    digits = (whole or "").lstrip("0") or "0"
    return ("-" if sign == "-" else "") + digits + (f".{fraction or '0'}" if point else "") + (exponent or "")


def bare(text: str, types: frozenset[str] | None) -> str | None:
    """JSON text for a value written without delimiters; None where it is no JSON value and not to be a string.

    Where the schema allows a string and no type that the text spells, it is one: `02134` stays `"02134"`. Without a
    schema a JSON (or Python) literal keeps its type.
    """
    constant = _CONSTANTS.get(text)
    if types is None:
        return constant or number(text)
    if constant is not None and ("null" if constant == "null" else "boolean") in types:
        return constant
    if types & {"integer", "number"}:
        numeral = number(text)
        if numeral is not None and ("string" not in types or _NUMBER.fullmatch(text)):
            return numeral
    if "boolean" in types and text.lower() in ("true", "false"):
        return text.lower()
    if constant == "null":
        return constant
    if "string" in types:
        return quote_json(text)
    return constant or number(text)


def delimited(text: str, types: frozenset[str] | None) -> str:
    """JSON text for the text of a delimited string: a string, unless the schema allows none and the text spells its type."""
    if types is None or "string" in types:
        return quote_json(text)
    stripped = text.strip()
    value = bare(stripped, types)
    if value is None and any(stripped.startswith(_JSON_STARTS[t]) for t in types & _JSON_STARTS.keys()):
        try:
            read_json(stripped)
        except ValueError:
            value = None
        else:
            value = stripped
    return value if value is not None else quote_json(text)
