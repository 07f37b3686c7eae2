"""`gemma-tools bench model` and `bench report`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gemma_tools.bench import load_suite, write_cases
from support.cases import ASKS, TALKS
from support.chat import OSLO, PARIS
from support.cli import Ran
from support.serving import named, scripted


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
    assert "1 of 2 questions could not be asked, first: the script has no more answers" in ran.err
    model.engine = scripted("hi").engine
    ran = run("bench", "model", named(model), "--suite", suite, "--results", results, "--markdown")
    assert (ran.status, ran.err) == (0, "")
    assert "| plain | 100% |" in ran.out


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
