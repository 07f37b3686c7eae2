"""The size of an image or audio file after decoding, from its header: a small file may contain a huge one.

Headers are read like llama.cpp's decoders (stb_image, and miniaudio, which tries WAV, FLAC and then MP3 on any file).
A file that cannot be decoded counts as 0.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from math import inf
from types import MappingProxyType
from typing import Final

_PARTS: Final = 10_000
"""No file has this many parts before the one with its size."""
_FRAME_SECONDS: Final = 0.072
"""The longest frame of an MP3: 576 samples at 8 kHz."""
_FRAME: Final = re.compile(rb"\xff[\xe0-\xff]")
_PLAIN: Final = frozenset({1, 3, 6, 7})
"""The kinds of WAV in which each sample has the same size: PCM, floats, A-law and mu-law."""


def pixels(data: bytes, format: str) -> float:
    """The number of pixels of an image of this media type."""
    try:
        width, height = _IMAGES[format](data)
    except struct.error:
        return 0
    return abs(width) * abs(height)


def seconds(data: bytes, format: str) -> float:
    """The maximum length of audio in this OpenAI format."""
    if format == "wav" and (told := _told(_wav, data)):
        return told  # frames are not searched: quiet samples look like the beginning of a frame
    told = _told(_flac, data) if format == "flac" else 0
    return max(told, _FRAME_SECONDS * len(_FRAME.findall(data)))


def _told(header: Callable[[bytes], float], data: bytes) -> float:
    try:
        return header(data)
    except (struct.error, ZeroDivisionError):
        return 0


def _png(data: bytes) -> tuple[float, float]:
    place = 8
    for _ in range(_PARTS):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind != b"CgBI":  # from old iPhones
            break
        place += 12 + length
    width, height = struct.unpack_from(">II", data, place + 8)
    return width, height


def _jpeg(data: bytes) -> tuple[float, float]:
    place = 2
    for _ in range(_PARTS):
        place = data.find(b"\xff", place)
        if place < 0:
            return 0, 0
        while data[place : place + 1] == b"\xff":
            place += 1
        marker, length = struct.unpack_from(">BH", data, place)
        if marker in (0xC0, 0xC1, 0xC2):
            height, width = struct.unpack_from(">HH", data, place + 4)
            return width, height
        place += 1 + length
    return inf, inf


def _gif(data: bytes) -> tuple[float, float]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp(data: bytes) -> tuple[float, float]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return width, height


def _webp(data: bytes) -> tuple[float, float]:
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _wav(data: bytes) -> float:
    for kind, place in _chunks(data):
        if kind == b"fmt ":
            form, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", data, place)
            if form == 0xFFFE:
                (form,) = struct.unpack_from("<H", data, place + 24)
            frame = min(block, channels * bits / 8)
            return len(data) / (rate * frame) if form in _PLAIN else inf
    return inf


def _chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    place = 12
    for _ in range(_PARTS):
        kind, length = struct.unpack_from("<4sI", data, place)
        yield kind, place + 8
        place += 8 + length + length % 2


def _flac(data: bytes) -> float:
    packed = int.from_bytes(data[18:26], "big")  # 20 bits of rate, 3 of channels, 5 of depth, 36 of samples
    return (packed & 0xFFFFFFFFF) / (packed >> 44)


_IMAGES: Final[Mapping[str, Callable[[bytes], tuple[float, float]]]] = MappingProxyType(
    {"image/png": _png, "image/jpeg": _jpeg, "image/gif": _gif, "image/bmp": _bmp, "image/webp": _webp}
)
