"""Writes JSON values as Python literals, at any depth."""

from __future__ import annotations

from typing import Final

from gemma_tools.jsontext import write_nested

_SCALARS: Final = frozenset((str, int, float, bool, type(None)))


def python_text(value: object) -> str:
    """`value` as `repr` prints it."""
    return repr(value) if value.__class__ in _SCALARS else write_nested(value, repr)
