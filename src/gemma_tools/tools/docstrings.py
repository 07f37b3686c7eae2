"""Reads a docstring's description of a function and its parameters, in Google, NumPy and Sphinx style."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_PARAMETER_TITLES: Final = frozenset(
    ("args", "arguments", "parameters", "params", "other parameters", "keyword args", "keyword arguments")
)
_OTHER_TITLES: Final = frozenset(
    ("returns", "return", "yields", "yield", "raises", "warns", "receives", "attributes", "methods", "example")
) | frozenset(("examples", "note", "notes", "see also", "references", "warning", "warnings", "todo"))
_FIELD: Final = re.compile(r":(\w+)(?:\s+([^:]*))?:\s*(.*)")
_PARAMETER_FIELDS: Final = frozenset(("param", "parameter", "arg", "argument", "key", "keyword"))
_GOOGLE_ENTRY: Final = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:(?:\s+(.*)|$)")
_NUMPY_ENTRY: Final = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")


@dataclass(frozen=True, slots=True)
class Docstring:
    """The contents of a docstring: `description` is everything before its first section, `parameters` maps names to text."""

    description: str
    parameters: Mapping[str, str]


def read_docstring(text: str | None) -> Docstring:
    """Read `text`; never raises, and leaves out what it does not recognise. Lines of one parameter's text are joined."""
    lines = inspect.cleandoc(text or "").splitlines()
    starts = [i for i in range(len(lines)) if _title(lines, i) or _FIELD.match(lines[i])]
    parameters: dict[str, str] = {}
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
        parameters.update(_parameters(lines, start, end))
    description = "\n".join(lines[: starts[0]] if starts else lines).strip()
    return Docstring(description, parameters)


def _title(lines: list[str], i: int) -> str:
    # A title is `Args:` followed by indented text, or `Parameters` followed by dashes.
    below = lines[i + 1] if i + 1 < len(lines) else ""
    if below.startswith("---") or (lines[i].endswith(":") and (not below or below[0].isspace())):
        title = lines[i].rstrip(": ").lower()
        if title in _PARAMETER_TITLES or title in _OTHER_TITLES:
            return title
    return ""


def _parameters(lines: list[str], start: int, end: int) -> Iterator[tuple[str, str]]:
    field = _FIELD.match(lines[start])
    if field:
        words = (field[2] or "").split()
        if field[1] in _PARAMETER_FIELDS and words:
            yield words[-1].lstrip("*"), _join(field[3], _indented(lines, start + 1, end))
        return
    if _title(lines, start) not in _PARAMETER_TITLES:
        return
    numpy = lines[start + 1 : start + 2] and lines[start + 1].startswith("---")
    body = lines[start + 2 : end] if numpy else inspect.cleandoc("\n" + "\n".join(lines[start + 1 : end])).splitlines()
    for i, line in enumerate(body):
        if entry := (_NUMPY_ENTRY if numpy else _GOOGLE_ENTRY).match(line):
            described = _join("" if numpy else entry[2] or "", _indented(body, i + 1, len(body)))
            for name in entry[1].split(","):
                yield name.strip().lstrip("*"), described


def _indented(lines: list[str], start: int, end: int) -> Iterator[str]:
    for line in lines[start:end]:
        if line and not line[0].isspace():
            return
        yield line


def _join(first: str, rest: Iterator[str]) -> str:
    return " ".join(" ".join((first, *rest)).split())
