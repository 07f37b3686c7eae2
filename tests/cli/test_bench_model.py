"""`gemma-tools bench model` and `bench report`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_tools import FunctionGemmaModel
from gemma_tools.bench import Evaluation, load_suite, write_cases
from gemma_tools.engines.base import Cancellation, Generation, GenerationRequest, Pieces
from gemma_tools.errors import EngineRejected, EngineUnavailable
from support.cases import ASKS, TALKS
from support.chat import OSLO, PARIS
from support.cli import Ran
from support.serving import EchoEngine, named, scripted


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    write_cases(tmp_path / "cases.jsonl", [ASKS, TALKS])
    return tmp_path / "cases.jsonl"


def test_a_table_is_printed(run: Callable[..., Ran], suite: Path) -> None:
    ran = run("bench", "model", named(scripted(PARIS, "No.")), "--suite", suite, "--recovery")
    assert (ran.status, ran.err) == (0, "")
    ways = [line.split() for line in ran.out.splitlines() if line.strip().startswith(("plain", "recovery"))]
    assert ways[0][:2] == ["plain", "50%"]
    assert [row[:3] for row in ways[1:]] == [["recovery", level, "50%"] for level in ("strict", "schema", "eager")]
    assert max(map(len, ran.out.splitlines())) < 160


def test_the_figures_as_json_and_the_page(run: Callable[..., Ran], suite: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    ran = run("bench", "model", named(scripted(OSLO, "hi")), "--suite", suite, "--json", "--html", page)
    found = json.loads(ran.out)
    assert (ran.status, found["ways"]["plain"]["right"]["count"]) == (0, 1)
    assert "expected is &#x27;Paris&#x27;" in page.read_text(encoding="utf-8")


def test_a_stopped_run_goes_on(run: Callable[..., Ran], suite: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    model = scripted(PARIS)
    ran = run("bench", "model", named(model), "--suite", suite, "--results", results)
    assert ran.status == 1
    assert "1 of 2 questions could not be asked, first: the script has no more answers" in ran.err
    model.engine = scripted("hi").engine
    ran = run("bench", "model", named(model), "--suite", suite, "--results", results, "--markdown")
    assert (ran.status, ran.err) == (0, "")
    assert "| plain | 100% |" in ran.out


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(("reason", "status"), [(KeyboardInterrupt(), 130), (EngineUnavailable("gone"), 1)])
def test_an_unfinished_run_tells_how_to_continue(
    run: Callable[..., Ran], suite: Path, tmp_path: Path, kept: bool, reason: BaseException, status: int
) -> None:
    file = tmp_path / "results.jsonl"
    more = ("--results", file) if kept else ()
    ran = run("bench", "model", named(FunctionGemmaModel("m", engine=Stopped(reason))), "--suite", suite, *more)
    how = f"the same command continues with {file}" if kept else "with --results FILE it could be continued"
    assert (ran.status, ran.out) == (status, "")
    assert ran.err.splitlines()[0] == f"gemma-tools: the run was not finished: {how}"
    assert not kept or [result.case.id for result in Evaluation.load(file).results] == ["asks"]


class Stopped(EchoEngine):
    """Answers once, and is stopped in the next answer."""

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Answer, or stop."""
        if "Hello" in request.prompt.text:
            raise self.reason
        yield PARIS
        return Generation()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--html", "{tmp}/nowhere/page.html"), "--html: {tmp}/nowhere/page.html is not a file in an existing folder"),
        (("--html", "{tmp}"), "--html: {tmp} is not a file in an existing folder"),
        (("--json", "--markdown"), "--markdown: cannot be used with --json: both print to the standard output"),
        (("--against-model", "big"), "--against-model: names the model of an endpoint: also give --against URL"),
    ],
)
def test_what_would_fail_at_the_end_is_refused_at_the_beginning(
    run: Callable[..., Ran], suite: Path, tmp_path: Path, options: tuple[str, ...], fault: str
) -> None:
    model = scripted(PARIS, "hi")
    ran = run("bench", "model", named(model), "--suite", suite, *(option.format(tmp=tmp_path) for option in options))
    assert (ran.status, ran.out, ran.err) == (1, "", f"gemma-tools: {fault.format(tmp=tmp_path)}\n")
    assert model.engine.asked == []  # type: ignore[attr-defined]


def test_no_text_of_a_case_or_an_error_reaches_the_terminal_as_a_command(run: Callable[..., Ran], tmp_path: Path) -> None:
    write_cases(tmp_path / "cases.jsonl", [replace(ASKS, category="a\x1b[31m[bold]b")])
    broken = scripted(EngineRejected("no\x1b[2J\nway", status=500))
    ran = run("bench", "model", named(broken), "--suite", tmp_path / "cases.jsonl")
    assert "\x1b" not in ran.out + ran.err
    assert "a␛[31m[bold]b" in ran.out
    assert ran.err.endswith("first: no␛[2J way\n")


def test_results_are_shown_again_and_side_by_side(run: Callable[..., Ran], suite: Path, tmp_path: Path) -> None:
    for name, answers in (("one", (PARIS, "hi")), ("two", (OSLO, "hi"))):
        run("bench", "model", named(scripted(*answers, model=name)), "--suite", suite, "--results", tmp_path / name)
    ran = run("bench", "report", tmp_path / "one", tmp_path / "two", "--markdown")
    assert "| one on scripted | plain | 100% |" in ran.out
    assert "| two on scripted | plain | 50% |" in ran.out
    both = json.loads(run("bench", "report", tmp_path / "one", tmp_path / "two", "--json").out)
    assert [one["model"] for one in both] == ["one on scripted", "two on scripted"]


def test_a_part_of_a_suite(run: Callable[..., Ran], suite: Path) -> None:
    ran = run("bench", "model", named(scripted("hi")), "--suite", suite, "--category", "none", "--json")
    assert list(json.loads(ran.out)["ways"]["plain"]["categories"]) == ["none"]
    ran = run("bench", "model", named(scripted(PARIS)), "--suite", suite, "--limit", 1, "--json")
    assert json.loads(ran.out)["ways"]["plain"]["right"]["of"] == 1
    ran = run("bench", "model", "tiny", "--suite", suite, "--category", "songs")
    assert (ran.status, ran.err) == (1, "gemma-tools: --category: 'songs' is not one of none, one\n")


def test_the_suite_that_ships_on_the_tiny_model(run: Callable[..., Ran]) -> None:
    count = len({case.category for case in load_suite("own")})
    ran = run("bench", "model", "tiny", "--limit", count, "-o", "recovery=eager", "--max-tokens", 60, "--json")
    assert (ran.status, ran.err) == (0, "")
    found = json.loads(ran.out)
    assert (found["model"], len(found["ways"]["plain"]["categories"])) == ("tiny on llama.cpp (recovery=eager)", count)
