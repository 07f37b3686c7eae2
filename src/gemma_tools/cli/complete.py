"""`gemma-tools complete`: reads an OpenAI request and prints a ChatCompletion."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemma_tools.cli.files import read_request, write_json
from gemma_tools.cli.options import (
    Adapters,
    Context,
    EngineName,
    GpuLayers,
    MaxAnswerBytes,
    MaxLineBytes,
    MaxTokens,
    Projector,
    Temperature,
    Threads,
    Url,
    opened,
)

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk


def complete(
    ctx: typer.Context,
    request: Annotated[str, typer.Argument(help="A file with an OpenAI request, or - for standard input.")] = "-",
    prompt: Annotated[str | None, typer.Option(help="A user message, instead of a file.")] = None,
    model: Annotated[str | None, typer.Option(help="The model to run; by default the request's own.")] = None,
    engine: EngineName = None,
    url: Url = None,
    mmproj: Projector = None,
    lora: Adapters = None,
    context: Context = None,
    threads: Threads = None,
    gpu_layers: GpuLayers = None,
    max_line_bytes: MaxLineBytes = None,
    max_answer_bytes: MaxAnswerBytes = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print chunks as they arrive, one JSON object per line.")] = False,
) -> None:
    """Answer an OpenAI request: print a ChatCompletion, or its chunks."""
    from gemma_tools.errors import InvalidRequest
    from gemma_tools.validation import parse_request

    if prompt is None and request == "-" and sys.stdin.isatty():
        print("gemma-tools: reading a request from the terminal; Ctrl-D ends it; --prompt TEXT is shorter", file=sys.stderr)
    body: dict[str, Any] = read_request(request) if prompt is None else {"messages": [{"role": "user", "content": prompt}]}
    if model:
        body["model"] = model
    if stream:
        body["stream"] = True
    body |= {name: value for name, value in (("temperature", temperature), ("max_tokens", max_tokens)) if value is not None}
    parsed = parse_request(body)
    if not parsed.model:
        raise InvalidRequest("name the model in the request, or with --model", param="model", code="missing")
    with opened(ctx, parsed.model) as backend:
        answer = backend.respond(parsed)
        if isinstance(answer, Iterator):
            _print_chunks(answer)
        else:
            write_json(answer.model_dump(exclude_unset=True), indented=True)


def _print_chunks(chunks: Iterator[ChatCompletionChunk]) -> None:
    for chunk in chunks:
        write_json(chunk.model_dump(exclude_unset=True))
