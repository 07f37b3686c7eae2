"""What the renderers share: the draft of a prompt, and the text of a result.

A family's renderer writes its turns to a `Draft`. The draft also collects what the format cannot express.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from gemma_tools.formats.brace.writer import Notation
from gemma_tools.formats.options import ToolContent
from gemma_tools.jsontext import read_json
from gemma_tools.request import Content, Message, Part, Tool

DeclarationText: TypeAlias = tuple[str, tuple[str, ...]]
"""A quoted declaration, and what it leaves out."""
Declare: TypeAlias = Callable[[Tool], DeclarationText]
"""Writes a declaration. Equal only if it is the same object, so its output can be cached."""


class Request(NamedTuple):
    """The validated arguments of `Format.render`. `tools` are the declared ones."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    add_generation_prompt: bool
    enable_thinking: bool
    preserve_thinking: bool

    @property
    def lead(self) -> Message | None:
        """The first message, if it is an instruction for the model."""
        first = self.messages[0]
        return first if first.role in ("system", "developer") else None


class Draft:
    """A prompt that is being written: its parts, what the format cannot express, and the media in the order of placeholders."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.warnings: list[str] = []
        self.media: list[Part] = []

    @property
    def text(self) -> str:
        """The text so far, quoted."""
        return "".join(self.out)

    def lose_name(self, index: int) -> None:
        """Report that a message has a speaker's name."""
        self.warnings.append(f"messages[{index}].name: turns have no speaker names")

    def lose_thought(self, index: int, family: str) -> None:
        """Report that a message has a thought."""
        self.warnings.append(f"messages[{index}].reasoning: {family} has no thought channel")

    def lose_question(self, index: int) -> None:
        """Report that a result has no call."""
        self.warnings.append(f"messages[{index}] does not answer an earlier call")

    def calls(self, notation: Notation, message: Message, index: int) -> None:
        """Write the calls of a message, and report what the notation cannot express."""
        for i, call in enumerate(message.tool_calls):
            text, unreadable_key = notation.write_call(call.name, call.arguments)
            self.out.append(text)
            if not call.readable:
                self.lose_arguments(index, i)
            elif unreadable_key is not None:
                self.lose_key(index, i, unreadable_key)

    def lose_arguments(self, index: int, call: int) -> None:
        """Report that a call's arguments are text that is not a JSON object."""
        self.warnings.append(f"{_place(index, call)} is not a JSON object, and is written as one argument named 'arguments'")

    def lose_key(self, index: int, call: int, key: str) -> None:
        """Report that a call's arguments have a key that the notation cannot express."""
        self.warnings.append(f"{_place(index, call)} has the key {key!r}, which cannot be read back")


def _place(index: int, call: int) -> str:
    return f"messages[{index}].tool_calls[{call}].function.arguments"


def result_of(content: object, mode: ToolContent) -> object:
    """The content of a tool result: its text (parts joined without a separator), or an object.

    In mode "json_object" a text that is a JSON object is read as one; any other text stays text.
    """
    if isinstance(content, tuple):
        content = "".join([part["text"] for part in content if part["type"] == "text"])
    if mode == "json_object" and isinstance(content, str) and (content[:1] == "{" or content.lstrip()[:1] == "{"):
        try:
            value = read_json(content)
        except ValueError:
            return content
        return value if isinstance(value, dict) else content
    return content


def write_result(notation: Notation, name: str, content: Content, mode: ToolContent) -> str:
    """A tool result with its special tokens. Histories are rendered repeatedly, so small results are cached."""
    if content.__class__ is not str or len(content) > _LARGEST_RESULT:
        return notation.write_response(name, result_of(content, mode))
    return _remembered_result(notation, name, content, mode)


_LARGEST_RESULT: Final = 2048
"""In characters. Longer results are read and written anew each time, so the cache stays small."""


@lru_cache(maxsize=2048)
def _remembered_result(notation: Notation, name: str, content: str, mode: ToolContent) -> str:
    return notation.write_response(name, result_of(content, mode))
