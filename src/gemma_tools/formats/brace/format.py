"""What FunctionGemma and Gemma 4 share beyond the notation: how their replies are parsed and their calls bound by a grammar."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from gemma_tools.formats.base import MOST_CALLS, Opens, Recovery, ReplyParser, check_max_calls
from gemma_tools.formats.brace.text import brace_parser
from gemma_tools.formats.brace.tokens import Dialect
from gemma_tools.formats.eager import EagerParser, noting_unread
from gemma_tools.formats.reading import declared_tools
from gemma_tools.formats.rendering import GemmaFormat
from gemma_tools.request import RawChoice, RawTool

if TYPE_CHECKING:
    from gemma_tools.grammar import Grammar


class BraceFormat(GemmaFormat):
    """A family that writes calls in the brace notation."""

    recovery: Recovery
    longest_string: int

    @property
    @abstractmethod
    def dialect(self) -> Dialect:
        """The control tokens of the notation."""

    @property
    def call_opening(self) -> tuple[str, str]:
        """See `Format.call_opening`."""
        return self.dialect.start + "call:", "{"

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

        strict = self.recovery == "strict"
        declared = declared_tools(tools)
        parser = brace_parser(self.dialect, declared, opens=opens, guarded=guarded, strict=strict, max_calls=max_calls)
        if self.recovery == "eager":
            return EagerParser(parser, declared, partial(brace_parser, self.dialect, None), max_calls=max_calls)
        repairing = partial(brace_parser, self.dialect, declared, opens=opens, guarded=guarded)
        return noting_unread(parser, declared, repairing if strict else None)

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
        from gemma_tools.formats.brace.grammar import brace_grammar
        from gemma_tools.grammar.values import Bounds

        most = 1 if parallel is False else max_calls
        bounds = Bounds(string=self.longest_string)
        return brace_grammar(self.dialect, tools, tool_choice=tool_choice, opens=opens, max_calls=most, bounds=bounds)
