"""`gemma-tools render`: reads an OpenAI request and prints the prompt."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemma_tools.cli.files import map_lines, read_request
from gemma_tools.cli.options import FormatName, Options, format_and_options, parse_options
from gemma_tools.display import visible

if TYPE_CHECKING:
    from gemma_tools.prompt import Prompt


def render(
    request: Annotated[str, typer.Argument(help="A file with an OpenAI request, or - for standard input.")] = "-",
    format: FormatName = None,
    option: Options = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="One object per line (messages, tools, format, options); adds prompt and warnings.")
    ] = False,
) -> None:
    """Print the prompt for an OpenAI request."""
    given = parse_options(option)
    if jsonl:
        map_lines(request, lambda line: _rendered_line(line, format, given), "Rendering")
        return
    prompt = _render(read_request(request), format, given)
    _show(prompt)
    for warning in prompt.warnings:
        print("gemma-tools: warning:", warning, file=sys.stderr)


def _render(item: Mapping[str, Any], name: str | None, given: Mapping[str, Any]) -> Prompt:
    format, options = format_and_options(item, name, given)
    if "tool_choice" in item:
        options.setdefault("tool_choice", item["tool_choice"])
    messages: Any = item.get("messages")
    return format.render(messages, item.get("tools"), **options)


def _rendered_line(line: Mapping[str, Any], name: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    prompt = _render(line, name, given)
    return {"prompt": prompt.text, "warnings": prompt.warnings}


def _show(prompt: Prompt) -> None:
    """The exact text, or on a terminal the same with special tokens in colour."""
    if not sys.stdout.isatty():
        sys.stdout.write(prompt.text)
        return
    from rich.console import Console
    from rich.text import Text

    pieces = ((visible(segment.text), "bold magenta" if segment.control else "") for segment in prompt.segments)
    Console().print(Text.assemble(*pieces), soft_wrap=True)
