"""What there is to see of a request and its answer, as data. `make` makes it; `page` and `terminal` show it."""

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
    """A turn of the prompt, or a part of one: a tool's declaration, a result."""

    label: str
    segments: tuple[Segment, ...]
    count: int
    """Its tokens."""
    cached: int | None = None
    """How many of them the engine had in its cache; None: not known."""
    tokens: tuple[Token, ...] = ()
    """The tokens themselves, where there is a tokenizer."""


@dataclass(frozen=True, slots=True)
class ToolView:
    """A declared tool: what the request said of it, and what the model sees."""

    name: str
    schema: str
    """The function as the request declares it: indented JSON."""
    declaration: tuple[Segment, ...]
    warnings: tuple[str, ...]
    """What of the schema the declaration leaves out."""
    count: int
    """The tokens of the declaration."""


@dataclass(frozen=True, slots=True)
class OutputPiece:
    """Characters of the output; `problems` are the numbers of those that lie over them, `begins` of those that begin here."""

    text: str
    control: bool = False
    problems: tuple[int, ...] = ()
    begins: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputPart:
    """A part of the output and what became of it."""

    kind: Kind
    pieces: tuple[OutputPiece, ...]
    calls: tuple[str, ...] = ()
    """The names of the calls that it holds."""


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
    """What the model wrote, and how it was read."""

    parts: tuple[OutputPart, ...]
    """All of the text, in order."""
    reply: Reply
    problems: tuple[ProblemView, ...]
    levels: tuple[LevelView, ...]
    count: int
    """Its tokens."""


@dataclass(frozen=True)
class Inspection:
    """A request and its answer, taken apart. Notebooks show it, and so does `rich.print`; `html()` is a page of its own."""

    model: str
    format: str
    """The format's name and the options that are not its defaults."""
    prompt: Prompt
    parts: tuple[PromptPart, ...]
    """All of the prompt, in order."""
    tools: tuple[ToolView, ...]
    count: int
    """The tokens of the prompt."""
    exact: bool
    """Whether the counts of the parts are the model's own, and no estimates."""
    cached: int | None
    """How many tokens of the prompt the engine had in its cache; None: not known."""
    warnings: tuple[str, ...]
    """What of the request was left out, and is not about one tool."""
    output: Output | None
    completion: Mapping[str, Any] | None
    """The answer as an OpenAI object."""
    error: str = ""
    time: float = 0.0
    """When the answer was there, in seconds since the epoch."""

    def html(self) -> str:
        """A page of HTML that needs nothing else: no script, and nothing from the network."""
        from gemma_tools.inspection.page import page

        return page(self)

    def _repr_html_(self) -> str:
        from gemma_tools.inspection.page import fragment

        return fragment(self)

    def __rich__(self) -> RenderableType:
        from gemma_tools.inspection.terminal import renderable

        return renderable(self)
