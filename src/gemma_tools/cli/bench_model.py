"""`gemma-tools bench model` and `bench report`: evaluate how well a model calls tools, and show the results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemma_tools.cli.files import write_json
from gemma_tools.cli.options import Adapters, EngineName, Projector, Url, parse_options
from gemma_tools.errors import EngineError, InvalidRequest

if TYPE_CHECKING:
    from gemma_tools.bench import Evaluation, Result
    from gemma_tools.bench.asking import WayName

Json = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")]
Html = Annotated[Path | None, typer.Option(help="Write a page with charts and every wrong answer to this file.")]


def model(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model to evaluate.")],
    suite: Annotated[str, typer.Option(help="bfcl, own, or a JSONL file of cases.")] = "own",
    limit: Annotated[int | None, typer.Option(help="The maximum number of cases, evenly over the categories.", min=1)] = None,
    category: Annotated[list[str] | None, typer.Option(help="Only this category; can be repeated.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also with a call required if one is expected.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Also with all tools strict.")] = False,
    thinking: Annotated[bool, typer.Option("--thinking", help="Also with thinking.")] = False,
    recovery: Annotated[bool, typer.Option("--recovery", help="Also with the answers read at each recovery level.")] = False,
    against: Annotated[str | None, typer.Option(metavar="URL", help="Also ask an OpenAI-compatible chat endpoint.")] = None,
    against_model: Annotated[str | None, typer.Option(help="Its model; by default the first that it lists.")] = None,
    against_key: Annotated[str | None, typer.Option(envvar="AGAINST_API_KEY", help="Its API key, if it requires one.")] = None,
    engine: EngineName = None,
    url: Url = None,
    mmproj: Projector = None,
    lora: Adapters = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="NAME=VALUE", help="A setting of the model or its format; can be repeated."),
    ] = None,
    temperature: Annotated[float, typer.Option(help="The sampling temperature; 0 is greedy.", min=0, max=2)] = 0.0,
    repeat: Annotated[int, typer.Option(help="How often to ask each question; needs a temperature.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="The seed of the first repeat; each next repeat has the next seed.")] = 0,
    max_tokens: Annotated[int, typer.Option(help="The maximum number of tokens in an answer.", min=1)] = 1024,
    concurrency: Annotated[int, typer.Option(help="How many cases run at the same time.", min=1)] = 1,
    results: Annotated[Path | None, typer.Option(help="A JSONL file for the results: a stopped run continues with it.")] = None,
    html: Html = None,
    json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Ask a model questions about tools, in several ways, and count the right answers.

    The plain way is always used; each option adds another way. The suite bfcl needs only the data of the package bfcl-eval:
    pip install --no-deps bfcl-eval.
    """
    from gemma_tools.backends import create_model
    from gemma_tools.bench import Endpoint, evaluate, load_suite, sample
    from gemma_tools.engines.adapters import engine_options

    check_outputs(html, json, markdown)
    if against_model and not against:
        raise InvalidRequest("names the model of an endpoint: also give --against URL", param="--against-model")
    cases = load_suite(suite)
    if category:
        known = {case.category for case in cases}
        for wanted in category:
            if wanted not in known:
                raise InvalidRequest(f"{wanted!r} is not one of {', '.join(sorted(known))}", param="--category")
        cases = tuple(case for case in cases if case.category in category)
    cases = cases if limit is None else sample(cases, limit)
    given: dict[WayName, bool] = {"force": force, "strict": strict, "thinking": thinking, "recovery": recovery}
    ways = [way for way, chosen in given.items() if chosen]
    endpoint = Endpoint(against, against_model, against_key) if against else None
    asked = len(ways) - recovery + 1
    total = len(cases) * repeat * (asked * (2 if endpoint else 1) + 3 * recovery)
    options = engine_options(mmproj, lora or ()) | parse_options(option)
    with (
        create_model(name, engine=engine, url=url, **options) as backend,
        _telling_how_to_go_on(results),
        _progress(total) as advance,
    ):
        evaluation = evaluate(
            backend,
            cases,
            ways=ways,
            against=endpoint,
            temperature=temperature,
            repeat=repeat,
            seed=seed,
            max_tokens=max_tokens,
            concurrency=concurrency,
            results=results,
            progress=advance,
        )
    show([evaluation], html=html, json=json, markdown=markdown)
    if not all(result.asked for result in evaluation.results):
        raise typer.Exit(1)


def report(
    files: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Files from `bench model --results`.")],
    html: Html = None,
    json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Show results again, for several models side by side. No model runs."""
    from gemma_tools.bench import Evaluation

    check_outputs(html, json, markdown)
    show([Evaluation.load(file) for file in files], html=html, json=json, markdown=markdown)


def check_outputs(html: Path | None, json: bool, markdown: bool) -> None:
    """Refuse output that is impossible, before a model runs for hours.

    Raises:
        InvalidRequest: JSON and Markdown are wanted, or the page cannot be written.
    """
    if json and markdown:
        raise InvalidRequest("cannot be used with --json: both print to the standard output", param="--markdown")
    if html is not None and (html.is_dir() or not html.absolute().parent.is_dir()):
        raise InvalidRequest(f"{html} is not a file in an existing folder", param="--html")


def show(evaluations: Sequence[Evaluation], *, html: Path | None, json: bool, markdown: bool) -> None:
    """Print the results, and write the page."""
    from gemma_tools.bench import as_html, as_json, as_markdown
    from gemma_tools.display import visible

    if json:
        found = [as_json(evaluation) for evaluation in evaluations]
        write_json(found[0] if len(found) == 1 else found, indented=True)
    elif markdown:
        print(as_markdown(evaluations), end="")
    else:
        _print_tables(evaluations)
    for evaluation in evaluations:
        failed = [result.said.error for result in evaluation.results if not result.asked]
        if failed:
            message = f"{len(failed)} of {len(evaluation.results)} questions could not be asked, first: {failed[0]}"
            print(visible(f"gemma-tools: {evaluation.model}: {' '.join(message.split())}"), file=sys.stderr)
    if html is not None:
        html.write_text(as_html(evaluations), encoding="utf-8", errors="backslashreplace")


def _print_tables(evaluations: Sequence[Evaluation]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from gemma_tools.bench.report import tables
    from gemma_tools.display import visible

    # Output that is not a terminal has no width: tables are then as wide as they need.
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 10_000)
    for heads, *rows in tables(evaluations):
        table = Table(box=box.SIMPLE_HEAD)
        for index, head in enumerate(heads):
            table.add_column(visible(head), justify="left" if index == 0 else "right")
        for row in rows:
            table.add_row(*map(visible, row))
        console.print(table)


@contextmanager
def _telling_how_to_go_on(results: Path | None) -> Iterator[None]:
    """If the run is stopped or fails, tell on stderr how to continue it."""
    try:
        yield
    except (KeyboardInterrupt, EngineError):
        how = f"the same command continues with {results}" if results else "with --results FILE it could be continued"
        print(f"gemma-tools: the run was not finished: {how}", file=sys.stderr)
        raise


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Result], object] | None]:
    """On a terminal, return a function to call with each result: it moves a bar on stderr that shows the score so far."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("Asking"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[score]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, score="")
        right: dict[str, list[bool]] = {}

        def advance(result: Result) -> None:
            right.setdefault(result.way, []).append(result.right)
            score = ", ".join(f"{way} {sum(found) / len(found):.0%}" for way, found in right.items())
            bar.update(task, advance=1, score=score)

        yield advance
