"""`gemma-tools complete`: an OpenAI request in, a ChatCompletion out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from gemma_tools.cli.files import read_request, write_json
from gemma_tools.cli.options import Adapters, EngineName, Projector, Url

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk


def complete(
    request: Annotated[str, typer.Argument(help="A file with an OpenAI request, or - for standard input.")] = "-",
    model: Annotated[str | None, typer.Option(help="The model to run; the request's own otherwise.")] = None,
    engine: EngineName = None,
    url: Url = None,
    mmproj: Projector = None,
    lora: Adapters = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print chunks as they come, one JSON object a line.")] = False,
) -> None:
    """Answer an OpenAI request: print a ChatCompletion, or its chunks."""
    from gemma_tools.backends import create_model
    from gemma_tools.engines.adapters import engine_options
    from gemma_tools.errors import InvalidRequest
    from gemma_tools.validation import parse_request

    body = read_request(request)
    if model:
        body["model"] = model
    if stream:
        body["stream"] = True
    parsed = parse_request(body)
    if not parsed.model:
        raise InvalidRequest("name the model in the request, or with --model", param="model", code="missing")
    with create_model(parsed.model, engine=engine, url=url, **engine_options(mmproj, lora or ())) as backend:
        answer = backend.respond(parsed)
        if isinstance(answer, Iterator):
            _print_chunks(answer)
        else:
            write_json(answer.model_dump(exclude_unset=True), indented=True)


def _print_chunks(chunks: Iterator[ChatCompletionChunk]) -> None:
    for chunk in chunks:
        write_json(chunk.model_dump(exclude_unset=True))
