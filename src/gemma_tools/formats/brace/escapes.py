"""The text of a string in quotes, in which a backslash may be an escape, or only a backslash."""

from __future__ import annotations

import json
import re
from typing import Final

from gemma_tools.formats.paths import has_path
from gemma_tools.jsontext import quote_json

_ESCAPES: Final = r"\\(?:u[0-9a-fA-F]{4}|[\"'\\/bfnrt])"
_VALID: Final = re.compile(rf"(?:[^\\]++|{_ESCAPES})*+")
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|[\"\\/bfnrt])|\\'|[\\\"\x00-\x1f]")


def has_raw_backslash(text: str) -> bool:
    """Whether a backslash in `text` is no escape: one that JSON and Python do not know, or a part of a Windows path.

    Then none of them is one: a model that writes raw text does so to its end.
    """
    if "\\" not in text:
        return False
    return _VALID.fullmatch(text) is None or has_path(text)


def unescape(text: str) -> str:
    """What the escapes in `text` stand for; a quotation mark or control character without a backslash is itself."""
    if "\\" not in text:
        return text
    value: str = json.loads(f'"{_ESCAPE.sub(_as_json, text)}"')
    return value


def _as_json(match: re.Match[str]) -> str:
    if match[1]:
        return match[0]
    return "'" if match[0] == "\\'" else quote_json(match[0])[1:-1]
