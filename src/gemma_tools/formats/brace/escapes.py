"""The text of a string in quotes, in which a backslash may be an escape, or only a backslash."""

from __future__ import annotations

import json
import re
from typing import Final

from gemma_tools.schema.coerce import quote_json

_ESCAPES: Final = r"\\(?:u[0-9a-fA-F]{4}|[\"'\\/bfnrt])"
_VALID: Final = re.compile(rf"(?:[^\\]++|{_ESCAPES})*+")
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|[\"\\/bfnrt])|\\'|[\\\"\x00-\x1f]")
_NAME: Final = r"[^\\/:*?\"<>|\r\n\t]"
_PATH: Final = re.compile(rf"[A-Za-z]:(?:\\(?!\\){_NAME}*+)++")
_PATH_INSIDE: Final = re.compile(r"(?<![\w\\])[C-Zc-z]:\\[\w.-]++\\[\w.-]")


_PATH_AT_END: Final = re.compile(rf"(?<![\w\\])(?:[A-Za-z]:|\\\\[\w.$-]++)(?:\\(?!\\){_NAME}*+)++\Z")


def has_raw_backslash(text: str) -> bool:
    """Whether a backslash in `text` is no escape: one that JSON and Python do not know, or a part of a Windows path.

    Then none of them is one: a model that writes raw text does so to its end.
    """
    if "\\" not in text:
        return False
    return _VALID.fullmatch(text) is None or _PATH.fullmatch(text) is not None or _PATH_INSIDE.search(text) is not None


def ends_in_path(text: str) -> bool:
    """Whether `text` ends in a Windows path with single backslashes, so that a backslash at its end is a part of the path."""
    return _PATH_AT_END.search(text) is not None


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
