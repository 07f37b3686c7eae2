"""The project's own examples of what models write, and of what must be made of it: `tests/data/replies`.

One JSON object a line. `name` says in a few words what the row shows, `output` is the model's text. What was asked:
`tools` (the name of a set in `tools.json`, a list of tools, or null for unknown ones), `level`, `options` (of the format),
`opens`, `finish`, `guarded`, `max_calls`. What is expected: `content`, `reasoning`, `calls` (names and arguments),
`finish_reason`, `kinds` (of the problems, in any order), and where it matters `kept` (the texts of the problems that have
one), `where` (what stands in the output where each problem lies, in order) and `written` (the JSON texts of the arguments).
What is left out has its default.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from gemma_tools.formats import get_format
from gemma_tools.formats.base import Format, ReplyParser

Row = dict[str, Any]

_FOLDER = Path(__file__).resolve().parents[1] / "data" / "replies"


@cache
def _tool_sets() -> dict[str, list[dict[str, Any]]]:
    sets: dict[str, list[dict[str, Any]]] = json.loads((_FOLDER / "tools.json").read_text("utf-8"))
    return sets


@cache
def rows(format_name: str) -> list[Row]:
    """The rows of one format."""
    return [json.loads(line) for line in (_FOLDER / f"{format_name}.jsonl").read_text("utf-8").splitlines()]


def format_of(format_name: str, row: Row, level: str | None = None) -> Format:
    """The format as the row asks for it, or at another level."""
    return get_format(format_name, recovery=level or row.get("level", "schema"), **row.get("options", {}))


def tools_of(row: Row) -> list[dict[str, Any]] | None:
    """The tools of the row's request."""
    return _tool_sets()[row["tools"]] if isinstance(row["tools"], str) else row["tools"]


def parser_of(format_name: str, row: Row, level: str | None = None) -> ReplyParser:
    """A parser for the row's output."""
    asked = {key: row[key] for key in ("opens", "guarded", "max_calls") if key in row}
    return format_of(format_name, row, level).parser(tools_of(row), **asked)
