"""What FunctionGemma and Gemma 4 share besides the notation: the parser of replies and the grammar of calls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from gemma_tools.formats.base import Opens
from gemma_tools.formats.brace.source import Source
from gemma_tools.formats.brace.text import TextReader
from gemma_tools.formats.brace.tokens import Dialect
from gemma_tools.formats.family import GemmaFormat
from gemma_tools.formats.reading import Buffer, Declared, Parser, ReplyBuilder
from gemma_tools.reply import ProblemKind
from gemma_tools.request import RawChoice, RawTool

if TYPE_CHECKING:
    from gemma_tools.grammar import Grammar


PLAIN_RESULT: Final = "response:"
PLAIN_REPAIRS: Final[frozenset[ProblemKind]] = frozenset(("bare_call", "quotes"))
"""The marks of a call without special tokens: no tags, and quotation marks around its texts."""


class BraceFormat(GemmaFormat):
    """A family that writes calls in the brace notation."""

    @property
    @abstractmethod
    def dialect(self) -> Dialect:
        """The special tokens of the notation."""

    @property
    def call_opening(self) -> tuple[str, str]:
        """See `Format.call_opening`."""
        return self.dialect.start + "call:", "{"

    def _parser(
        self,
        declared: Declared,
        *,
        opens: Opens = "content",
        guarded: Collection[str] = (),
        strict: bool = False,
        max_calls: int | None = None,
    ) -> Parser:
        buffer, dialect = Buffer(), self.dialect
        builder = ReplyBuilder(buffer, max_calls=max_calls)
        source = Source(buffer, dialect, strict=strict, guarded=guarded)
        reader = TextReader(source, builder, declared, thinking=opens == "reasoning" and dialect.channel is not None)
        return Parser(buffer, builder, reader.read())

    def _grammar(self, tools: Sequence[RawTool], *, tool_choice: RawChoice, opens: Opens, max_calls: int) -> Grammar:
        from gemma_tools.formats.brace.grammar import brace_grammar
        from gemma_tools.grammar.values import Bounds

        bounds = Bounds(string=self.longest_string)
        return brace_grammar(self.dialect, tools, tool_choice=tool_choice, opens=opens, max_calls=max_calls, bounds=bounds)
