"""Just enough of GGUF to know a model file's family: the header's keys, never the weights.

The layout (little-endian): the magic `GGUF`, a version (u32), the numbers of tensors and of key-value pairs (u64 each), then
the pairs: a key, a type (u32) and a value; strings are a length (u64) and UTF-8 bytes; arrays an element type, a length and
the elements. Source: docs/gguf.md in the ggml repository, versions 2 and 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from gemma_tools.errors import ModelNotFound

Header: TypeAlias = dict[str, Any]
"""Keys and values as in the file."""

_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LONGEST = 1 << 28
"""No string or array of a header has more bytes or elements; a larger number means a broken file."""


def read_header(path: Path) -> Header:
    """The key-value pairs of a GGUF file.

    Raises:
        ModelNotFound: there is no such file, or it is no GGUF file.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF" or _number(file, "<I") not in (2, 3):
                raise ModelNotFound(f"{path} is no GGUF file of version 2 or 3")
            _number(file, "<Q")
            return dict(_pairs(file, _count(file)))
    except OSError as error:
        raise ModelNotFound(f"{path} cannot be read: {error.strerror}") from error
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise ModelNotFound(f"{path} is cut short or broken") from error


def _pairs(file: BinaryIO, count: int) -> Iterator[tuple[str, Any]]:
    for _ in range(count):
        yield _string(file), _value(file, _number(file, "<I"))


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        element, count = _number(file, "<I"), _count(file)
        if element == _STRING:
            return [_string(file) for _ in range(count)]
        return struct.unpack(f"<{count}{_NUMBERS[element][1]}", file.read(count * struct.calcsize(_NUMBERS[element])))
    if kind not in _NUMBERS:
        raise ValueError(kind)
    return _number(file, _NUMBERS[kind])


def _number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _count(file: BinaryIO) -> int:
    count: int = _number(file, "<Q")
    if count > _LONGEST:
        raise ValueError(count)
    return count


def _string(file: BinaryIO) -> str:
    length = _count(file)
    data = file.read(length)
    if len(data) < length:
        raise ValueError(length)
    return data.decode("utf-8", "replace")
