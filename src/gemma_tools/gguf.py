"""Reads from GGUF files only what is needed for a model's family: the header's keys, never the weights.

The layout (little-endian): the magic `GGUF`, a version (u32), the numbers of tensors and of key-value pairs (u64 each), then
the pairs: a key, a type (u32) and a value; strings are a length (u64) and UTF-8 bytes; arrays an element type, a length and
the elements. Source: docs/gguf.md in the ggml repository, versions 2 and 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from gemma_tools.errors import ModelNotFound

Header: TypeAlias = dict[str, Any]
"""Keys and values as in the file."""

_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9


def read_header(path: Path) -> Header:
    """The key-value pairs of a GGUF file. An array of arrays, which the format allows but no known file has, is not supported.

    Raises:
        ModelNotFound: the file does not exist, is not a GGUF file, or is broken.
    """
    try:
        with path.open("rb") as file:
            reader = _Reader(file, path.stat().st_size)
            if file.read(4) != b"GGUF" or reader.number("<I") not in (2, 3):
                raise ModelNotFound(f"{path} is not a GGUF file of version 2 or 3")
            reader.number("<Q")
            return dict(reader.pairs())
    except OSError as error:
        raise ModelNotFound(f"{path} cannot be read: {error.strerror}") from None
    except (struct.error, ValueError):
        raise ModelNotFound(f"{path} is cut short or broken") from None


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads values one after the other. `size` is the file's size in bytes: larger counts are refused."""

    file: BinaryIO
    size: int

    def pairs(self) -> Iterator[tuple[str, Any]]:
        for _ in range(self.count()):
            yield self.string(), self.value(self.number("<I"))

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            element, count = self.number("<I"), self.count()
            if element == _STRING:
                return [self.string() for _ in range(count)]
            form = f"<{count}{_form(element)[1]}"
            return struct.unpack(form, self.file.read(min(struct.calcsize(form), self.size)))
        return self.number(_form(kind))

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.file.read(struct.calcsize(form)))[0]

    def count(self) -> int:
        count: int = self.number("<Q")
        if count > self.size:
            raise ValueError(count)
        return count

    def string(self) -> str:
        length = self.count()
        data = self.file.read(length)
        if len(data) < length:
            raise ValueError(length)
        return data.decode("utf-8", "replace")


def _form(kind: int) -> str:
    """The format of a number in `struct`."""
    if kind not in _NUMBERS:
        raise ValueError(kind)
    return _NUMBERS[kind]
