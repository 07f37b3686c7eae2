"""The second way to ask Ollama: its own chat endpoint, for models whose control tokens it strips from raw text.

Ollama then renders the prompt and reads the calls; what is left to do here is to say the conversation in its shape, and to make
events of what it read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

from gemma_tools.engines.base import Cancellation, ChatPiece, Engine, Generation, GenerationRequest
from gemma_tools.formats.parsing import GeneratorParser, Reading
from gemma_tools.generators import Returning
from gemma_tools.prompt import Prompt
from gemma_tools.reply import Event
from gemma_tools.request import MEDIA_PARTS, Content, Message

LOSS = "the engine hides control tokens, so its own chat endpoint wrote the prompt and read the calls"
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


class ChatReader(GeneratorParser):
    """Makes events and a reply of pieces that are read already; a call whose name is not in `names` is a problem."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self._names = names

    def take(self, piece: ChatPiece) -> list[Event]:
        """The events of the next piece."""
        self._emit_reasoning(piece.reasoning)
        self._emit_content(piece.content)
        for name, arguments in piece.calls:
            text = json.dumps(arguments, ensure_ascii=False)
            if name not in self._names:
                self._emit_problem("undeclared", f"no tool named {name!r} is declared", f"{name}({text})")
                continue
            self._start_call(name)
            self._emit_arguments(text)
            self._end_call()
        return self._resume()

    def _read(self) -> Reading:
        yield from ()


def one_call_each(pieces: Generator[ChatPiece, None, Generation]) -> Generator[ChatPiece, None, Generation]:
    """`pieces` with no more than one call in each."""
    with Returning(pieces) as whole:
        for piece in whole:
            yield replace(piece, calls=piece.calls[:1])
            for call in piece.calls[1:]:
                yield ChatPiece(calls=(call,))
    return whole.value


def text_of(piece: ChatPiece) -> str:
    """A piece as text to look at."""
    calls = (f"{name}({json.dumps(arguments, ensure_ascii=False)})" for name, arguments in piece.calls)
    return "".join((piece.reasoning, piece.content, *calls))


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
