"""Images and audio, and the parts of messages that hold them."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

RED, GREEN, BLUE = (220, 30, 30), (30, 200, 30), (30, 30, 220)


def png(color: tuple[int, int, int] = RED, width: int = 40, height: int = 40) -> bytes:
    """A picture of one color."""
    lines = (b"\0" + bytes(color) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(*chunk) for chunk in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def wav(seconds: float = 1, rate: int = 16000) -> bytes:
    """Silence, in 16 bits."""
    samples = bytes(2 * int(seconds * rate))
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(samples))
        + b"WAVEfmt "
        + form
        + b"data"
        + struct.pack("<I", len(samples))
        + samples
    )


def picture(data: bytes) -> dict[str, Any]:
    """The part of a message that holds a PNG."""
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(data).decode()}}


def sound(data: bytes, form: str = "wav") -> dict[str, Any]:
    """The part of a message that holds a sound."""
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": form}}
