"""For people who have raw Gemma 4 outputs and the names of the tools: parse all outputs, and count the results.

    parser = Gemma4ToolParser()
    calls = parser.parse(text, expected_tools=["get_weather"])
    print(parser.benchmark.format_report())

It uses the library's parser at level "eager", and only adds records.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.formats.base import Opens
from gemma_tools.formats.eager import EagerParser
from gemma_tools.request import Tool
from gemma_tools.validation import validate_tools

AttemptStrategy: TypeAlias = Literal["native", "json_block", "regex", "fallback", "none"]

_RAW_TEXT: Final = 500
_SHOWN_ERRORS: Final = 10


@dataclass(frozen=True, slots=True)
class ToolCallAttempt:
    """One call that was read, or one text without a call (`strategy` "none")."""

    raw_text: str
    """The first 500 characters of the text."""
    parsed: bool
    tool_name: str | None
    arguments: dict[str, Any] | None
    error: str | None
    strategy: AttemptStrategy
    timestamp: float
    """Seconds since the epoch."""


@dataclass
class Gemma4BenchmarkResult:
    """Counts over every text that a `Gemma4ToolParser` parsed."""

    total_calls: int = 0
    """Texts parsed."""
    successful_parses: int = 0
    """Texts in which a call was found."""
    parallel_calls: int = 0
    """Texts with more than one call."""
    strategies_used: Counter[str] = field(default_factory=Counter)
    """Texts by the strategy that found their calls, including "none"."""
    total_parse_time_ms: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def avg_parse_time_ms(self) -> float:
        """The average time per text, in milliseconds."""
        return self.total_parse_time_ms / self.total_calls if self.total_calls else 0.0

    @property
    def success_rate(self) -> float:
        """The share of texts in which a call was found, from 0 to 1."""
        return self.successful_parses / self.total_calls if self.total_calls else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON: rate to 3 places, mean time to 2, and the first 10 errors."""
        return {
            "total_calls": self.total_calls,
            "successful_parses": self.successful_parses,
            "parallel_calls": self.parallel_calls,
            "strategies_used": dict(self.strategies_used),
            "avg_parse_time_ms": round(self.avg_parse_time_ms, 2),
            "success_rate": round(self.success_rate, 3),
            "error_count": len(self.errors),
            "errors": self.errors[:_SHOWN_ERRORS],
        }

    def _repr_html_(self) -> str:
        from gemma_tools.display import card, escape, table

        return card(table(("figure", "value"), ((escape(name), escape(str(value))) for name, value in self.to_dict().items())))

    def format_report(self) -> str:
        """The figures as lines of text."""
        lines = [
            "Gemma 4 Tool Calling Benchmark",
            "=" * 30,
            "Recovery level:   eager",
            f"Texts parsed:     {self.total_calls}",
            f"With a call:      {self.successful_parses}",
            f"Success rate:     {self.success_rate:.1%}",
            f"Parallel calls:   {self.parallel_calls}",
            f"Mean parse time:  {self.avg_parse_time_ms:.2f} ms",
        ]
        if self.strategies_used:
            lines += ["", "Strategies:"]
            lines += [f"  {strategy}: {count}" for strategy, count in self.strategies_used.most_common()]
        if self.errors:
            lines += ["", f"Errors ({len(self.errors)}):"]
            lines += [f"  - {error}" for error in self.errors[:_SHOWN_ERRORS]]
        return "\n".join(lines)


class Gemma4ToolParser:
    """Reads calls from raw Gemma 4 outputs, native notation first, and keeps a record of every attempt."""

    def __init__(self) -> None:
        self.attempts: list[ToolCallAttempt] = []
        self.benchmark = Gemma4BenchmarkResult()
        self._format = get_format("gemma4", recovery="eager")

    def parse(
        self,
        response_text: str,
        expected_tools: Sequence[str | Mapping[str, Any] | Tool] | None = None,
        *,
        opens: Opens = "content",
        finish: Literal["stop", "length"] = "stop",
    ) -> list[dict[str, Any]]:
        """The calls in `response_text`, as OpenAI tool calls; an empty list if there is none.

        `expected_tools` are the tools whose calls count: OpenAI tools, whose schemas then give the arguments their types,
        or only names; None accepts any name. `opens` and `finish` are those of `Format.parse`, which reads the same calls
        at level "eager".

        Raises:
            InvalidRequest: `response_text` is not a string, or `expected_tools` is not a list of names and tools.
        """
        if not isinstance(response_text, str):
            raise InvalidRequest("must be a string", param="response_text", code="invalid_type")
        started = time.perf_counter()
        parser = self._format.parser(_tools(expected_tools), opens=opens)
        assert isinstance(parser, EagerParser)
        parser.feed(response_text)
        parser.close(finish)
        calls = parser.reply.tool_calls
        self._record(response_text, parser, (time.perf_counter() - started) * 1000)
        return [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
            for call in calls
        ]

    def _record(self, text: str, parser: EagerParser, milliseconds: float) -> None:
        calls, result, now = parser.reply.tool_calls, self.benchmark, time.time()
        found = next((attempt.strategy for attempt in parser.attempts if attempt.calls), None)
        # A tool that was inferred only from its arguments was found last, like JSON near a name.
        strategy: AttemptStrategy = "none" if found is None else "fallback" if found == "inference" else found
        result.total_calls += 1
        result.total_parse_time_ms += milliseconds
        result.strategies_used[strategy] += 1
        head = text[:_RAW_TEXT]
        if not calls:
            problems = parser.reply.problems
            error = problems[-1].message if problems else "no call found"
            result.errors.append(error)
            self.attempts.append(ToolCallAttempt(head, False, None, None, error, strategy, now))
            return
        result.successful_parses += 1
        result.parallel_calls += len(calls) > 1
        self.attempts += [ToolCallAttempt(head, True, call.name, call.arguments, None, strategy, now) for call in calls]


def _tools(expected: Sequence[str | Mapping[str, Any] | Tool] | None) -> Sequence[Tool] | None:
    """The tools for a parser: None, or tools that only have a name if nothing else is known."""
    if expected is None:
        return None
    if isinstance(expected, str) or not isinstance(expected, Sequence):
        raise InvalidRequest("must be a list of names and tools", param="expected_tools", code="invalid_type")
    names = dict.fromkeys(tool for tool in expected if isinstance(tool, str))  # a name may occur twice
    tools = [tool for tool in expected if not isinstance(tool, str)]
    try:
        return validate_tools([*tools, *({"type": "function", "function": {"name": name}} for name in names)])
    except InvalidRequest as wrong:
        raise InvalidRequest(wrong.message, param=f"expected_{wrong.param}", code=wrong.code) from None
