"""The data of an inspection. `make` creates it; `page` and `terminal` show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gemma_tools.inspection.spans import Kind
from gemma_tools.prompt import Prompt, Segment
from gemma_tools.reply import Problem, Reply
from gemma_tools.tokens import Token

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True)
class PromptPart:
    """A turn of the prompt, or a part of one: a tool declaration, a result."""

    label: str
    segments: tuple[Segment, ...]
    count: int
    """Its tokens."""
    cached: int | None = None
    """How many of them were in the engine's cache; None: not known."""
    tokens: tuple[Token, ...] = ()
    """The tokens themselves, if there is a tokenizer."""


@dataclass(frozen=True, slots=True)
class ToolView:
    """A declared tool: its schema in the request, and its declaration for the model."""

    name: str
    schema: str
    """The function as in the request: indented JSON."""
    declaration: tuple[Segment, ...]
    warnings: tuple[str, ...]
    """The parts of the schema that the declaration leaves out."""
    count: int
    """The tokens of the declaration."""


@dataclass(frozen=True, slots=True)
class OutputPiece:
    """Characters of the output; `problems` are the numbers of the problems that cover them, `begins` of those
    that begin here.
    """

    text: str
    control: bool = False
    problems: tuple[int, ...] = ()
    begins: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputPart:
    """A part of the output, and how it was read."""

    kind: Kind
    pieces: tuple[OutputPiece, ...]
    calls: tuple[str, ...] = ()
    """The names of the calls in it."""


@dataclass(frozen=True, slots=True)
class ProblemView:
    """A problem, with its number in the output, from 1, and what would change it."""

    number: int
    problem: Problem
    advice: str


@dataclass(frozen=True, slots=True)
class LevelView:
    """The calls that a level of recovery reads in the output, and how many problems it has."""

    level: str
    used: bool
    """Whether this is the level that made the reply."""
    calls: tuple[str, ...]
    problems: int


@dataclass(frozen=True, slots=True)
class Output:
    """The model's output, and how it was read."""

    parts: tuple[OutputPart, ...]
    """All of the text, in order."""
    reply: Reply
    problems: tuple[ProblemView, ...]
    levels: tuple[LevelView, ...]
    count: int
    """Its tokens, as the engine counted them, if it did."""


@dataclass(frozen=True)
class Inspection:
    """An inspected request and its answer. Notebooks and `rich.print` display it; `html()` returns a whole page."""

    model: str
    format: str
    """The format's name and the options that differ from their defaults."""
    prompt: Prompt
    parts: tuple[PromptPart, ...]
    """All of the prompt, in order."""
    tools: tuple[ToolView, ...]
    count: int
    """The tokens of the prompt."""
    exact: bool
    """Whether the counts of the parts are the model's own, and not estimates."""
    cached: int | None
    """How many tokens of the prompt were in the engine's cache; None: not known."""
    warnings: tuple[str, ...]
    """Other parts of the request that were left out, not about one tool."""
    output: Output | None
    completion: Mapping[str, Any] | None
    """The answer as an OpenAI object."""
    error: str = ""
    time: float = 0.0
    """When the answer was complete, in seconds since the epoch."""

    def html(self) -> str:
        """A self-contained HTML page: no script, and nothing from the network."""
        from gemma_tools.inspection.page import page

        return page(self)

    def _repr_html_(self) -> str:
        from gemma_tools.inspection.page import fragment

        return fragment(self)

    def __rich__(self) -> RenderableType:
        from gemma_tools.inspection.terminal import renderable

        return renderable(self)
