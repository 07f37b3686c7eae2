"""Options of several commands: the format and its settings, and the engine."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Unpack

import typer

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.formats.base import Format
from gemma_tools.validation import check_flag

if TYPE_CHECKING:
    from gemma_tools.backends.base import BaseModelBackend
    from gemma_tools.backends.config import Settings

FormatName = Annotated[
    str | None, typer.Option("--format", "-f", help="functiongemma, gemma3 or gemma4; a line's own format overrides it.")
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="NAME=VALUE", help="An option of the format or of rendering; can be repeated."),
]
EngineName = Annotated[str | None, typer.Option("--engine", help="The engine; by default the model's usual one.")]
Projector = Annotated[
    str | None, typer.Option("--mmproj", help="The model's projector, a GGUF file: with it llama.cpp takes images and audio.")
]
Adapters = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="FILE[=SCALE]", help="A LoRA adapter for a llama.cpp model; can be repeated."),
]
Url = Annotated[str | None, typer.Option(help="The address of the engine's server.")]
Context = Annotated[
    int | None, typer.Option(help="The maximum number of tokens in a conversation; 8192 in process by default.")
]
Threads = Annotated[int | None, typer.Option(help="How many threads the engine in process uses.")]
GpuLayers = Annotated[int | None, typer.Option(help="How many layers of the model run on a GPU; -1 means all.")]
MaxLineBytes = Annotated[
    int | None, typer.Option(help="The maximum length of a line in an answer of the engine's server, in bytes.")
]
MaxAnswerBytes = Annotated[int | None, typer.Option(help="The maximum size of an answer of the engine's server, in bytes.")]
Temperature = Annotated[float | None, typer.Option(help="The sampling temperature; 0 is greedy.")]
MaxTokens = Annotated[int | None, typer.Option(help="The maximum number of tokens in an answer.")]
OtherModel = Annotated[str | None, typer.Option("--model", help="The same as MODEL, as in other commands.")]

_OF_RENDERING = frozenset(
    parameter.name
    for parameter in inspect.signature(Format.render).parameters.values()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
)


def opened(ctx: typer.Context, model: str, **settings: Unpack[Settings]) -> BaseModelBackend:
    """The backend called `model` with these settings, on an engine with the command's options.

    Raises:
        GemmaToolsError: see `create_model`.
    """
    from gemma_tools.backends import create_model
    from gemma_tools.engines.adapters import engine_options

    given = ctx.params
    names = ("engine", "url", "context", "threads", "gpu_layers", "max_line_bytes", "max_answer_bytes")
    options: dict[str, Any] = {name: given[name] for name in names if given.get(name) is not None}
    adapters = engine_options(given.get("mmproj"), given.get("lora") or ())
    return create_model(model, **settings, **options, **adapters)


def parse_options(given: Sequence[str] | None) -> dict[str, Any]:
    """`NAME=VALUE` pairs as a dict; a value that is valid JSON is read as JSON (`true`, `3`), any other as a string.

    Raises:
        InvalidRequest: a pair has no `=`.
    """
    options: dict[str, Any] = {}
    for pair in given or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidRequest(f"write NAME=VALUE, not {pair!r}", param="--option")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def format_and_options(item: Mapping[str, Any], name: str | None, given: Mapping[str, Any]) -> tuple[Format, dict[str, Any]]:
    """The format for a request or a line, and the options that are for rendering; the item's own options win.

    Raises:
        InvalidRequest: no format is named, or `options` is not an object, contains an unknown option, or an invalid value.
        UnknownName: there is no such format.
    """
    name = item.get("format") or name
    if not isinstance(name, str):
        raise InvalidRequest("name the format: --format functiongemma, gemma3 or gemma4", param="format", code="missing")
    own = item.get("options") or {}
    if not isinstance(own, dict):
        raise InvalidRequest("must be an object", param="options", code="invalid_type")
    options = {**given, **own}
    rendering = {key: options.pop(key) for key in _OF_RENDERING & options.keys()}
    for key in rendering.keys() - {"tool_choice"}:
        check_flag(rendering[key], key)
    return get_format(name, **options), rendering
