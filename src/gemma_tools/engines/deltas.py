"""Reads the stream of a chat endpoint: text, thoughts, and calls that arrive in chunks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from gemma_tools.engines.base import ChatPiece
from gemma_tools.engines.thoughts import ThoughtReader
from gemma_tools.errors import EngineProtocolError


@dataclass(slots=True)
class _Call:
    """A call, as far as it has arrived."""

    id: str
    name: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


class DeltaReader:
    """Makes chunks from deltas, or from the whole message of an endpoint that does not stream."""

    def __init__(self) -> None:
        self._thoughts = ThoughtReader()
        self._calls: list[_Call] = []
        self._latest: dict[object, _Call] = {}
        """The last call of each index, and the last call of all under None."""

    def feed(self, delta: Mapping[str, Any]) -> ChatPiece:
        """What is certain after `delta`. Calls are returned when all deltas have arrived.

        Raises:
            EngineProtocolError: a part has the wrong type.
        """
        content, thought = self._thoughts.feed(_text(delta.get("content")), delta)
        for part in delta.get("tool_calls") or ():
            self._add(part)
        return ChatPiece(content=content, reasoning=thought)

    def close(self) -> ChatPiece:
        """What was held back, and the calls."""
        content, thought = self._thoughts.close()
        read: list[tuple[str, Mapping[str, Any]]] = []
        unread: list[tuple[str, str]] = []
        for call in self._calls:
            arguments = _object(call.arguments or "{}")
            if arguments is None:
                unread.append((call.name, call.arguments))
            else:
                read.append((call.name, arguments))
        return ChatPiece(content=content, reasoning=thought, calls=tuple(read), unread=tuple(unread))

    def _add(self, part: Mapping[str, Any]) -> None:
        """Take a chunk of a call.

        Gemini's calls arrive whole, without an index or all with the same; other endpoints repeat id and name in every chunk.
        """
        function = part.get("function") or {}
        call_id, index = _text(part.get("id")), part.get("index")
        name, said = _text(function.get("name")), function.get("arguments")
        known = next((call for call in self._calls if call.id == call_id), None) if call_id else None
        known = known or self._latest.get(index)
        another = known is not None and (
            (call_id and known.id and call_id != known.id) or (name and not call_id and _object(known.arguments) is not None)
        )
        if known is None or another:
            known = _Call(call_id)
            self._calls.append(known)
        self._latest[index] = self._latest[None] = known
        known.id = known.id or call_id
        known.name = known.name or name
        known.pieces.append(json.dumps(said) if isinstance(said, Mapping) else _text(said))


def _object(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`; None if it is not one."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not valid JSON")


def _text(content: object) -> str:
    """The text of a content: a string, or the list of parts that some endpoints return.

    Raises:
        EngineProtocolError: it is neither.
    """
    if content is None:
        return ""
    if isinstance(content, list) and content and all(isinstance(part, Mapping) for part in content):
        content = "".join(str(part.get("text") or "") for part in content)
    if not isinstance(content, str):
        raise EngineProtocolError(f"the server sent text that is not a string: {content!r:.100}")
    return content
