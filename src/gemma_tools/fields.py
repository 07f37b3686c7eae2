"""Checks of single values of a request body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemma_tools.errors import InvalidRequest
from gemma_tools.policy import FIELD_POLICY


def check_fields(body: Mapping[str, Any]) -> None:
    """Refuse the fields that are unknown, and those of the policy "refused"; null is as good as absent.

    Raises:
        InvalidRequest: `param` is the field.
    """
    for name, value in body.items():
        policy = FIELD_POLICY.get(name)
        if value is None:
            continue
        if policy is None:
            raise InvalidRequest("there is no such field", param=str(name), code="unknown_parameter")
        if policy.treatment == "refused" and not (name == "modalities" and value == ["text"]):
            raise InvalidRequest(f"this is not supported. {policy.note}", param=name, code="unsupported_parameter")


def flag(body: Mapping[str, Any], name: str, default: bool = False, *, param: str | None = None) -> bool:
    """A field that is true or false. `param` is the place to name, if it is not `name`."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidRequest(f"true or false is needed, not {value!r}", param=param or name, code="invalid_type")
    return value


INT32 = 2**31 - 1
INT64 = 2**63 - 1
"""What engines, most of them written in C++, can hold of a number. OpenAI has the same bounds for seeds."""


def integer(body: Mapping[str, Any], name: str, low: int, high: int = INT32) -> int | None:
    """A whole number within bounds; None where there is none. True and false are no numbers."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"a whole number is needed, not {value!r}", param=name, code="invalid_type")
    _check_bounds(value, name, low, high)
    return value


def number(body: Mapping[str, Any], name: str, low: float, high: float, *, param: str | None = None) -> float | None:
    """A number within bounds; None where there is none. True and false are no numbers. `param` as in `flag`."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRequest(f"a number is needed, not {value!r}", param=param or name, code="invalid_type")
    _check_bounds(value, param or name, low, high)
    return value


def _check_bounds(value: float, name: str, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidRequest(f"{value!r} is not from {low} to {high}", param=name, code="out_of_range")


def text(body: Mapping[str, Any], name: str) -> str | None:
    """A text; None where there is none."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"text is needed, not {value!r}", param=name, code="invalid_type")
    return value


def mapping(body: Mapping[str, Any], name: str, param: str | None = None) -> Mapping[str, Any] | None:
    """An object; None where there is none. `param` as in `flag`."""
    value = body.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise InvalidRequest("an object is needed", param=param or name, code="invalid_type")
    return value
