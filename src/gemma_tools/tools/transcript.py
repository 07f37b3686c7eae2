"""The result of a tool loop: the conversation, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from gemma_tools.reply import ToolCall
from gemma_tools.tools.toolbox import ToolResult

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

Stopped: TypeAlias = Literal["answered", "length", "pending", "max_rounds", "repeated"]


@dataclass(frozen=True, slots=True)
class Transcript:
    """The whole conversation. `print` and notebooks show it."""

    messages: tuple[Mapping[str, Any], ...]
    """The conversation as OpenAI messages, including the given ones: the start of the next turn."""
    given: int
    """How many of the messages were given."""
    completions: tuple[ChatCompletion, ...]
    """The model's replies, in order."""
    outcomes: tuple[tuple[ToolCall, ToolResult], ...]
    """Every call that has a result, with the result."""
    stopped: Stopped
    """Why the loop ended: the model `answered`; its reply was cut (`length`); it called a tool that is declared without a
    function (`pending`); it still called tools in the last round (`max_rounds`); it only repeated itself (`repeated`).
    """
    pending: tuple[ToolCall, ...] = ()
    """The calls of the last reply that were not run."""

    @property
    def text(self) -> str:
        """The text of the last reply; empty if it has none."""
        return self.completions[-1].choices[0].message.content or ""

    @property
    def new_messages(self) -> tuple[Mapping[str, Any], ...]:
        """The messages that the loop added."""
        return self.messages[self.given :]

    def __str__(self) -> str:
        return "\n".join(f"{who}: {what}" for who, what in self._lines())

    def _repr_html_(self) -> str:
        from gemma_tools.display import card, escape, pre, rows

        return card(rows((who, "", "", pre(escape(what))) for who, what in self._lines()))

    def _lines(self) -> Iterator[tuple[str, str]]:
        names: dict[str, str] = {}
        for message in self.messages:
            role = message["role"]
            if thought := message.get("reasoning_content"):
                yield "thought", thought
            if text := _text(message.get("content")):
                yield names.get(message.get("tool_call_id", ""), role), text
            for call in message.get("tool_calls") or ():
                function = call["function"]
                names[call["id"]] = f"tool ← {function['name']}"
                yield f"{role} → {function['name']}", function["arguments"]
        if self.stopped != "answered":
            yield "stopped", self.stopped


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or f"[{part['type']}]" for part in content)
