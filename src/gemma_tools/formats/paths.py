"""Distinguishes a Windows path with single backslashes from text with escapes: `C:\\new\\table` has no line break and no tab.

Both are valid text, so something must show that it is a path: a part that begins with an unusual escape, a typical folder name,
an extension, or several parts after a beginning that only paths have.
"""

from __future__ import annotations

import re
from typing import Final

_ROOT: Final = r"[A-Za-z]:|\.\.?|~|%\w++%|\$env:\w++|\\\\[\w.$-]{2,}+"
"""The beginning of a path: a drive, a folder that the shell knows, or the name of a server."""
_BEFORE: Final = r"(?<![^\s\"'`=(\[{,;:<>|&])"
_AFTER: Final = r"(?=[\s\"'`)\]},;<>|&]|\Z)"
_NAME: Final = r"[^\\/:*?\"<>|\r\n\t]"
_PATH: Final = re.compile(rf"({_ROOT}|)((?:\\(?!'){_NAME}++)++)\\?+")
_PATH_INSIDE: Final = re.compile(rf"{_BEFORE}({_ROOT})((?:\\[\w.+$~-]++)++)\\?+{_AFTER}")
_PATH_AT_END: Final = re.compile(rf"{_BEFORE}(?:{_ROOT})(?:\\(?!\\){_NAME}*+)++\Z")
_CODE: Final = r"u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}"
_CODED: Final = re.compile(_CODE)
"""The beginning of a part that is more likely a character's code than a name: `..\\u00e9\\u00e8` is text."""
_ESCAPED: Final = re.compile(rf"[nrt]|{_CODE}")
"""The beginning of a part whose backslash may be an escape. The other escapes are control characters that no text has."""
_LABEL: Final = re.compile(r"[ABabi-z]:")
"""A letter and a colon that are rarely a drive: `x:\\t5` is a row of a table."""
_EXTENSION: Final = re.compile(r"\.[A-Za-z]\w{0,4}\Z")
_FOLDER: Final = re.compile(
    r"(?:new|nginx|node_modules|nodejs|notebooks|notes|nuget|releases?|repo(?:s|rts?|sitor(?:y|ies))?|resources?|roaming|root|"
    r"ruby|runtime|rust|temp|templates?|test(?:s|ing)?|themes?|tmp|tools)(?:\.|\Z)"
)
"""Names of folders and files that are not words without their first letter."""


def has_path(text: str) -> bool:
    """Whether `text`, the characters between quotes, is or contains a Windows path with single backslashes."""
    if "\\" not in text:
        return False
    whole = _PATH.fullmatch(text)
    if whole is not None:
        return _shows_path(whole[1], whole[2])
    return any(_shows_path(found[1], found[2]) for found in _PATH_INSIDE.finditer(text))


def ends_in_path(text: str) -> bool:
    """Whether `text` ends in a Windows path with single backslashes, so a backslash at its end is part of the path."""
    return _PATH_AT_END.search(text) is not None


def _shows_path(root: str, names: str) -> bool:
    """Whether something shows that the backslashes in `names` are not escapes."""
    parts = names.split("\\")[1:]
    if root and any(len(part) > 1 and _ESCAPED.match(part) is None for part in parts):
        return True
    if any(len(part) == 1 for part in parts):
        return False  # consecutive white space
    if any(" " in part for part in parts):
        # Lines of text, unless a file on a drive is named.
        return root[1:] == ":" and not _LABEL.match(root) and len(parts) > 1 and _EXTENSION.search(parts[-1]) is not None
    if any(map(_FOLDER.match, parts)):
        return True
    if not root or _LABEL.match(root) or any(map(_CODED.match, parts)):
        return False
    return _EXTENSION.search(parts[-1]) is not None or (len(parts) > 1 and all(len(part) > 2 for part in parts))
