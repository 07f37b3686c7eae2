"""Reads protocol buffers without their schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message in protocol buffers' wire format: number and value.

    Source: https://protobuf.dev/programming-guides/encoding/

    Raises:
        ValueError, KeyError, IndexError: it is not such a message.
    """
    pos = 0
    while pos < len(data):
        tag, pos = _varint(data, pos)
        wire = tag & 7
        if wire == 0:
            value, pos = _varint(data, pos)
            yield tag >> 3, value
            continue
        if wire == 2:
            length, pos = _varint(data, pos)
        else:
            length = {1: 8, 5: 4}[wire]
        if pos + length > len(data):
            raise ValueError(length)
        yield tag >> 3, data[pos : pos + length]
        pos += length


def _varint(data: bytes, pos: int) -> tuple[int, int]:
    value = shift = 0
    while data[pos] & 0x80:
        value |= (data[pos] & 0x7F) << shift
        shift, pos = shift + 7, pos + 1
    return value | data[pos] << shift, pos + 1
