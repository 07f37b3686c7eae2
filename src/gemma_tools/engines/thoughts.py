"""Where chat endpoints put a thought: one reader for all of them.

- `reasoning_content` (llama-server, vLLM, SGLang, DeepSeek's shape) or `reasoning` (OpenRouter, newer vLLM);
- `reasoning_details`, a list of texts and summaries (OpenRouter), if it is the only field;
- `extra_content.google.thought`, a mark on a chunk whose content is thought (Gemini's compatibility layer);
- `<thought>` or `<think>` around it at the beginning of the content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_TAGS: Final = (("<thought>", "</thought>"), ("<think>", "</think>"))
_LONGEST: Final = max(len(tag) for tags in _TAGS for tag in tags)
_MOST_SPACE: Final = 256
"""The distance from the beginning within which a thought is searched."""


class ThoughtReader:
    """Separates thought from content, chunk by chunk."""

    def __init__(self) -> None:
        self._held = ""
        self._closing = ""
        """The tag that ends the open thought; empty: no thought is open."""
        self._begun = False
        """There was content, so no thought begins any more."""
        self._marked = False
        """There was a thought with a mark."""
        self._after = False
        """A tag has just ended a thought: line breaks after it belong to it."""

    def feed(self, content: str, fields: Mapping[str, Any]) -> tuple[str, str]:
        """The content and the thought in one chunk; `fields` are its other fields."""
        thought = _thought_in(fields)
        if not content:
            return "", thought
        marked = _is_marked(fields)
        if not marked and self._closing == _MARK:
            self._closing = ""
        shown, inside = self._split(content, marked)
        return shown, thought + inside

    def close(self) -> tuple[str, str]:
        """The text that was held back: content, or the end of a thought."""
        held, self._held = self._held, ""
        return ("", held) if self._closing else (held, "")

    def _split(self, text: str, marked: bool) -> tuple[str, str]:
        text, self._held = self._held + text, ""
        inside = ""
        if not self._closing and not self._begun:
            start = text.lstrip()
            if len(text) < _MOST_SPACE and any(tag.startswith(start) and tag != start for tags in _TAGS for tag in tags):
                self._held = text
                return "", ""
            opening, self._closing = next((tags for tags in _TAGS if start.startswith(tags[0])), ("", ""))
            text = start[len(opening) :] if opening else text
        if marked:
            self._marked, self._closing = True, self._closing or _MARK
        if self._closing == _MARK:
            return "", text
        if self._closing:
            inside, found, text = text.partition(self._closing)
            if not found:
                keep = next((n for n in range(min(_LONGEST, len(inside)), 0, -1) if self._closing.startswith(inside[-n:])), 0)
                if self._marked and not marked and keep < len(inside):  # the tag was never closed
                    self._closing, self._begun = "", True
                    return inside, ""
                self._held = inside[len(inside) - keep :]
                return "", inside[: len(inside) - keep]
            self._closing, self._begun, self._after = "", True, True
        elif self._marked and not self._begun:  # the tags may be around what is marked, the last one after it
            closer = next((closing for _, closing in _TAGS if text.lstrip().startswith(closing)), "")
            text = text.lstrip().removeprefix(closer) if closer else text
            self._after = True
        if self._after and (text := text.lstrip("\n")):
            self._after = False
        self._begun = self._begun or bool(text.strip())
        return text, inside


_MARK: Final = "\x00"
"""End a thought that marks on its chunks showed."""


def _is_marked(fields: Mapping[str, Any]) -> bool:
    extra = fields.get("extra_content")
    google = extra.get("google") if isinstance(extra, Mapping) else None
    return isinstance(google, Mapping) and google.get("thought") is True


def _thought_in(fields: Mapping[str, Any]) -> str:
    """The thought in its own field; some endpoints send the same thought under several names."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(text := fields.get(name), str) and text:
            return text
    details = fields.get("reasoning_details")
    if not isinstance(details, list):
        return ""
    told = (detail.get("text") or detail.get("summary") for detail in details if isinstance(detail, Mapping))
    return "".join(text for text in told if isinstance(text, str))
