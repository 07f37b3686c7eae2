"""Checks of single values. Each returns the value, or raises an error that says what it must be; None counts as absent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from gemma_tools.errors import InvalidRequest
from gemma_tools.policy import INT32

_UNNAMEABLE: Final = re.compile(r"[\s\[\]{}()<>\"'`,]")
_LONGEST_NAME: Final = 128
_LONGEST_SHOWN: Final = 80

Number = TypeVar("Number", int, float)


def check_text(value: object, param: str) -> str | None:
    """A string."""
    if value is None or isinstance(value, str):
        return value
    raise wrong_type("a string", value, param)


def check_flag(value: object, param: str) -> bool | None:
    """A boolean."""
    if value is None or isinstance(value, bool):
        return value
    raise wrong_type("a boolean", value, param)


def check_integer(value: object, param: str, low: float, high: float = INT32) -> int | None:
    """An integer within bounds. Booleans are not numbers."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type("an integer", value, param)
    return _bounded(value, param, low, high)


def check_number(value: object, param: str, low: float, high: float) -> float | None:
    """A number within bounds. Booleans are not numbers."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong_type("a number", value, param)
    return _bounded(value, param, low, high)


def check_object(value: object, param: str) -> Mapping[str, Any] | None:
    """An object."""
    if value is None or isinstance(value, Mapping):
        return value
    raise wrong_type("an object", value, param)


def check_name(name: object, param: str) -> str:
    """The name of a function, as a call can contain it."""
    if name is None or name == "":
        raise InvalidRequest("the function's name is missing", param=param, code="missing")
    if not isinstance(name, str):
        raise wrong_type("a string", name, param)
    if len(name) > _LONGEST_NAME:
        raise InvalidRequest(f"the name is longer than {_LONGEST_NAME} characters", param=param, code="invalid_name")
    if _UNNAMEABLE.search(name):
        message = f"{name!r} contains white space, a bracket, a quote or a comma, which is not allowed in a tool name"
        raise InvalidRequest(message, param=param, code="invalid_name")
    return name


def as_object(value: object, param: str) -> Mapping[str, Any]:
    """A required object. An object with `model_dump`, such as those of the openai package, is replaced by its dump."""
    if isinstance(value, Mapping):
        return value
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise wrong_type("an object", value, param)
    dumped: Mapping[str, Any] = dump()
    return dumped


def as_array(value: object, param: str) -> list[Any] | tuple[Any, ...]:
    """A required array."""
    if isinstance(value, (list, tuple)):
        return value
    raise wrong_type("an array", value, param)


def wrong_type(expected: str, value: object, param: str) -> InvalidRequest:
    """The error that `value` is not `expected`."""
    return InvalidRequest(f"must be {expected}, got {shown(value)}", param=param, code="invalid_type")


def within(wrong: InvalidRequest, where: str) -> InvalidRequest:
    """The same error about a part of something larger: `where` is added before its `param`."""
    return InvalidRequest(wrong.message, param=where + (wrong.param or ""), code=wrong.code)


def _bounded(value: Number, param: str, low: float, high: float) -> Number:
    if not low <= value <= high:
        raise InvalidRequest(f"must be from {low} to {high}, got {shown(value)}", param=param, code="out_of_range")
    return value


def shown(value: object) -> str:
    """A value in an error: its JSON type, or the value itself if it is short."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "an array"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int) and value.bit_length() > _LONGEST_SHOWN:  # Python refuses to print very long ones
        return "a very large integer"
    if isinstance(value, str) and len(value) > _LONGEST_SHOWN:
        return f"{value[:_LONGEST_SHOWN]!r}..."
    if isinstance(value, (str, int, float)):
        return repr(value)
    return type(value).__name__
