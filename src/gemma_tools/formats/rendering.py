"""What the renderers share: the way from a request to a prompt, and what a result says.

A family's renderer writes its turns to a `Draft`, which also takes what the family's format has no place for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import ClassVar, Final, NamedTuple, TypeAlias

from gemma_tools.formats.base import Format, Opens
from gemma_tools.formats.brace.writer import Notation
from gemma_tools.formats.options import ToolContent, check_options
from gemma_tools.jsontext import check_json, read_json
from gemma_tools.prompt import Prompt, TurnTokens, unquote
from gemma_tools.request import Content, Message, Part, RawChoice, RawMessage, RawTool, Tool
from gemma_tools.validation import cached_tool, validate, validate_tools

Declared: TypeAlias = tuple[str, tuple[str, ...]]
"""A declaration, quoted, and what it leaves unsaid."""
Declare: TypeAlias = Callable[[Tool], Declared]
"""Writes a declaration. Equal only where it is the same object, so that what it wrote can be remembered."""


class Request(NamedTuple):
    """What `Format.render` was asked for, validated. `tools` are those that are declared."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    add_generation_prompt: bool
    enable_thinking: bool
    preserve_thinking: bool

    @property
    def lead(self) -> Message | None:
        """The first message, if it instructs the model."""
        first = self.messages[0]
        return first if first.role in ("system", "developer") else None


class Draft:
    """A prompt while it is written: its pieces, what the format cannot say, and the media in the order of placeholders."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.losses: list[str] = []
        self.media: list[Part] = []

    @property
    def text(self) -> str:
        """What has been written, quoted."""
        return "".join(self.out)

    def prompt(self, form: GemmaFormat, opens: Opens = "content") -> Prompt:
        """The finished prompt."""
        losses, media = tuple(self.losses), tuple(self.media)
        return Prompt(self.text, form.controls, opens=opens, stop=form.stop, losses=losses, media=media, turns=form.turn_tokens)

    def lose_name(self, index: int) -> None:
        """Report that a message has a speaker's name."""
        self.losses.append(f"messages[{index}].name: turns carry no speaker's name")

    def lose_thought(self, index: int, family: str) -> None:
        """Report that a message has a thought."""
        self.losses.append(f"messages[{index}].reasoning: {family} has no thought channel")

    def lose_question(self, index: int) -> None:
        """Report that a result has no call."""
        self.losses.append(f"messages[{index}] answers no call before it")

    def calls(self, notation: Notation, message: Message, index: int) -> None:
        """Write the calls of a message, and report what of them the notation cannot say."""
        for i, call in enumerate(message.tool_calls):
            text, unreadable_key = notation.write_call(call.name, call.arguments)
            self.out.append(text)
            if not call.readable:
                self.lose_arguments(index, i)
            elif unreadable_key is not None:
                self.lose_key(index, i, unreadable_key)

    def lose_arguments(self, index: int, call: int) -> None:
        """Report that a call's arguments are text that is not a JSON object."""
        self.losses.append(f"{_place(index, call)} is not a JSON object, and is written as one argument named 'arguments'")

    def lose_key(self, index: int, call: int, key: str) -> None:
        """Report that a call's arguments have a key that the notation cannot say."""
        self.losses.append(f"{_place(index, call)} has the key {key!r}, which cannot be read back")


def _place(index: int, call: int) -> str:
    return f"messages[{index}].tool_calls[{call}].function.arguments"


class GemmaFormat(Format):
    """What the formats of all families share: options that are checked, and rendering but for what is the family's own."""

    stop: ClassVar[tuple[str, ...]]
    """The control tokens that end the model's turn."""
    declares: ClassVar[tuple[str, str]] = ("", "")
    """What stands around a declaration."""

    @property
    @abstractmethod
    def turn_tokens(self) -> TurnTokens | None:
        """What shows who speaks in a prompt; None where the options leave no telling."""

    def __post_init__(self) -> None:
        check_options(self)

    def render(
        self,
        messages: Sequence[RawMessage],
        tools: Sequence[RawTool] | None = None,
        *,
        tool_choice: RawChoice = "auto",
        add_generation_prompt: bool = True,
        enable_thinking: bool = False,
        preserve_thinking: bool = False,
    ) -> Prompt:
        """See `Format.render`.

        Raises:
            InvalidRequest: the request is not OpenAI's, or holds a part that the model cannot read.
        """
        conversation, declared, choice = validate(messages, tools, tool_choice)
        if choice.mode == "none":
            declared = ()
        draft = Draft()
        request = Request(conversation, declared, add_generation_prompt, enable_thinking, preserve_thinking)
        return draft.prompt(self, self._render(request, draft))

    def declaration(self, tool: RawTool) -> str:
        """See `Format.declaration`. Control tokens around it are included."""
        [text] = self._declarations(validate_tools([tool]), Draft())
        return unquote(text)

    def turn(self, message: RawMessage) -> str:
        """See `Format.turn`. A call is left open for its result."""
        draft = Draft()
        self._turn(validate([message]).messages, draft)
        return unquote(draft.text)

    def value(self, value: object) -> str:
        """See `Format.value`."""
        check_json(value, "value")
        return self._value(value)

    def _declarations(self, tools: Sequence[Tool], draft: Draft) -> list[str]:
        """The declarations of `tools`, quoted, each with what stands around it."""
        opened, closed = self.declares
        declare = self._declare
        texts: list[str] = []
        for tool in tools:
            text, losses = declare(tool) if tool.key is None else _remembered_declaration(declare, tool.key)
            texts.append(f"{opened}{text}{closed}")
            draft.losses += losses
        return texts

    @property
    @abstractmethod
    def _declare(self) -> Declare:
        """Writes a declaration as the options ask for it; one object for equal options."""

    @abstractmethod
    def _render(self, request: Request, draft: Draft) -> Opens:
        """Write the whole prompt, and return what the model's first character belongs to."""

    @abstractmethod
    def _turn(self, messages: tuple[Message, ...], draft: Draft) -> None:
        """Write messages, without what begins or ends a prompt."""

    @abstractmethod
    def _value(self, value: object) -> str:
        """A JSON value in the notation of calls."""


@lru_cache(maxsize=2048)
def _remembered_declaration(declare: Declare, key: bytes) -> Declared:
    return declare(cached_tool(key))


def result_of(content: object, mode: ToolContent) -> object:
    """What a tool result says: its text (parts joined as they are), or an object.

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
    """A tool result with its control tokens. Histories are rendered again and again, so small results are remembered."""
    if content.__class__ is not str or len(content) > _LARGEST_RESULT:
        return notation.write_response(name, result_of(content, mode))
    return _remembered_result(notation, name, content, mode)


_LARGEST_RESULT: Final = 2048
"""In characters. Longer ones are read and written anew each time, so that the memory stays small."""


@lru_cache(maxsize=2048)
def _remembered_result(notation: Notation, name: str, content: str, mode: ToolContent) -> str:
    return notation.write_response(name, result_of(content, mode))
