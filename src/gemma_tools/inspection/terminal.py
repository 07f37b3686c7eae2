"""An inspection for a terminal, with rich. All text goes through `display.visible`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.containers import Lines
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from gemma_tools.display import visible
from gemma_tools.inspection import words
from gemma_tools.inspection.model import Inspection, Output, OutputPart, ToolView
from gemma_tools.inspection.spans import Kind
from gemma_tools.jsontext import to_json_lines
from gemma_tools.prompt import Segment

_CONTROL: Final = "bold magenta"
_STYLES: Final[Mapping[Kind, str]] = {"thought": "cyan", "call": "green", "refused": "red", "passed": "dim"}

_PIECE: Final = re.compile(r"<[^\s<>]{1,40}>|[^\s<]++|<|\s++")
"""Special tokens, words and spaces: a line of native text can end after each."""


class NativeText(Text):
    """Text that is cut into lines between special tokens, not in them."""

    def wrap(self, console: Console, width: int, **options: Any) -> Lines:
        """The lines of the text, as `rich` asks for them; what is longer than a line is cut where the line ends."""
        lines = Lines()
        for line in self.split(allow_blank=True):
            lines.extend(
                part
                for piece in line.divide(_breaks(line.plain, width))
                for part in Text.wrap(piece, console, width, **options)
            )
        return lines


def _breaks(text: str, width: int) -> Iterator[int]:
    """Where lines begin, apart from the first; spaces can be beyond the end of a line."""
    used = 0
    for piece in _PIECE.finditer(text):
        size = cell_len(piece[0])
        if used and used + size > width and not piece[0].isspace():
            yield piece.start()
            used = 0
        used += size


def renderable(shown: Inspection) -> RenderableType:
    """What rich prints."""
    return Group(*_sections(shown))


def _sections(shown: Inspection) -> Iterator[RenderableType]:
    yield Rule(visible(shown.model or "inspection"), align="left", style="dim")
    yield Text.assemble(*(piece for name, value in words.facts(shown).items() for piece in _fact(name, value)))
    if shown.error:
        yield Text(f"failed: {visible(shown.error)}", "bold red")
    yield from _warnings(shown.warnings)
    if shown.output is not None:
        yield from _output(shown.output)
    yield Rule("Prompt", align="left", style="dim")
    yield _rows((part.label, words.of_part(part, exact=shown.exact), _segments(part.segments)) for part in shown.parts)
    for tool in shown.tools:
        yield from _tool(tool, exact=shown.exact)
    if shown.completion is not None:
        yield Rule("OpenAI object", align="left", style="dim")
        yield Text(visible(to_json_lines(shown.completion)))


def _fact(name: str, value: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (f"{name} ", "dim"), (f"{visible(value)}   ", "")


def _warnings(warnings: Iterable[str]) -> Iterator[Text]:
    return (Text(f"left out: {visible(warning)}", "yellow") for warning in warnings)


def _rows(rows: Iterable[tuple[str, str, Text]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(max_width=24, overflow="fold")
    grid.add_column(overflow="fold", ratio=1)
    for label, small, text in rows:
        text.rstrip()
        grid.add_row(Text(visible(label), "bold") + Text(f"\n{small}" if small else "", "dim not bold"), text)
    return grid


def _segments(segments: Iterable[Segment]) -> Text:
    return NativeText.assemble(*((visible(s.text), _CONTROL if s.control else "") for s in segments))


def _tool(tool: ToolView, *, exact: bool) -> Iterator[RenderableType]:
    yield Rule(f"Tool {visible(tool.name)}, {words.tokens(tool.count, exact=exact)}", align="left", style="dim")
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column("its schema", ratio=1, overflow="fold")
    table.add_column("what the model sees", ratio=1, overflow="fold")
    table.show_header = True
    table.add_row(Text(visible(tool.schema)), _segments(tool.declaration))
    yield table
    yield from _warnings(tool.warnings)


def _output(output: Output) -> Iterator[RenderableType]:
    yield Rule("Output", align="left", style="dim")
    yield _rows((words.of_output(part), "", _output_text(part)) for part in output.parts)
    if output.problems:
        table = Table("", "problem", "what was found", "what would change it", title="Problems", title_justify="left")
        for view in output.problems:
            cells = (str(view.number), view.problem.kind, view.problem.message, view.advice)
            table.add_row(*(Text(visible(cell)) for cell in cells))
        yield table
    if output.levels:
        table = Table("level", "calls")
        for level in output.levels:
            name = f"{level.level} (used)" if level.used else level.level
            table.add_row(Text(name), Text(visible(words.of_level(level))))
        yield table


def _output_text(part: OutputPart) -> Text:
    text = NativeText()
    base = _STYLES.get(part.kind, "")
    for piece in part.pieces:
        for number in piece.begins:
            text.append(f"[{number}]", "bold red")
        style = _CONTROL if piece.control else base
        text.append(visible(piece.text), f"{style} underline".strip() if piece.problems else style)
    return text
