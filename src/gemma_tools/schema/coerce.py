"""Give what a model wrote the type that the tool's schema asks for, and never guess.

Parsers know a value by how it was written: a bare run of characters (`02134`, `true`, `Paris`) or the text of a delimited
string. The functions here turn either into JSON text, driven by the set of types that the schema allows. Digits are kept:
numbers stay the characters they were, except where JSON has no such spelling.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Any, Final

from gemma_tools.jsontext import quote_json as quote_json
from gemma_tools.jsontext import read_json
from gemma_tools.jsontext import to_json as to_json
from gemma_tools.schema.refs import Document
from gemma_tools.schema.shape import Shape, is_plain
from gemma_tools.schema.types import ONLY, Types
from gemma_tools.schema.types import Schema as Schema

__all__ = [
    "Schema",
    "bare",
    "declares",
    "delimited",
    "element",
    "member",
    "number",
    "quote_json",
    "resolve",
    "to_json",
    "types_of",
]

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LOOSE_NUMBER: Final = re.compile(r"([+-]?)([0-9]*)(?:(\.)([0-9]*))?([eE][+-]?[0-9]+)?")
_LONGEST_NUMBER: Final = 4000
"""In characters; Python reads integers of at most 4300 digits."""
_CONSTANTS: Final = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}
_JSON_STARTS: Final = {"array": "[", "object": "{"}


def number(text: str) -> str | None:
    """The JSON spelling of a number written as `text`; None if it is none, or more than a float can hold.

    `108.`, `.5`, `+3` and leading zeros, which models write and JSON does not know, are mended.
    """
    if len(text) > _LONGEST_NUMBER:
        return None
    if _NUMBER.fullmatch(text):
        return text if text.lstrip("-").isdecimal() or isfinite(float(text)) else None
    loose = _LOOSE_NUMBER.fullmatch(text)
    if not loose or not (loose[2] or loose[4]) or not isfinite(float(text)):
        return None
    sign, whole, point, fraction, exponent = loose.groups()
    digits = (whole or "").lstrip("0") or "0"
    return ("-" if sign == "-" else "") + digits + (f".{fraction or '0'}" if point else "") + (exponent or "")


def bare(text: str, types: Types) -> str | None:
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
        if numeral is not None and ("string" not in types or (numeral == text and _fits(numeral, types))):
            return numeral
    if "boolean" in types and text.lower() in ("true", "false"):
        return text.lower()
    if constant == "null":
        return constant
    if "string" in types:
        return quote_json(text)
    return constant or number(text)


def _fits(numeral: str, types: frozenset[str]) -> bool:
    """Whether the number is of the kind that is asked for: without fraction, where only integers are."""
    return "number" in types or numeral.lstrip("-").isdecimal() or float(numeral).is_integer()


def delimited(text: str, types: Types) -> str:
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


# What the readers of replies asked before they had shapes.


def resolve(node: object, root: Schema) -> Schema | None:
    """The schema that `node` stands for; None where it says nothing."""
    shape = _shape(node, root)
    forms = shape._forms
    return (forms[0] if len(forms) == 1 else shape._schema) or None


def member(node: Schema | None, key: str, root: Schema) -> Schema | None:
    """The schema of the property `key` of objects that `node` describes; None if it says nothing of it."""
    if is_plain(node):
        child = (node.get("properties") or {}).get(key)
        if is_plain(child):
            return child
        if child is None and "additionalProperties" not in node and "patternProperties" not in node:
            return None
    return resolve(_shape(node, root).member(key)._schema, root)


def element(node: Schema | None, root: Schema) -> Schema | None:
    """The schema of the items of arrays that `node` describes; None if it says nothing of them."""
    return resolve(_shape(node, root).element._schema, root)


def declares(node: Schema | None, key: str, root: Schema) -> bool:
    """Whether objects that `node` describes have a property `key` by name."""
    return _shape(node, root).declares(key)


def types_of(node: Schema | None, root: Schema) -> Types:
    """The JSON types that `node` allows; None for any."""
    if node is None:
        return None
    if is_plain(node) and "enum" not in node and "const" not in node:
        return ONLY[node["type"]]
    return _shape(node, root).types


def _shape(node: Any, root: Schema) -> Shape:
    return Shape(node if isinstance(node, dict) else {}, Document(root))
