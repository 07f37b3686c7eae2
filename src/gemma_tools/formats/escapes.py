"""The text of a string as Python and JSON write it, from the characters between its quotes.

Sources: the lexical analysis chapter of the Python reference (escape sequences), and RFC 8259, section 7.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from gemma_tools.formats.paths import has_path

_SIMPLE: Final = {
    "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\",
}  # fmt: skip
_MORE: Final = {"python": {**_SIMPLE, "a": "\a", "v": "\v", "\n": ""}, "json": {**_SIMPLE, "/": "/"}}
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
"""Texts whose escapes Python's own codec reads correctly, at its speed."""


class _Unknown(Exception):
    """An escape that does not exist in the language."""


def unescape(text: str, *, python: bool = False) -> str | None:
    """The characters between a string's quotes, read as Python or as JSON; None if its backslashes are not escapes.

    They are not escapes if the language does not have one of them, or if they are part of a Windows path: a model that writes
    raw text does so to the end of the string. Python's escaped single quote is also read in JSON.
    """
    if "\\" not in text:
        return text
    language = "python" if python else "json"
    if has_path(text):
        return None
    if _COMMON[language].fullmatch(text):
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape")
    try:
        return _ESCAPE[language].sub(_python if python else _json, text)
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
