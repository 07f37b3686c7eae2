"""`gemma-tools parse`: reads a model's raw output and prints content, reasoning and calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import typer

from gemma_tools.cli.files import map_lines, read_json, read_text, write_json
from gemma_tools.cli.options import FormatName, Options, format_and_options, parse_options
from gemma_tools.errors import InvalidRequest
from gemma_tools.validation import validate_tools

if TYPE_CHECKING:
    from gemma_tools.reply import Reply


class Circumstances(TypedDict):
    """The context of a text, for `Format.parse`."""

    opens: Literal["content", "reasoning"]
    finish: Literal["stop", "length"]


class Finish(StrEnum):
    """How the generation ended."""

    stop = "stop"
    length = "length"


class Opens(StrEnum):
    """What the first character belongs to."""

    content = "content"
    reasoning = "reasoning"


def parse(
    raw: Annotated[str, typer.Argument(help="A file with a model's raw output, or - for standard input.")] = "-",
    format: FormatName = None,
    tools: Annotated[
        str | None,
        typer.Option(help="A JSON file with tools, or a request that has tools; without it any tool name is read."),
    ] = None,
    finish: Annotated[Finish, typer.Option(help="Whether the token limit cut the text.")] = Finish.stop,
    opens: Annotated[Opens, typer.Option(help="Whether the text begins in content or in reasoning.")] = Opens.content,
    option: Options = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="One object per line (raw, tools, format, options, context); adds result.")
    ] = False,
) -> None:
    """Read a model's raw output and print content, reasoning, tool calls and problems as JSON."""
    defaults = {"tools": _tools(tools), "context": {"reasoning_open": opens is Opens.reasoning, "finish": finish.value}}
    given = parse_options(option)
    if jsonl:
        map_lines(raw, lambda line: {"result": _parse({**defaults, **line}, format, given)}, "Parsing")
    else:
        write_json(_parse({**defaults, "raw": read_text(raw)}, format, given), indented=True)


def _parse(item: Mapping[str, Any], name: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    format, _ = format_and_options(item, name, given)
    raw, tools = item.get("raw"), item.get("tools")
    if not isinstance(raw, str):
        raise InvalidRequest("must be the model's text", param="raw", code="invalid_type")
    # None is not the same as none.
    return _as_json(format.parse(raw, None if tools is None else validate_tools(tools), **circumstances(item)))


def circumstances(item: Mapping[str, Any]) -> Circumstances:
    """The context that a line gives.

    Raises:
        InvalidRequest: `context` is not an object.
    """
    context = item.get("context") or {}
    if not isinstance(context, dict):
        raise InvalidRequest("must be an object", param="context", code="invalid_type")
    cut = context.get("finish") == "length" or item.get("kind") == "truncated"
    return {"opens": "reasoning" if context.get("reasoning_open") else "content", "finish": "length" if cut else "stop"}


def _as_json(reply: Reply) -> dict[str, Any]:
    return {
        "content": reply.content,
        "reasoning": reply.reasoning,
        "tool_calls": [{"name": call.name, "arguments": call.arguments} for call in reply.tool_calls],
        "finish_reason": reply.finish_reason,
        "problems": [asdict(problem) for problem in reply.problems],
    }


def _tools(path: str | None) -> Any:
    if path is None:
        return None
    value = read_json(path)
    return value.get("tools") if isinstance(value, dict) else value
