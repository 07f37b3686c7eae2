"""What every format offers: render a request, read a reply, and show one piece on its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from gemma_tools.prompt import Prompt
from gemma_tools.reply import Event, Reply

if TYPE_CHECKING:
    from gemma_tools.grammar import Grammar
    from gemma_tools.request import Message, Tool

Recovery: TypeAlias = Literal["strict", "schema", "eager"]
Opens: TypeAlias = Literal["content", "reasoning"]
ToolChoice: TypeAlias = str | Mapping[str, Any]


class ReplyParser(Protocol):
    """Reads a generation piece by piece. Any way of cutting the text gives the same `reply`."""

    def feed(self, text: str) -> list[Event]:
        """Take the next piece and return what is certain by now. Never raises, whatever the text."""

    def close(self, finish: Literal["stop", "length"] = "stop") -> list[Event]:
        """The text has ended, and how; return what was held back."""

    @property
    def reply(self) -> Reply:
        """Everything read so far; complete after `close`."""


class Format(ABC):
    """One family's wire format: pure functions and no I/O. Formats are immutable and may be shared between threads."""

    name: ClassVar[str]
    controls: ClassVar[tuple[str, ...]]
    """The spelling of every control token of the family."""

    thought: ClassVar[tuple[str, str] | None] = None
    """What opens and ends a thought; None where the family has none."""

    @property
    def call_opening(self) -> tuple[str, str] | None:
        """What a call begins with: the text before its name, and what stands between name and arguments; None: no telling."""
        return None

    @abstractmethod
    def render(
        self,
        messages: Sequence[Mapping[str, Any] | Message],
        tools: Sequence[Mapping[str, Any] | Tool] | None = None,
        *,
        tool_choice: ToolChoice = "auto",
        add_generation_prompt: bool = True,
        enable_thinking: bool = False,
        preserve_thinking: bool = False,
    ) -> Prompt:
        """The prompt for a conversation, OpenAI dicts or already validated.

        With `tool_choice="none"` no tool is declared. What the format cannot say is in `Prompt.losses`.

        Raises:
            InvalidRequest: the messages or tools are not OpenAI's.
        """

    @abstractmethod
    def parser(
        self,
        tools: Sequence[Mapping[str, Any] | Tool] | None = None,
        *,
        opens: Opens = "content",
        guarded: Collection[str] = (),
    ) -> ReplyParser:
        """A parser for one generation.

        `tools=None`: unknown, any name in the exact notation is a call; `[]`: none, never a call. `opens` and `guarded`
        come from the `Prompt`: what the first character belongs to, and which spellings were broken in it.

        Raises:
            InvalidRequest: the tools are not OpenAI's.
        """

    def parse(
        self,
        text: str,
        tools: Sequence[Mapping[str, Any] | Tool] | None = None,
        *,
        opens: Opens = "content",
        finish: Literal["stop", "length"] = "stop",
        guarded: Collection[str] = (),
    ) -> Reply:
        """Read a whole generation: feeding a parser once. Raises what `parser` raises; no text is an error."""
        parser = self.parser(tools, opens=opens, guarded=guarded)
        parser.feed(text)
        parser.close(finish)
        return parser.reply

    @abstractmethod
    def grammar(
        self,
        tools: Sequence[Mapping[str, Any] | Tool],
        *,
        tool_choice: ToolChoice = "auto",
        parallel: bool = True,
        opens: Opens = "content",
    ) -> Grammar:
        """A grammar of the calls that are valid for `tools`, in this format's notation; `opens` comes from the `Prompt`."""

    @abstractmethod
    def declaration(self, tool: Mapping[str, Any] | Tool) -> str:
        """One tool as the prompt declares it."""

    @abstractmethod
    def turn(self, message: Mapping[str, Any] | Message) -> str:
        """One message as a turn of its own."""

    @abstractmethod
    def value(self, value: object) -> str:
        """One JSON value in the notation of calls and results."""
