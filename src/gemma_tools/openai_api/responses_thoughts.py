"""Thoughts as `encrypted_content`: clients without state on a server carry them from one request to the next.

OpenAI hides its models' thoughts in it. Here a thought is not secret: it is only encoded, and everyone can read it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Final

WANTED: Final = "reasoning.encrypted_content"
"""The value in a request's `include` that asks for it."""
_MARK: Final = "gemma-tools:"


def packed(thought: str) -> str:
    """The `encrypted_content` of a thought."""
    return _MARK + b64encode(thought.encode(errors="surrogatepass")).decode()


def unpacked(content: object) -> str | None:
    """The thought in an `encrypted_content`; None if it was not encoded here."""
    if not isinstance(content, str) or not content.startswith(_MARK):
        return None
    try:
        return b64decode(content[len(_MARK) :], validate=True).decode(errors="surrogatepass")
    except ValueError:
        return None
