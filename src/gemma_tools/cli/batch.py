"""`gemma-tools batch`: a file of requests in, a file of answers out."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from gemma_tools.cli.files import read_lines
from gemma_tools.cli.options import (
    Adapters,
    Context,
    EngineName,
    GpuLayers,
    MaxAnswerBytes,
    MaxLineBytes,
    Projector,
    Threads,
    Url,
    opened,
)
from gemma_tools.jsontext import to_json

if TYPE_CHECKING:
    from gemma_tools.batch import BatchAnswer


def batch(
    ctx: typer.Context,
    requests: Annotated[str, typer.Argument(help="A file with OpenAI's batch lines, or chat requests; - is standard input.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to which each answer is added.")],
    model: Annotated[str, typer.Option(help="The model for all requests, whatever model they name.")],
    engine: EngineName = None,
    url: Url = None,
    mmproj: Projector = None,
    lora: Adapters = None,
    context: Context = None,
    threads: Threads = None,
    gpu_layers: GpuLayers = None,
    max_line_bytes: MaxLineBytes = None,
    max_answer_bytes: MaxAnswerBytes = None,
    concurrency: Annotated[int, typer.Option(help="How many requests run at the same time.", min=1)] = 4,
) -> None:
    """Answer many requests. A stopped run continues: requests that are answered in OUTPUT are not repeated.

    Failed requests are written to OUTPUT with ".errors" before its suffix, and the next run retries them.
    """
    from gemma_tools.batch import run_batch

    failures = output.with_suffix(f".errors{output.suffix}")
    done = _answered(output)
    tally = _Tally()
    with (
        opened(ctx, model) as backend,
        output.open("ab") as good,
        failures.open("wb") as bad,
    ):
        lines = _named(requests, model, done)
        with (
            _progress(requests, len(done)) as advance,
            closing(run_batch({model: backend}, lines, concurrency=concurrency)) as answers,
        ):
            for answer in answers:
                file = good if answer.ok else bad
                _write(file, answer)
                tally.add(answer)
                advance()
    if not tally.failed:
        failures.unlink()
    print(f"gemma-tools: {tally.summary(len(done))}", file=sys.stderr)
    if tally.failed:
        print(f"gemma-tools: the errors are in {failures}", file=sys.stderr)
        raise typer.Exit(1)


def _named(path: str, model: str, done: set[str]) -> Iterator[Mapping[str, Any]]:
    """The lines that are not answered yet, each with an id that is the same in the next run, and the model."""
    for number, (_, line) in enumerate(read_lines(path), 1):
        asked = {"body": line} if "messages" in line else line
        name = asked.get("custom_id", f"request-{number}")
        if name not in done:
            body = asked.get("body")
            yield {**asked, "custom_id": name, "body": {**body, "model": model} if isinstance(body, dict) else body}


def _answered(output: Path) -> set[str]:
    """The ids in an output file. An incomplete last line is cut off."""
    if not output.exists():
        return set()
    with output.open("rb+") as file:
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        file.truncate(len(whole))
    return {json.loads(line)["custom_id"] for line in whole.splitlines() if line.strip()}


def _write(file: BinaryIO, answer: BatchAnswer) -> None:
    file.write(to_json(answer.line()).encode(errors="backslashreplace") + b"\n")
    file.flush()


class _Tally:
    """The result of a run: answers, calls, repairs by kind, tokens and seconds."""

    def __init__(self) -> None:
        self.answered = self.failed = self.calls = self.tokens = 0
        self.problems: Counter[str] = Counter()
        self._began = monotonic()

    def add(self, answer: BatchAnswer) -> None:
        """Count one answer."""
        if not answer.ok:
            self.failed += 1
            return
        self.answered += 1
        body = answer.body
        usage = body.get("usage") or {}
        self.tokens += usage.get("completion_tokens", usage.get("output_tokens", 0))
        messages = [choice["message"] for choice in body.get("choices", ())]
        self.calls += sum(len(message.get("tool_calls") or ()) for message in messages)
        blocks = [*body.get("output", ()), *body.get("content", ())]
        self.calls += sum(block.get("type") in ("function_call", "tool_use") for block in blocks)
        for holder in (body, *messages):
            self.problems.update(problem["kind"] for problem in holder.get("problems", ()))

    def summary(self, before: int) -> str:
        """A one-line summary of the run."""
        seconds = monotonic() - self._began
        told = [f"{self.answered} answered", f"{self.failed} failed"]
        if before:
            told.append(f"{before} were already answered")
        told += [f"{self.calls} calls", f"{self.tokens} tokens in {seconds:.0f} s"]
        if self.problems:
            told.append("problems: " + ", ".join(f"{kind} {count}" for kind, count in self.problems.most_common()))
        return "; ".join(told)


@contextmanager
def _progress(path: str, done: int) -> Iterator[Callable[[], object]]:
    """Return a function to call after each answer; on a terminal it moves a bar with rate and remaining time, on stderr."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    total = None
    if path != "-":
        with open(path, "rb") as file:
            total = sum(1 for line in file if line.strip())
    columns = (
        TextColumn("Answering"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, completed=done, rate="")
        began, answered = monotonic(), 0

        def advance() -> None:
            nonlocal answered
            answered += 1
            bar.update(task, advance=1, rate=f"{answered / (monotonic() - began):.1f}/s")

        yield advance
