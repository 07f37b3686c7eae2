"""`gemma-tools inspect`: shows a request, its prompt and a model's output in detail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemma_tools.cli.files import read_request, read_text
from gemma_tools.cli.options import EngineName, FormatName, Options, Url, format_and_options, parse_options
from gemma_tools.cli.parse import Finish
from gemma_tools.errors import InvalidRequest

if TYPE_CHECKING:
    from gemma_tools.inspection import Inspection


def inspect(
    request: Annotated[str, typer.Argument(help="A file with an OpenAI request, or - for standard input.")] = "-",
    output: Annotated[str | None, typer.Option(help="A file with a model's output, including special tokens.")] = None,
    run: Annotated[bool, typer.Option("--run", help="Ask the model, and show its output.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained HTML page instead of text.")] = None,
    model: Annotated[str | None, typer.Option(help="The model; by default the request's own.")] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="A .gguf file, tokenizer.json or tokenizer.model to count with; by default the model's file."),
    ] = None,
    finish: Annotated[Finish, typer.Option(help="Whether the token limit cut the output.")] = Finish.stop,
    format: FormatName = None,
    option: Options = None,
    engine: EngineName = None,
    url: Url = None,
) -> None:
    """Show a request's prompt, tools and tokens, and how each part of a model's output was read."""
    if run and output is not None:
        raise InvalidRequest("use --output or --run, not both", param="--run")
    body = read_request(request)
    if model:
        body["model"] = model
    shown = _run(body, engine, url, option, tokenizer) if run else _read(body, format, option, output, finish, tokenizer)
    if html is None:
        from rich.console import Console

        Console(highlight=False, markup=False).print(shown)
    else:
        html.write_text(shown.html(), encoding="utf-8")


def _read(
    body: dict[str, Any],
    format: str | None,
    option: list[str] | None,
    output: str | None,
    finish: Finish,
    tokenizer: str | None,
) -> Inspection:
    """The request, and an output from a file."""
    from gemma_tools.inspection import inspect as take_apart
    from gemma_tools.models import family_of_model

    own: dict[str, Any] = {key: body.pop(key) for key in ("format", "options") if key in body}
    name = body.get("model")
    family = family_of_model(name) if isinstance(name, str) else None
    named = own.get("format") or format or (family.name if family else None)
    of_family = family.options if family and family.name == named else {}
    made, rendering = format_and_options({**own, "format": named}, None, {**of_family, **parse_options(option)})
    body |= {key: rendering.pop(key) for key in ("tool_choice", "enable_thinking") if key in rendering}
    if rendering:
        raise InvalidRequest(f"not an option of this command: {', '.join(rendering)}", param="--option")
    written = None if output is None else read_text(output)
    return take_apart(body, written, format=made, tokenizer=tokenizer, finish=finish.value)


def _run(
    body: dict[str, Any], engine: str | None, url: str | None, option: list[str] | None, tokenizer: str | None
) -> Inspection:
    """The request, answered by its model."""
    from gemma_tools.backends import create_model
    from gemma_tools.inspection import watch
    from gemma_tools.validation import parse_request

    parsed = parse_request({**body, "stream": False})
    if not parsed.model:
        raise InvalidRequest("name the model in the request, or with --model", param="model", code="missing")
    options: dict[str, Any] = {**parse_options(option), **({"tokenizer": tokenizer} if tokenizer else {})}
    with create_model(parsed.model, engine=engine, url=url, **options) as backend, watch(backend) as seen:
        backend.respond(parsed)
    return seen[-1]
