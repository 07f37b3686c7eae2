"""Gives the values that a model wrote the types of the tool's schema, and never guesses.

Parsers know a value by its notation: a run of characters without delimiters (`02134`, `true`, `Paris`) or the text of a
delimited string. The functions here convert either to JSON text, guided by the set of types that the schema allows. Digits are
kept: numbers keep their exact characters, unless they are not valid JSON.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Final

from gemma_tools.jsontext import quote_json, read_json
from gemma_tools.schema.types import Types

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LOOSE_NUMBER: Final = re.compile(r"([+-]?)([0-9]*)(?:(\.)([0-9]*))?([eE][+-]?[0-9]+)?")
_LONGEST_NUMBER: Final = 4000
"""In characters; Python reads integers of at most 4300 digits."""
_CONSTANTS: Final = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}
_JSON_STARTS: Final = {"array": "[", "object": "{"}


def number(text: str) -> str | None:
    """The valid JSON form of a number written as `text`; None if it is not a number, or too large for a float.

    `108.`, `.5`, `+3` and leading zeros, which models write and JSON does not allow, are repaired.
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
    """JSON text for a value written without delimiters; None if it is not a valid JSON value and must not be a string.

    If the schema allows a string and no type that fits the text, it is a string: `02134` becomes `"02134"`. Without a schema a
    JSON (or Python) literal keeps its type.
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
    """Whether the number has the required kind: without a fraction, if only integers are allowed."""
    return "number" in types or numeral.lstrip("-").isdecimal() or float(numeral).is_integer()


def delimited(text: str, types: Types) -> str:
    """JSON text for a delimited string: a string, unless the schema allows none and the text is a value of its type."""
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
