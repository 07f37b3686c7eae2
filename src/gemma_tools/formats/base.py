"""The interface of every format: render a request, parse a reply, and show a single tool, message or value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Protocol, TypeAlias

from gemma_tools.errors import InvalidRequest
from gemma_tools.prompt import Prompt
from gemma_tools.reply import Event, ProblemKind, Reply

if TYPE_CHECKING:
    from gemma_tools.grammar import Grammar
    from gemma_tools.request import RawChoice, RawMessage, RawTool

Recovery: TypeAlias = Literal["strict", "schema", "eager"]
Opens: TypeAlias = Literal["content", "reasoning"]

MOST_CALLS: Final = 16
"""The limit of calls in one reply, so that a model cannot call tools without end."""


class ReplyParser(Protocol):
    """Parses a generation chunk by chunk. Any way of splitting the text gives the same `reply`."""

    def feed(self, text: str) -> list[Event]:
        """Take the next chunk and return the events that are certain so far. Never raises, whatever the text."""

    def close(self, finish: Literal["stop", "length"] = "stop") -> list[Event]:
        """The text has ended, and `finish` says how. Return the events that were held back."""

    @property
    def finished(self) -> bool:
        """Whether nothing more will be read, because of `max_calls` or a repeated call: stop the engine."""

    @property
    def reply(self) -> Reply:
        """Everything read so far; complete after `close`."""


def check_max_calls(max_calls: object) -> None:
    """Refuse a value that is not an integer of at least 1.

    Raises:
        InvalidRequest: with `param` "max_calls".
    """
    if not isinstance(max_calls, int) or isinstance(max_calls, bool):
        raise InvalidRequest("must be an integer from 1", param="max_calls", code="invalid_type")
    if max_calls < 1:
        raise InvalidRequest(f"must be at least 1, got {max_calls}", param="max_calls", code="invalid_value")


@dataclass(frozen=True, slots=True)
class Plain:
    """How a family is asked for calls if special tokens cannot be sent: its prompts are then plain text.

    `TurnTokens.plain` says how declarations, calls and results are written then.
    """

    instruction: str = ""
    """How to write a call, if the prompt does not say it."""
    result: str = ""
    """The beginning of a result, before the tool's name: a model that writes it is inventing a result."""
    repairs: frozenset[ProblemKind] = frozenset()
    """Kinds of repairs that are not repairs here, because calls are requested in this form."""


class Format(ABC):
    """One family's wire format: pure functions and no I/O. Formats are immutable and can be shared between threads."""

    name: ClassVar[str]
    controls: ClassVar[tuple[str, ...]]
    """The text of every special token of the family."""

    stop: ClassVar[tuple[str, ...]] = ()
    """The special tokens that end the model's turn."""

    media_tokens: ClassVar[Mapping[str, int]] = MappingProxyType({})
    """The tokens of an image ("image") or an audio clip ("audio") instead of its placeholder; the maximum if that varies."""

    least_media_tokens: ClassVar[Mapping[str, int]] = MappingProxyType({})
    """The minimum number of tokens of an image or an audio clip, on any engine: prompts are refused early with these."""

    thought: ClassVar[tuple[str, str] | None] = None
    """The tokens that open and end a thought; None if the family has none."""

    plain: ClassVar[Plain] = Plain()
    """How calls are requested in plain text."""

    tools_in_template: ClassVar[bool] = True
    """Whether the model's own chat template supports tools. If not, most servers silently leave out the tools of a request."""

    @property
    def call_opening(self) -> tuple[str, str] | None:
        """The start of a call: the text before its name, and the text between name and arguments; None if it is not known."""
        return None

    @property
    def several_calls(self) -> bool:
        """Whether the notation in the prompt allows several calls in one reply."""
        return True

    @abstractmethod
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
        """The prompt for a conversation: OpenAI dicts, or already validated objects.

        With `tool_choice="none"` no tool is declared. `Prompt.warnings` lists what the format cannot express.

        Raises:
            InvalidRequest: the messages or tools are not valid OpenAI objects.
        """

    @abstractmethod
    def parser(
        self,
        tools: Sequence[RawTool] | None = None,
        *,
        opens: Opens = "content",
        guarded: Collection[str] = (),
        max_calls: int | None = None,
    ) -> ReplyParser:
        """A parser for one generation.

        `tools=None` means unknown: a call with any name in the exact notation is read; `[]`: there is never a call. `opens` and
        `guarded` come from the `Prompt`: what the first character belongs to, and which special tokens in text were broken.
        Reading ends after `max_calls` complete calls: the parser is `finished`, and the rest of the text is a problem.

        Raises:
            InvalidRequest: the tools are not valid OpenAI objects, or `max_calls` is not an integer of at least 1.
        """

    def parse(
        self,
        text: str,
        tools: Sequence[RawTool] | None = None,
        *,
        opens: Opens = "content",
        finish: Literal["stop", "length"] = "stop",
        guarded: Collection[str] = (),
        max_calls: int | None = None,
    ) -> Reply:
        """Parse a whole generation, like feeding a parser once. Raises what `parser` raises; no text is an error."""
        parser = self.parser(tools, opens=opens, guarded=guarded, max_calls=max_calls)
        parser.feed(text)
        parser.close(finish)
        return parser.reply

    @abstractmethod
    def grammar(
        self,
        tools: Sequence[RawTool],
        *,
        tool_choice: RawChoice = "auto",
        parallel: bool | None = None,
        opens: Opens = "content",
        max_calls: int = MOST_CALLS,
    ) -> Grammar:
        """A grammar of the valid calls of `tools`, in this format's notation; `opens` comes from the `Prompt`.

        It allows one to `max_calls` calls, with `parallel=False` only one. The default of `parallel` is `several_calls`.

        Raises:
            InvalidRequest: the tools or the choice are not valid OpenAI objects, or `max_calls` is not an integer of
                at least 1.
        """

    @abstractmethod
    def declaration(self, tool: RawTool) -> str:
        """One tool as it is declared in the prompt."""

    @abstractmethod
    def turn(self, message: RawMessage) -> str:
        """One message as a separate turn."""

    @abstractmethod
    def value(self, value: object) -> str:
        """One JSON value in the notation of calls and results."""
