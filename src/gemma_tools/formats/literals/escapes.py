"""Strings as Python and JSON write them: one escape at a time, and back to JSON text.

Sources: the lexical analysis chapter of the Python reference (escape sequences), and RFC 8259, section 7.
"""

from __future__ import annotations

import re
import unicodedata
from json.encoder import encode_basestring
from typing import Final

_SIMPLE: Final = {
    "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\", "\n": "",
}  # fmt: skip
_PYTHON_ONLY: Final = {"a": "\a", "v": "\v"}
_CODED: Final = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2}))|([0-7]{1,3})|N\{([^{}]{1,88})\})"
)
_LONGEST_NAMED: Final = 92
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def inner_json(text: str) -> str:
    """`text` as it stands between the quotes of a JSON string: cut anywhere, the pieces' texts join to the whole's.

    A lone surrogate, which UTF-8 cannot carry, is written as an escape.
    """
    inner = encode_basestring(text)[1:-1]
    if inner.isascii():
        return inner
    return _SURROGATE.sub(lambda m: f"\\u{ord(m[0]):04x}", inner)


def unescape(text: str, at: int, *, python: bool, ended: bool) -> tuple[str, int] | None:
    """What the backslash at `at` stands for, and where the text goes on; None while more text is needed to know.

    An escape that the language does not have stands for itself, as in Python. `python` tells the two apart where they
    differ: `\\/` is a slash only in JSON, octal and `\\a`, `\\v` and `\\N{...}` are escapes only in Python.
    """
    kind = text[at + 1 : at + 2]
    if not kind:
        return ("\\", at + 1) if ended else None
    if kind in _SIMPLE:
        return _SIMPLE[kind], at + 2
    if python and kind in _PYTHON_ONLY:
        return _PYTHON_ONLY[kind], at + 2
    if kind == "/" and not python:
        return "/", at + 2
    if kind in "uUx" or (python and kind in "01234567N"):
        if not ended and _unfinished(text, at, kind):
            return None
        coded = _CODED.match(text, at)
        decoded = _decoded(coded) if coded else None
        if coded and decoded is not None:
            return decoded, coded.end()
    return "\\" + kind, at + 2


def _unfinished(text: str, at: int, kind: str) -> bool:
    have = len(text) - at
    if kind == "u":
        # The first half of a surrogate pair waits for the second.
        return have < 6 or (have < 12 and text[at + 2 : at + 4].lower() in ("d8", "d9", "da", "db"))
    if kind == "N":
        return have < _LONGEST_NAMED and "}" not in text[at : at + _LONGEST_NAMED]
    return have < (10 if kind == "U" else 4)


def _decoded(coded: re.Match[str]) -> str | None:
    high, low, short, long, byte, octal, name = coded.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    if octal:
        return chr(int(octal, 8))
    if name:
        try:
            return unicodedata.lookup(name)
        except KeyError:
            return None
    code = int(short or long or byte, 16)
    return chr(code) if code <= 0x10FFFF else None
