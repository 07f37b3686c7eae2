"""The text of a string as Python and JSON write it, from what stands between its quotes.

Sources: the lexical analysis chapter of the Python reference (escape sequences), and RFC 8259, section 7.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_SIMPLE: Final = {
    "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\", "\n": "",
}  # fmt: skip
_MORE: Final = {"python": {**_SIMPLE, "a": "\a", "v": "\v"}, "json": {**_SIMPLE, "/": "/"}}
_PAIR: Final = r"u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})"
_ESCAPE: Final = {
    "json": re.compile(rf"\\(?:{_PAIR}|(.?))", re.DOTALL),
    "python": re.compile(
        rf"\\(?:{_PAIR}|U([0-9a-fA-F]{{8}})|x([0-9a-fA-F]{{2}})|([0-7]{{1,3}})|N\{{([^{{}}]{{1,88}})\}}|(.?))", re.DOTALL
    ),
}
_SOLE: Final = r"u(?![dD][89abAB])[0-9a-fA-F]{4}"
_COMMON: Final = {
    "json": re.compile(rf"[^\\]*+(?:\\(?:[ntrbf\"'\\]|{_SOLE})[^\\]*+)*+"),
    "python": re.compile(rf"[^\\]*+(?:\\(?:[ntrbfav\"'\\]|{_SOLE}|x[0-9a-fA-F]{{2}})[^\\]*+)*+"),
}
"""Texts whose escapes Python's own codec reads as they are meant here, at its speed."""


class _Unknown(Exception):
    """An escape that the language does not have."""


def unescape(text: str, *, python: bool) -> str | None:
    """What stands between a string's quotes, read as Python or as JSON; None if it has an escape that these do not have."""
    if "\\" not in text:
        return text
    if _COMMON["python" if python else "json"].fullmatch(text):
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape")
    try:
        return (_ESCAPE["python"].sub(_python, text)) if python else _ESCAPE["json"].sub(_json, text)
    except _Unknown:
        return None


def _json(escape: re.Match[str]) -> str:
    high, low, code, simple = escape.groups()
    if simple is None:
        return _character(high, low, code)
    return _simple("json", simple)


def _python(escape: re.Match[str]) -> str:
    high, low, code, long, byte, octal, name, simple = escape.groups()
    if simple is not None:
        return _simple("python", simple)
    if octal:
        return chr(int(octal, 8))
    if name:
        try:
            return unicodedata.lookup(name)
        except KeyError:
            raise _Unknown from None
    return _character(high, low, code or long or byte)


def _simple(language: str, character: str) -> str:
    meant = _MORE[language].get(character)
    if meant is None:
        raise _Unknown
    return meant


def _character(high: str | None, low: str, code: str) -> str:
    if high:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    point = int(code, 16)
    if point > 0x10FFFF:
        raise _Unknown
    return chr(point)
