"""What every format offers: render a request, read a reply, and show one piece on its own."""

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
"""Calls in one reply, so that a model cannot go on calling for ever."""


class ReplyParser(Protocol):
    """Reads a generation piece by piece. Any way of cutting the text gives the same `reply`."""

    def feed(self, text: str) -> list[Event]:
        """Take the next piece and return what is certain by now. Never raises, whatever the text."""

    def close(self, finish: Literal["stop", "length"] = "stop") -> list[Event]:
        """The text has ended, and how; return what was held back."""

    @property
    def finished(self) -> bool:
        """Whether no more text will be read, because of `max_calls` or a call repeated again and again: stop the engine."""

    @property
    def reply(self) -> Reply:
        """Everything read so far; complete after `close`."""


def check_max_calls(max_calls: object) -> None:
    """Refuse what is not an integer from 1.

    Raises:
        InvalidRequest: with `param` "max_calls".
    """
    if not isinstance(max_calls, int) or isinstance(max_calls, bool):
        raise InvalidRequest("must be an integer from 1", param="max_calls", code="invalid_type")
    if max_calls < 1:
        raise InvalidRequest(f"must be at least 1, got {max_calls}", param="max_calls", code="invalid_value")


@dataclass(frozen=True, slots=True)
class Plain:
    """How a family is asked for calls where no control token can be sent: its prompts are then said in text alone.

    `TurnTokens.plain` says how declarations, calls and results are spelled there.
    """

    instruction: str = ""
    """How to write a call, where the prompt does not say it."""
    result: str = ""
    """What a result begins with, before the tool's name: a model that writes it is making one up."""
    repairs: frozenset[ProblemKind] = frozenset()
    """Kinds of repairs that are none here: calls are asked for so."""


class Format(ABC):
    """One family's wire format: pure functions and no I/O. Formats are immutable and may be shared between threads."""

    name: ClassVar[str]
    controls: ClassVar[tuple[str, ...]]
    """The spelling of every control token of the family."""

    stop: ClassVar[tuple[str, ...]] = ()
    """The control tokens that end the model's part."""

    media_tokens: ClassVar[Mapping[str, int]] = MappingProxyType({})
    """How many tokens an image ("image") or a sound ("audio") takes in place of its placeholder, at most where that varies."""

    least_media_tokens: ClassVar[Mapping[str, int]] = MappingProxyType({})
    """How many an image or an audio file takes at least, on any engine: a prompt is refused early by these."""

    thought: ClassVar[tuple[str, str] | None] = None
    """What opens and ends a thought; None where the family has none."""

    plain: ClassVar[Plain] = Plain()
    """How calls are asked for in text alone."""

    tools_in_template: ClassVar[bool] = True
    """Whether the model's own chat template has tools; without them, most servers leave the tools of a request out, unsaid."""

    @property
    def call_opening(self) -> tuple[str, str] | None:
        """What a call begins with: the text before its name, and what stands between name and arguments; None: no telling."""
        return None

    @property
    def several_calls(self) -> bool:
        """Whether the notation that the prompt asks for has several calls in one reply."""
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
        """The prompt for a conversation, OpenAI dicts or already validated.

        With `tool_choice="none"` no tool is declared. What the format cannot say is in `Prompt.warnings`.

        Raises:
            InvalidRequest: the messages or tools are not OpenAI's.
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

        `tools=None`: unknown, any name in the exact notation is a call; `[]`: none, never a call. `opens` and `guarded`
        come from the `Prompt`: what the first character belongs to, and which spellings were broken in it.
        Reading ends after `max_calls` complete calls: the parser is `finished`, and what still comes is a problem.

        Raises:
            InvalidRequest: the tools are not OpenAI's, or `max_calls` is not an integer from 1.
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
        """Read a whole generation: feeding a parser once. Raises what `parser` raises; no text is an error."""
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
        """A grammar of the calls that are valid for `tools`, in this format's notation; `opens` comes from the `Prompt`.

        It allows from one to `max_calls` calls, with `parallel=False` one; by default `parallel` is what `several_calls` says.

        Raises:
            InvalidRequest: the tools or the choice are not OpenAI's, or `max_calls` is not an integer from 1.
        """

    @abstractmethod
    def declaration(self, tool: RawTool) -> str:
        """One tool as the prompt declares it."""

    @abstractmethod
    def turn(self, message: RawMessage) -> str:
        """One message as a turn of its own."""

    @abstractmethod
    def value(self, value: object) -> str:
        """One JSON value in the notation of calls and results."""
