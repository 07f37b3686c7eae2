"""`gemma-tools tokens`: counts a request or a text, part by part and token by token."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from gemma_tools.cli.files import read_json, read_text, write_json
from gemma_tools.cli.options import FormatName, Options, format_and_options, parse_options
from gemma_tools.display import visible
from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import read_json as read_json_text

if TYPE_CHECKING:
    from gemma_tools.prompt import Prompt
    from gemma_tools.tokens import BaseTokenCounter, PartCount, TokenView

_BACKGROUNDS = ("on grey15", "on grey30")


def tokens(
    file: Annotated[str, typer.Argument(help="A file with an OpenAI request or a text, or - for standard input.")] = "-",
    text: Annotated[str | None, typer.Option(help="A text to count, instead of a file.")] = None,
    model: Annotated[str | None, typer.Option(help="The model; by default the request's own.")] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="A .gguf file, tokenizer.json or tokenizer.model to count with; by default the model's file."),
    ] = None,
    format: FormatName = None,
    option: Options = None,
    json: Annotated[bool, typer.Option("--json", help="Print the counts and the tokens as JSON.")] = False,
) -> None:
    """Count the tokens of a request, part by part, or of a text; on a terminal the tokens are also shown.

    Without a model's file the counts are estimates, and marked so.
    """
    from gemma_tools.models import family_of_model
    from gemma_tools.tokens import EstimatedTokenCounter, GemmaTokenizer, PartCount, TokenizerCounter, TokenView, count_parts

    item: dict[str, Any] = {"text": text} if text is not None else _read(file)
    name = model or item.get("model")
    name = name if isinstance(name, str) else None
    own = GemmaTokenizer.from_file(tokenizer) if tokenizer else GemmaTokenizer.of_model(name) if name else None
    family = family_of_model(name) if name else None
    named = item.get("format") or format or (family.name if family else None if "messages" in item else "gemma4")
    of_family = family.options if family and family.name == named else {}
    made, options = format_and_options({**item, "format": named}, None, {**of_family, **parse_options(option)})
    counter = EstimatedTokenCounter(made) if own is None else TokenizerCounter(made, own)
    shown: str | Prompt
    if "messages" in item:
        messages: Any = item["messages"]
        if "tool_choice" in item:
            options.setdefault("tool_choice", item["tool_choice"])
        parts = count_parts(messages, item.get("tools"), counter=counter, **options)
        shown = made.render(messages, item.get("tools"), **options)
    else:
        shown = cast(str, item["text"])
        parts = (PartCount("text", own.count(shown) if own else counter.count(shown)),)
    view = TokenView.of(shown, own) if own else None
    if json:
        write_json(_as_json(parts, counter, view), indented=True)
    else:
        _show(parts, counter, view)


def _read(path: str) -> dict[str, Any]:
    """A request, or `{"text": ...}`: a .json file must contain a request; any other file is one if it can be read as one."""
    if path.lower().endswith(".json"):
        value = read_json(path)
        if not isinstance(value, dict) or "messages" not in value:
            raise InvalidRequest("must be an OpenAI request, with messages", param=path, code="invalid_type")
        return value
    text = read_text(path)
    try:
        value = read_json_text(text)
    except ValueError:
        value = None
    return value if isinstance(value, dict) and "messages" in value else {"text": text}


def _as_json(parts: tuple[PartCount, ...], counter: BaseTokenCounter, view: TokenView | None) -> Mapping[str, Any]:
    counts = {"total": sum(part.tokens for part in parts), "exact": counter.exact, "parts": [asdict(part) for part in parts]}
    return counts if view is None else {**counts, "tokens": [asdict(token) for token in view.tokens]}


def _show(parts: tuple[PartCount, ...], counter: BaseTokenCounter, view: TokenView | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    total = sum(part.tokens for part in parts)
    table = Table("part", show_footer=True)
    table.columns[0].footer = "total" if counter.exact else "total (an estimate: --tokenizer FILE counts exactly)"
    table.add_column("tokens", f"{total:,}", justify="right")
    table.add_column("share", justify="right")
    for part in parts:
        table.add_row(part.part, f"{part.tokens:,}", f"{part.tokens / total:.0%}" if total else "")
    console = Console(highlight=False, markup=False)
    console.print(table)
    if view is not None and sys.stdout.isatty():
        pieces = (
            (visible(token.text), f"{'bold magenta ' if token.special else ''}{_BACKGROUNDS[number % 2]}")
            for number, token in enumerate(view.tokens)
        )
        console.print(Text.assemble(*pieces), soft_wrap=True)
