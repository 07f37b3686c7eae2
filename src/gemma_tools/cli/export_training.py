"""`gemma-tools export-training`: reads conversations and prints rows for training."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gemma_tools.cli.files import convert_lines
from gemma_tools.cli.options import FormatName, Options, format_and_options, parse_options
from gemma_tools.errors import InvalidRequest
from gemma_tools.tokens import GemmaTokenizer, exchanges, training_prompt, training_row, training_text


def export_training(
    chats: Annotated[
        str, typer.Argument(help="A file with one object per line (messages, tools, format, options), or -.")
    ] = "-",
    format: FormatName = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="A GGUF file, a tokenizer.json or a tokenizer.model: rows contain ids; without it they contain text."
        ),
    ] = None,
    option: Options = None,
    each_exchange: Annotated[
        bool,
        typer.Option(
            "--each-exchange", help="One row for each exchange, with the earlier ones as context: keeps all thoughts."
        ),
    ] = False,
) -> None:
    """Print a row for training for each conversation: `input_ids` and `labels`, or `text` and `spans`."""
    given = parse_options(option)
    vocabulary = GemmaTokenizer.from_file(tokenizer) if tokenizer else None

    def rows(where: str, line: Mapping[str, Any]) -> list[dict[str, Any]]:
        form, thinking = format_and_options(line, format, given)
        if unused := thinking.keys() - {"enable_thinking", "preserve_thinking"}:
            raise InvalidRequest("is not an option for training: a row contains the whole conversation", param=min(unused))
        messages: Any = line.get("messages")
        whole = training_prompt(messages, line.get("tools"), format=form, **thinking)
        for warning in whole.warnings:
            print(f"gemma-tools: warning: {where}: {warning}", file=sys.stderr)
        prompts = exchanges(messages, line.get("tools"), format=form, **thinking) if each_exchange else [(whole, 0)]
        return [
            (training_row(prompt, vocabulary, begin) if vocabulary else training_text(prompt, begin))._asdict()
            for prompt, begin in prompts
        ]

    convert_lines(chats, rows, "Exporting")
