"""Connects the commands, and handles their errors: one line on stderr and a non-zero exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

from gemma_tools import __version__
from gemma_tools.cli.batch import batch
from gemma_tools.cli.bench import bench
from gemma_tools.cli.chat import chat
from gemma_tools.cli.complete import complete
from gemma_tools.cli.export_training import export_training
from gemma_tools.cli.inspect import inspect
from gemma_tools.cli.parse import parse
from gemma_tools.cli.render import render
from gemma_tools.cli.serve import serve
from gemma_tools.cli.tokens import tokens
from gemma_tools.errors import GemmaToolsError

_INTERRUPTED = 130

app = typer.Typer(
    help="Gemma's conversation formats, for OpenAI requests.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"gemma-tools {__version__}")
        raise typer.Exit


for command in (complete, render, parse, inspect, tokens, chat, serve, batch, export_training):
    app.command()(command)
app.add_typer(bench, name="bench")


def run(arguments: Sequence[str]) -> int:
    """Run one command and return the exit status: 0, 1 (it failed), 2 (wrong usage) or 130 (interrupted)."""
    if isinstance(sys.stdout, TextIOWrapper):
        # JSON is UTF-8; a lone surrogate, which has no UTF-8, is written as its JSON escape.
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        status = app(args=list(arguments) or ["--help"], prog_name="gemma-tools", standalone_mode=False)
        if status == _INTERRUPTED:  # how typer answers Ctrl-C
            raise KeyboardInterrupt
        sys.stdout.flush()
        return status or 0
    except typer.TyperException as error:
        return _fail(error.format_message(), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", _INTERRUPTED)
    except BrokenPipeError:
        # The reader of the output is gone. Python would fail once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except GemmaToolsError as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    except Exception as error:
        if os.environ.get("GEMMA_TOOLS_TRACEBACK") == "1":
            raise
        return _fail(f"unexpected {type(error).__name__}: {error} (GEMMA_TOOLS_TRACEBACK=1 shows where)", 1)


def _fail(message: str, status: int) -> int:
    print("gemma-tools:", " ".join(message.split()), file=sys.stderr)
    return status
