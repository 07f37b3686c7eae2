"""What the formats of all families share: from a request to a prompt, and from a text to a reply."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, ClassVar

from gemma_tools.formats.base import MOST_CALLS, Format, Opens, Recovery, ReplyParser, check_max_calls
from gemma_tools.formats.eager import EagerParser, note_unread
from gemma_tools.formats.options import check_options
from gemma_tools.formats.reading import Declared, Parser, declared_tools
from gemma_tools.formats.rendering import DeclarationText, Declare, Draft, Request
from gemma_tools.jsontext import check_json
from gemma_tools.prompt import Prompt, TurnTokens, unquote
from gemma_tools.request import Message, RawChoice, RawMessage, RawTool, Tool
from gemma_tools.validation import cached_tool, validate, validate_tools

if TYPE_CHECKING:
    from gemma_tools.grammar import Grammar


class GemmaFormat(Format):
    """The shared part of all formats: checked options, and everything that is not specific to a family."""

    recovery: Recovery
    longest_string: int
    stop: ClassVar[tuple[str, ...]]
    """The special tokens that end the model's turn."""
    declares: ClassVar[tuple[str, str]] = ("", "")
    """The tokens around a declaration."""

    @property
    @abstractmethod
    def turn_tokens(self) -> TurnTokens | None:
        """The tokens that mark the roles in a prompt; None if the options make roles unknown."""

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
            InvalidRequest: the request is not a valid OpenAI request, or contains a part that the model cannot read.
        """
        conversation, declared, choice = validate(messages, tools, tool_choice)
        if choice.mode == "none":
            declared = ()
        draft = Draft()
        request = Request(conversation, declared, add_generation_prompt, enable_thinking, preserve_thinking)
        opens, warnings, media = self._render(request, draft), tuple(draft.warnings), tuple(draft.media)
        return Prompt(
            draft.text, self.controls, opens=opens, stop=self.stop, warnings=warnings, media=media, turns=self.turn_tokens
        )

    def parser(
        self,
        tools: Sequence[RawTool] | None = None,
        *,
        opens: Opens = "content",
        guarded: Collection[str] = (),
        max_calls: int | None = None,
    ) -> ReplyParser:
        """See `Format.parser`."""
        if max_calls is not None:
            check_max_calls(max_calls)
        declared, strict = declared_tools(tools), self.recovery == "strict"
        parser = self._parser(declared, opens=opens, guarded=guarded, strict=strict, max_calls=max_calls)
        if self.recovery == "eager":
            return EagerParser(parser, declared, partial(self._parser, None), max_calls=max_calls)
        repairing = partial(self._parser, declared, opens=opens, guarded=guarded) if strict else None
        parser.without_call = partial(note_unread, declared=declared, repairing=repairing)
        return parser

    def grammar(
        self,
        tools: Sequence[RawTool],
        *,
        tool_choice: RawChoice = "auto",
        parallel: bool | None = None,
        opens: Opens = "content",
        max_calls: int = MOST_CALLS,
    ) -> Grammar:
        """See `Format.grammar`."""
        check_max_calls(max_calls)
        several = self.several_calls if parallel is None else parallel
        grammar = self._grammar(tools, tool_choice=tool_choice, opens=opens, max_calls=max_calls if several else 1)
        return replace(grammar, stop=self.stop)

    def declaration(self, tool: RawTool) -> str:
        """See `Format.declaration`. The special tokens around it are included."""
        [text] = self._declarations(validate_tools([tool]), Draft())
        return unquote(text)

    def turn(self, message: RawMessage) -> str:
        """See `Format.turn`. A call stays open for its result."""
        draft = Draft()
        self._turn(validate([message]).messages, draft)
        return unquote(draft.text)

    def value(self, value: object) -> str:
        """See `Format.value`."""
        check_json(value, "value")
        return self._value(value)

    def _declarations(self, tools: Sequence[Tool], draft: Draft) -> list[str]:
        """The declarations of `tools`, quoted, with the tokens around each."""
        opened, closed = self.declares
        declare = self._declare
        texts: list[str] = []
        for tool in tools:
            text, warnings = declare(tool) if tool.key is None else _remembered_declaration(declare, tool.key)
            texts.append(f"{opened}{text}{closed}")
            draft.warnings += warnings
        return texts

    @abstractmethod
    def _parser(
        self,
        declared: Declared,
        *,
        opens: Opens = "content",
        guarded: Collection[str] = (),
        strict: bool = False,
        max_calls: int | None = None,
    ) -> Parser:
        """A parser of the family's own notation."""

    @abstractmethod
    def _grammar(self, tools: Sequence[RawTool], *, tool_choice: RawChoice, opens: Opens, max_calls: int) -> Grammar:
        """A grammar of at most `max_calls` calls."""

    @property
    @abstractmethod
    def _declare(self) -> Declare:
        """Writes a declaration as the options say; the same object for equal options."""

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
def _remembered_declaration(declare: Declare, key: bytes) -> DeclarationText:
    return declare(cached_tool(key))
