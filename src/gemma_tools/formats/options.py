"""The options of formats, and their checks. The annotation of an option defines its allowed values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, get_args, get_type_hints

from gemma_tools.errors import InvalidRequest

ToolContent: TypeAlias = Literal["string", "json_object"]
Declarations: TypeAlias = Literal["template", "full"]

STRING_LENGTHS: Final = range(1, 4097)
"""The limits for the length at which a grammar may end a string without a limit in the schema, in characters."""


def check_option(name: str, value: object, allowed: Collection[object]) -> None:
    """Refuse an option that is not one of `allowed`.

    Raises:
        InvalidRequest: with the option's name as `param`.
    """
    if value not in allowed:
        choices = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else ", ".join(map(repr, allowed))
        raise InvalidRequest(f"{value!r} is not one of {choices}", param=name, code="invalid_option")


def check_options(form: Any) -> None:
    """Refuse a format (a dataclass) with an option whose value its annotation does not allow.

    Raises:
        InvalidRequest: with the option's name as `param`.
    """
    for name, allowed in _allowed(type(form)).items():  # type: ignore[arg-type]
        check_option(name, getattr(form, name), allowed)


@lru_cache
def _allowed(form: Any) -> dict[str, Collection[object]]:
    hints = get_type_hints(form)
    return {field.name: _values(hints[field.name]) for field in fields(form)}


def _values(hint: object) -> Collection[object]:
    if hint is bool:
        return (False, True)
    return STRING_LENGTHS if hint is int else get_args(hint)
