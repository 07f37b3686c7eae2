"""`gemma-tools bench`: measurements on recorded outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gemma_tools.cli.files import read_lines, write_json
from gemma_tools.errors import InvalidRequest

bench = typer.Typer(help="Measure parsers on recorded outputs.", no_args_is_help=True)

_TEXT = ("raw", "text", "response_text", "response", "output")


@bench.callback()
def _bench() -> None:
    """Keep `parse` a command of its own while it is the only one."""


@bench.command()
def parse(
    file: Annotated[
        str,
        typer.Argument(
            help="A JSONL file of outputs, or -: an object a line with `raw` (or `text`, `response_text`), and perhaps "
            "`expected_tools` (names) or `tools` (OpenAI tools)."
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Read recorded Gemma 4 outputs, native notation first, and report how many held a call and what read it."""
    from gemma_tools.bench import Gemma4ToolParser

    parser = Gemma4ToolParser()
    for where, line in read_lines(file, "Parsing"):
        parser.parse(_text(line, where), _names(line, where))
    if json:
        write_json(parser.benchmark.to_dict(), indented=True)
    else:
        print(parser.benchmark.format_report())


def _text(line: Mapping[str, Any], where: str) -> str:
    for key in _TEXT:
        if isinstance(line.get(key), str):
            return str(line[key])
    raise InvalidRequest(f"needs the model's output as text, under {' or '.join(_TEXT)}", param=where, code="missing")


def _names(line: Mapping[str, Any], where: str) -> list[str] | None:
    tools = line.get("expected_tools", line.get("tools"))
    if tools is None:
        return None
    try:
        return [tool if isinstance(tool, str) else tool.get("function", tool)["name"] for tool in tools]
    except (TypeError, KeyError, AttributeError):
        message = "expected_tools must be a list of names or of OpenAI tools"
        raise InvalidRequest(message, param=where, code="invalid_type") from None
