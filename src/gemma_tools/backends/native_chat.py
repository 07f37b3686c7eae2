"""The second way to ask Ollama: its own chat endpoint, for models whose control tokens it strips from raw text.

Ollama then renders the prompt and reads the calls; what is left to do here is to say the conversation in its shape, and to make
events of what it read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, cast

from gemma_tools.engines.base import Cancellation, ChatPiece, Engine, Generation, GenerationRequest
from gemma_tools.formats.reading import Buffer, ReplyBuilder
from gemma_tools.prompt import Prompt
from gemma_tools.reply import Event, Reply
from gemma_tools.request import MEDIA_PARTS, Content, Message

HIDDEN_TOKENS = "the engine hides control tokens, so its own chat endpoint wrote the prompt and read the calls"
"""Said of every answer that came this way."""


class NativeChat(Protocol):
    """An engine whose capabilities say `native_chat`."""

    def chat(
        self,
        request: GenerationRequest,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        *,
        think: bool | None = None,
        cancel: Cancellation | None = None,
    ) -> Generator[ChatPiece, None, Generation]:
        """Answer `request` by the engine's own chat endpoint, which writes the prompt from `messages` and `tools`."""
        ...

    def shows_markers(self, prompt: Prompt) -> bool | None:
        """Whether raw text shows the model's control tokens; None if that is not known."""
        ...


def needs_chat(engine: Engine, prompt: Prompt) -> NativeChat | None:
    """`engine`, if it has a chat endpoint and its raw text hides the control tokens of `prompt`; it is asked once.

    Raises:
        EngineError: the engine failed.
    """
    if not engine.capabilities.native_chat:
        return None
    chat = cast(NativeChat, engine)
    return chat if chat.shows_markers(prompt) is False else None


def native_messages(messages: Sequence[Message], media: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A conversation in Ollama's shape; `media` holds the loaded images in the order of their parts."""
    images = iter(media)
    return [_native(message, images) for message in messages]


class ChatReader:
    """Makes events and a reply of pieces that are read already, as a `ReplyParser` does of text.

    A call whose name is not in `names` is a problem. Places are those in the pieces as `text_of` writes them.
    """

    def __init__(self, names: Collection[str], *, max_calls: int | None = None) -> None:
        self._names = names
        self._buffer = Buffer()
        self._builder = ReplyBuilder(self._buffer, max_calls=max_calls)
        self._finish: Literal["stop", "length"] = "stop"

    def feed(self, piece: ChatPiece) -> list[Event]:
        """Take the next piece and return its events."""
        end = len(self._buffer.text) + len(piece.reasoning) + len(piece.content)
        self._buffer.append(text_of(piece))
        self._builder.reasoning(piece.reasoning)
        self._builder.content(piece.content)
        for name, arguments in piece.calls:
            start, end = end, end + len(_call_text(name, arguments))
            self._call(name, arguments, start, end)
        return self._builder.take()

    def close(self, finish: Literal["stop", "length"] = "stop") -> list[Event]:
        """The pieces have ended, and how."""
        self._finish = finish
        return self._builder.take()

    @property
    def finished(self) -> bool:
        """See `ReplyParser.finished`."""
        return self._builder.full is not None

    @property
    def reply(self) -> Reply:
        """Everything read so far; complete after `close`."""
        return self._builder.reply(self._finish)

    def _call(self, name: str, arguments: Mapping[str, Any], start: int, end: int) -> None:
        builder = self._builder
        if builder.full is not None:
            builder.problem(builder.full, "a call after the last one that is taken", start, end, quoted=True)
        elif name not in self._names:
            builder.problem("undeclared", f"no tool named {name!r} is declared", start, end, quoted=True)
        else:
            builder.start_call(name)
            builder.pieces.append(json.dumps(arguments, ensure_ascii=False))
            builder.end_call(start, end)


def text_of(piece: ChatPiece) -> str:
    """A piece as text to look at."""
    return "".join((piece.reasoning, piece.content, *(_call_text(name, arguments) for name, arguments in piece.calls)))


def _call_text(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name}({json.dumps(arguments, ensure_ascii=False)})"


def _native(message: Message, images: Iterator[Mapping[str, Any]]) -> dict[str, Any]:
    native: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        "content": _text(message.content),
    }
    parts = message.content if isinstance(message.content, tuple) else ()
    if loaded := [next(images)["data"] for part in parts if part["type"] in MEDIA_PARTS]:
        native["images"] = loaded
    if message.tool_calls:
        native["tool_calls"] = [{"function": {"name": c.name, "arguments": dict(c.arguments)}} for c in message.tool_calls]
    if message.reasoning:
        native["thinking"] = message.reasoning
    if message.role == "tool":
        native["tool_name"] = message.name or message.called or "unknown"
    return native


def _text(content: Content) -> str:
    if isinstance(content, tuple):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return json.dumps(content, ensure_ascii=False) if isinstance(content, Mapping) else content or ""
