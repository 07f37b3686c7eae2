"""`gemma-tools export-training`: conversations in, rows for training out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gemma_tools.cli.files import convert_lines
from gemma_tools.cli.options import FormatName, Options, format_and_options, parse_options
from gemma_tools.errors import InvalidRequest
from gemma_tools.tokens import GemmaTokenizer, training_prompt, training_row, training_text


def export_training(
    chats: Annotated[str, typer.Argument(help="A file with one object a line (messages, tools, format, options), or -.")] = "-",
    format: FormatName = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="A GGUF file, a tokenizer.json or a tokenizer.model: rows are ids; without it they are text."),
    ] = None,
    option: Options = None,
) -> None:
    """Print a row for training for each conversation: `input_ids` and `labels`, or `text` and `spans`."""
    given = parse_options(option)
    vocabulary = GemmaTokenizer.from_file(tokenizer) if tokenizer else None

    def row(where: str, line: Mapping[str, Any]) -> dict[str, Any]:
        form, rendering = format_and_options(line, format, given)
        if unused := rendering.keys() - {"enable_thinking", "preserve_thinking"}:
            raise InvalidRequest("is not for training: a row shows the whole conversation", param=min(unused))
        messages: Any = line.get("messages")
        prompt = training_prompt(messages, line.get("tools"), format=form, **rendering)
        for loss in prompt.losses:
            print(f"gemma-tools: note: {where}: {loss}", file=sys.stderr)
        return (training_row(prompt, vocabulary) if vocabulary else training_text(prompt))._asdict()

    convert_lines(chats, row, "Exporting")
