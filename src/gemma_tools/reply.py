"""The parsed output of a model: the events of a parser, and the reply that they add up to.

Events come from `ReplyParser.feed` and `.close` in the order of the text. A tool call is `ToolCallStarted`, any number of
`ToolCallDelta`, and `ToolCallEnded`; a call that was started and never ended is not a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import getrandbits
from typing import Any, Literal, TypeAlias

from gemma_tools.jsontext import read_json

FinishReason: TypeAlias = Literal["stop", "tool_calls", "length"]

ProblemKind: TypeAlias = Literal[
    "after_end",
    "argument_key",
    "argument_text",
    "backslashes",
    "bare_call",
    "braces_missing",
    "bracket_kind",
    "bracket_missing",
    "bracket_surplus",
    "brackets_twice",
    "call_limit",
    "call_list",
    "channel_token",
    "comma_missing",
    "comma_surplus",
    "cut",
    "delimiter_in_string",
    "delimiter_missing",
    "delimiter_stray",
    "end_tag_kind",
    "end_tag_missing",
    "equals",
    "extra_key",
    "fallback",
    "fence_open",
    "head",
    "header",
    "inference",
    "invalid_arguments",
    "json_block",
    "key_bare",
    "key_quoted",
    "key_twice",
    "label",
    "literal",
    "positional",
    "print",
    "quote_in_string",
    "quotes",
    "regex",
    "repeated_call",
    "round_brackets",
    "second_call",
    "spread",
    "start_tag_twice",
    "stray_end_tag",
    "stray_token",
    "string_bare",
    "string_open",
    "thought_only",
    "thought_open",
    "thought_opened_again",
    "thought_opener_missing",
    "type",
    "undeclared",
    "unread_call",
    "unreadable",
    "value_missing",
    "white_space",
    "wrapper",
]
"""Every kind of `Problem`; docs/recovery.md says what each means."""


def new_call_id() -> str:
    """A fresh tool-call id in OpenAI's style: `call_` and 24 hexadecimal digits."""
    return f"call_{getrandbits(96):024x}"


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """A chunk of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A chunk of the thought's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """A call starts: its name is known, and it is declared (or any name is allowed). `index` counts calls from 0."""

    index: int
    id: str = field(compare=False)
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A chunk of the JSON text of a call's arguments; all chunks of a call joined are a JSON object."""

    index: int
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolCallEnded:
    """The call's own closing bracket was read: it is complete."""

    index: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was repaired, could not be read, or was cut.

    `kind` is one of the words that docs/recovery.md lists. `text` is the raw model output (empty for a repair that lost
    nothing), `index` the call that it is about, if any. `start` and `end` are its position in the model's output, in
    characters; None if it has no position, as with a validation of the complete arguments.
    """

    kind: ProblemKind
    message: str
    text: str = ""
    index: int | None = None
    start: int | None = None
    end: int | None = None

    def _repr_html_(self) -> str:
        from gemma_tools.display import card

        return card(_problem_table((self,)))


Event: TypeAlias = ContentDelta | ReasoningDelta | ToolCallStarted | ToolCallDelta | ToolCallEnded | Problem


@dataclass(frozen=True)
class ToolCall:
    """A complete call. Two calls are equal when name and arguments are; the id is only a label."""

    id: str = field(compare=False)
    name: str
    arguments_json: str

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """The arguments as Python values. If a key was written twice, the last value is used."""
        value: dict[str, Any] = read_json(self.arguments_json)
        return value


@dataclass(frozen=True, slots=True)
class Reply:
    """The parsed output of one generation: no character of it is lost.

    `content` and `reasoning` are None if there is none. `finish_reason` is "tool_calls" if at least one call is complete,
    unless the output was cut ("length").
    """

    content: str | None = None
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"
    problems: tuple[Problem, ...] = ()

    def _repr_html_(self) -> str:
        from gemma_tools.display import card, escape, facts, pre, rows

        said = [("thought", "", "thought", self.reasoning), ("content", "", "content", self.content)]
        called = [(f"call {call.name}", call.id, "call", call.arguments_json) for call in self.tool_calls]
        shown = ((label, small, kind, pre(escape(text))) for label, small, kind, text in (*said, *called) if text is not None)
        told = facts({"finish": self.finish_reason, "problems": len(self.problems)})
        return card(rows(shown) + told + (_problem_table(self.problems) if self.problems else ""))


def _problem_table(problems: Sequence[Problem]) -> str:
    from gemma_tools.display import escape, output, table

    cells = (
        (
            escape(problem.kind),
            escape(problem.message),
            "" if problem.start is None else f"{problem.start} to {problem.end}",
            output(problem.text) if problem.text else "",
        )
        for problem in problems
    )
    return table(("problem", "what was found", "characters", "its text"), cells)
