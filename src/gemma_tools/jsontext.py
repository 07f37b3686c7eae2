"""JSON from OpenAI code: text read at any depth, Python values checked to be JSON, and values written as JSON text.

The standard reader is recursive in C and fails at a depth of some thousand brackets. What it refuses because of depth is read
here with an explicit stack. NaN and the infinities are not JSON, so no function accepts them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]
from json.encoder import encode_basestring
from math import isfinite
from typing import Any, Final, NoReturn, TypeGuard

from gemma_tools.errors import InvalidRequest

_MOST_BITS: Final = 14_000
"""The limit for an integer. Python refuses to print more than 4,300 decimal digits, which is a little more than this."""
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_SCALAR: Final = re.compile(r"[-0-9][0-9.eE+-]*|true|false|null")


def refuse_constant(name: str) -> NoReturn:
    """The `parse_constant` for `json`, so that NaN and the infinities are refused."""
    raise ValueError(f"{name} is not valid JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError(f"{digits}is too large for a float")
    return number


_decoder: Final = json.JSONDecoder(parse_constant=refuse_constant, parse_float=_finite)


def read_json(text: str) -> Any:
    """The value of a JSON text, however deeply it is nested.

    Raises:
        ValueError: the text is not valid JSON, or contains a number that Python cannot represent or print.
    """
    try:
        return _read(text)
    except RecursionError:
        return _read_deep(text)


def _read(text: str) -> Any:
    try:
        value, end = _decoder.raw_decode(text)
        if end == len(text):
            return value
    except json.JSONDecodeError:
        pass
    return _decoder.decode(text)  # which allows white space around the value, and needs time to find it


def _read_deep(text: str) -> Any:
    root: list[Any] = []
    stack: list[list[Any] | dict[str, Any]] = [root]
    fresh, position = False, _skip(text, 0)  # fresh: the innermost container was just opened, so it may close at once
    filled = False  # the innermost container has just received a value
    while True:
        top = stack[-1]
        if (fresh or filled) and text[position : position + 1] == ("]" if isinstance(top, list) else "}"):
            stack.pop()
            position = _skip(text, position + 1)
            fresh, filled = False, True
        else:
            if filled:
                position = _expect(text, position, ",")
            key = None
            if isinstance(top, dict):
                key, position = _string(text, position)
                position = _expect(text, position, ":")
            value, position = _value(text, position)
            if isinstance(top, dict):
                top[key or ""] = value
            else:
                top.append(value)
            fresh = isinstance(value, (list, dict))
            filled = not fresh
            if isinstance(value, (list, dict)):
                stack.append(value)
        if len(stack) == 1:
            break
    if position != len(text):
        raise ValueError(f"there is text after the value, from character {position}")
    return root[0]


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _expect(text: str, position: int, mark: str) -> int:
    if not text.startswith(mark, position):
        raise ValueError(f"{mark!r} is missing at character {position}")
    return _skip(text, position + 1)


def _string(text: str, position: int) -> tuple[str, int]:
    if not text.startswith('"', position):
        raise ValueError(f"a string is missing at character {position}")
    value, position = scanstring(text, position + 1, True)
    return value, _skip(text, position)


def _value(text: str, position: int) -> tuple[Any, int]:
    """A scalar, or a container that is still empty because only its opening bracket was read."""
    mark = text[position : position + 1]
    if mark == '"':
        return _string(text, position)
    if mark == "{":
        return {}, _skip(text, position + 1)
    if mark == "[":
        return [], _skip(text, position + 1)
    found = _SCALAR.match(text, position)
    if found is None:
        raise ValueError(f"a value is missing at character {position}")
    return _decoder.decode(found[0]), _skip(text, found.end())


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


_encode: Final[Callable[[object], str]] = json.JSONEncoder(ensure_ascii=False).encode


def to_json(value: object) -> str:
    """A JSON value of any depth as JSON text on one line, as `json.dumps` prints it with `ensure_ascii=False`.

    A lone surrogate, which UTF-8 cannot carry, is written as an escape.
    """
    try:
        return _scalar(value)
    except (RecursionError, TypeError):  # too deep, or a mapping that is not a dict
        return write_nested(value, _scalar)


def _scalar(value: object) -> str:
    return _escape_surrogates(_encode(value))


def to_json_lines(value: object, level: int = 0) -> str:
    """A JSON value of any depth as JSON text, indented by two spaces per level; all lines but the first start at `level`.

    It is the text of `json.dumps(value, indent=2, ensure_ascii=False)`, which the standard library prints slowly and only up to
    a limited depth. Values nested deeper than `MOST_INDENTED` stay on one line, so that the indentation does not make the text
    grow with the square of the depth.
    """
    return write_nested(value, _scalar, level)


MOST_INDENTED: Final = 64
_INDENT: Final = "  "
_END: Final = object()


def write_nested(value: Any, scalar: Callable[[object], str], level: int | None = None) -> str:
    """A value of any depth as text, without recursion: `scalar` writes keys and all values that contain nothing."""
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


def quote_json(text: str) -> str:
    """`text` as a JSON string. A lone surrogate, which UTF-8 cannot carry, is written as an escape."""
    quoted = encode_basestring(text)
    return quoted if quoted.isascii() else _escape_surrogates(quoted)


def _escape_surrogates(text: str) -> str:
    return text if text.isascii() else _SURROGATE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether `value` is a JSON object. Faster than `isinstance` for a plain dict, which is the usual case."""
    return value.__class__ is dict or isinstance(value, Mapping)


def check_json(value: object, param: str) -> None:
    """Refuse a Python value that is not JSON: other types, keys that are not strings, NaN, an object that contains itself.

    Raises:
        InvalidRequest: `param` is the path to the invalid value.
    """
    if not _is_plain(value):
        _find_fault(value, param)


_MOST_PLAIN: Final = 100_000


def _is_plain(value: object) -> bool:
    """Whether `value` is certainly JSON: a fast check that knows only the common types, and gives up on very many values."""
    stack = [value]
    for _ in range(_MOST_PLAIN):
        if not stack:
            return True
        item = stack.pop()
        kind = item.__class__
        if kind is str or kind is bool or item is None:
            continue
        if kind is dict:
            for key in item:  # type: ignore[attr-defined]
                if key.__class__ is not str:
                    return False
            stack.extend(item.values())  # type: ignore[attr-defined]
        elif kind is list:
            stack.extend(item)  # type: ignore[arg-type]
        elif kind is int:
            if item.bit_length() > _MOST_BITS:  # type: ignore[attr-defined]
                return False
        elif kind is not float or not isfinite(item):  # type: ignore[arg-type]
            return False
    return False


def _find_fault(value: object, param: str) -> None:
    names: list[str | int] = []
    within: list[int] = []
    seen: set[int] = set()
    stack: list[Iterator[tuple[str | int, object]]] = [iter((("", value),))]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
            if within:
                seen.discard(within.pop())
                names.pop()
            continue
        name, item = step
        if item is None or isinstance(item, (str, bool)):
            continue
        problem, code = "", "invalid_value"
        if isinstance(item, int):
            if item.bit_length() > _MOST_BITS:
                problem = "the integer has more than 4,000 digits"
        elif isinstance(item, float):
            if not isfinite(item):
                problem = f"{item} is not JSON"
        elif not isinstance(item, (Mapping, list, tuple)):
            problem, code = f"{type(item).__name__} is not a JSON type", "invalid_type"
        elif id(item) in seen:
            problem = "the object contains itself"
        elif is_mapping(item) and not all(isinstance(key, str) for key in item):
            problem, code = "the object has a key that is not a string", "invalid_type"
        else:
            names.append(name)
            within.append(id(item))
            seen.add(id(item))
            stack.append(iter(item.items()) if is_mapping(item) else iter(enumerate(item)))
        if problem:
            steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in [*names, name] if step != "")
            raise InvalidRequest(problem, param=param + "".join(steps), code=code)
