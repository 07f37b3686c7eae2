"""`gemma-tools bench`: evaluates models, and parses recorded outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from gemma_tools.cli.bench_model import model, report
from gemma_tools.cli.files import read_lines, write_json
from gemma_tools.cli.parse import circumstances
from gemma_tools.errors import InvalidRequest
from gemma_tools.validation import validate_tools

bench = typer.Typer(help="Evaluate models, and parse recorded outputs.", no_args_is_help=True)
for command in (model, report):
    bench.command()(command)

_TEXT = ("raw", "text", "response_text", "response", "output")


@bench.command()
def parse(
    file: Annotated[
        str,
        typer.Argument(
            help="A JSONL file of outputs, or -: one object per line with `raw` (or `text`, `response_text`), and optionally "
            "`tools` (OpenAI tools), `expected_tools` (names) and `context`, as for `gemma-tools parse --jsonl`."
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Parse recorded Gemma 4 outputs, native notation first, and report how many contain a call and what read it."""
    from gemma_tools.bench import Gemma4ToolParser

    parser = Gemma4ToolParser()
    for where, line in read_lines(file, "Parsing"):
        try:
            parser.parse(_text(line), _tools(line), **circumstances(line))
        except InvalidRequest as wrong:
            raise InvalidRequest(wrong.message, param=f"{where}: {wrong.param}", code=wrong.code) from None
    if json:
        write_json(parser.benchmark.to_dict(), indented=True)
    else:
        print(parser.benchmark.format_report())


def _text(line: Mapping[str, Any]) -> str:
    for key in _TEXT:
        if isinstance(line.get(key), str):
            return str(line[key])
    raise InvalidRequest(
        f"the model's output is missing: it must be a string named {' or '.join(_TEXT)}", param="raw", code="missing"
    )


def _tools(line: Mapping[str, Any]) -> Sequence[Any] | None:
    """The tools whose calls count: all `tools`, or those in `expected_tools`, with their declarations from `tools`."""
    tools, expected = line.get("tools"), line.get("expected_tools")
    if tools is None or not isinstance(expected, list):
        return tools if expected is None else expected
    described = {tool.name: tool for tool in validate_tools(tools)}
    return [described.get(tool, tool) if isinstance(tool, str) else tool for tool in expected]
