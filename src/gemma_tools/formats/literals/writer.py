"""Write JSON values as Python or JSON text, at any depth, without calling itself.

`json_lines` prints the bytes of `json.dumps(value, indent=2, ensure_ascii=False)`, which the standard library prints slowly
and only to a bounded depth. Its indentation would make text grow with the square of the depth, so what is nested deeper
than `MOST_INDENTED` stays on one line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from gemma_tools.jsontext import is_mapping

MOST_INDENTED: Final = 64
_INDENT: Final = "  "
_END: Final = object()
_encode: Final[Callable[[object], str]] = json.JSONEncoder(ensure_ascii=False).encode


def python_text(value: object) -> str:
    """`value` as `repr` prints it."""
    return repr(value) if value.__class__ in _PYTHON_SCALARS else _write(value, repr)


_PYTHON_SCALARS: Final = frozenset((str, int, float, bool, type(None)))


def json_text(value: object) -> str:
    """`value` as JSON on one line, as `json.dumps` prints it without escaping what is not ASCII."""
    try:
        return _encode(value)
    except (RecursionError, TypeError):  # too deep, or a mapping of another type than dict
        return _write(value, _encode)


def json_lines(value: object, level: int = 0) -> str:
    """`value` as JSON indented by two spaces a level; its lines but the first stand `level` levels in."""
    return _write(value, _encode, level)


def _write(value: Any, scalar: Callable[[object], str], level: int | None = None) -> str:
    out: list[str] = []
    open_containers: list[tuple[Iterator[Any], bool]] = []
    item = value
    fresh = False
    while True:
        keyed = is_mapping(item)
        if keyed or isinstance(item, (list, tuple)):
            out.append("{" if keyed else "[")
            open_containers.append((iter(item.items() if keyed else item), keyed))
            fresh = True
        else:
            out.append(scalar(item))
        while open_containers:
            entries, keyed = open_containers[-1]
            entry: Any = next(entries, _END)
            depth = len(open_containers)
            lines = level is not None and depth <= MOST_INDENTED
            if entry is not _END:
                if lines:
                    out.append(("\n" if fresh else ",\n") + _INDENT * (depth + (level or 0)))
                elif not fresh:
                    out.append(", ")
                fresh = False
                item = entry
                if keyed:
                    out.append(scalar(entry[0]) + ": ")
                    item = entry[1]
                break
            open_containers.pop()
            if lines and not fresh:
                out.append("\n" + _INDENT * (depth - 1 + (level or 0)))
            out.append("}" if keyed else "]")
            fresh = False
        else:
            return "".join(out)
