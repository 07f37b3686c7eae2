"""Reads from LiteRT-LM files only what is needed for a model's family: the type in their metadata, never the weights.

A file begins with the magic `LITERTLM`, three version numbers (u32), four bytes of padding and the header's end (u64). From
byte 32 on the header is a FlatBuffer, a table of sections: the beginning, end and kind of each. The section of the kind
LlmMetadataProto is a protocol buffer whose field 6 contains one field: its number is the model's type. A tokenizer is an
unchanged SentencePiece model, or Hugging Face's JSON: its length (u64), then zlib. All numbers are little-endian.

Sources: schema/core/litertlm_header_schema.fbs, runtime/proto/llm_metadata.proto and llm_model_type.proto in
google-ai-edge/LiteRT-LM; the documentation of FlatBuffers on its binary format.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from gemma_tools.errors import ModelNotFound
from gemma_tools.protobuf import fields

_TYPES = {
    1: "generic",
    2: "gemma3n",
    3: "functiongemma",
    4: "gemma3",
    5: "qwen3",
    7: "qwen2.5",
    8: "gemma4",
    9: "fast-vlm",
    11: "lfm2",
    12: "minicpm5",
    13: "gemma3",  # the 270M model, which has its own type
}
_TOKENIZER, _METADATA, _PACKED_TOKENIZER = 4, 5, 6
"""The kinds of section SP_Tokenizer, LlmMetadataProto and HF_Tokenizer_Zlib."""
_START = 32
_LONGEST = 1 << 26
"""Nothing that is read here is larger, in bytes; a larger number means a broken file."""


def model_type(path: Path) -> str | None:
    """The type of the model in a `.litertlm` file: "functiongemma", "gemma3", "generic", ...; None if the file says none.

    A converter treats FunctionGemma as Gemma 3, because the architecture is the same; its tokens show the difference.

    Raises:
        ModelNotFound: the file does not exist, or is not a LiteRT-LM file.
    """
    try:
        with path.open("rb") as file:
            if file.read(8) != b"LITERTLM":
                raise ModelNotFound(f"{path} is not a LiteRT-LM file")
            file.seek(24)
            (end,) = struct.unpack("<Q", file.read(8))
            sections = {kind: (begin, end) for begin, end, kind in _sections(_read(file, _START, end))}
            found = _type(_read(file, *sections[_METADATA])) if _METADATA in sections else None
            if found == "gemma3" and b"<start_function_call>" in _tokenizer(file, sections):
                return "functiongemma"
            return found
    except OSError as error:
        raise ModelNotFound(f"{path} cannot be read: {error.strerror}") from None
    except (struct.error, zlib.error, ValueError, KeyError, IndexError, TypeError):
        raise ModelNotFound(f"{path} is cut short or broken") from None


def _read(file: BinaryIO, begin: int, end: int) -> bytes:
    if not 0 <= end - begin <= _LONGEST:
        raise ValueError(end)
    file.seek(begin)
    return file.read(end - begin)


def _tokenizer(file: BinaryIO, sections: Mapping[int, tuple[int, int]]) -> bytes:
    if _PACKED_TOKENIZER in sections:
        return zlib.decompress(_read(file, *sections[_PACKED_TOKENIZER])[8:])
    return _read(file, *sections[_TOKENIZER]) if _TOKENIZER in sections else b""


def _type(metadata: bytes) -> str | None:
    numbers = [number for field, value in fields(metadata) if field == 6 for number, _ in fields(value)]
    return _TYPES.get(numbers[-1], f"number {numbers[-1]}") if numbers else None


def _sections(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Where each section begins and ends, and its kind."""
    metadata = _reference(data, _field(data, _reference(data, 0), 1))
    objects = _reference(data, _field(data, metadata, 0))
    (count,) = struct.unpack_from("<I", data, objects)
    for at in range(objects + 4, objects + 4 + 4 * count, 4):
        section = _reference(data, at)
        begin, end, kind = (_field(data, section, number) for number in (1, 2, 3))
        yield *struct.unpack_from("<Q", data, begin), *struct.unpack_from("<Q", data, end), data[kind]


def _reference(data: bytes, at: int) -> int:
    """The target of the offset at `at`."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes, table: int, number: int) -> int:
    """The position of a table's field.

    Raises:
        ValueError: the table does not have the field.
    """
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    (size,) = struct.unpack_from("<H", data, vtable)
    slot = 4 + 2 * number
    offset = int(struct.unpack_from("<H", data, vtable + slot)[0]) if slot < size else 0
    if not offset:
        raise ValueError(number)
    return table + offset
