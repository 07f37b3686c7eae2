"""What docs/evaluation.md shows is so: its Python runs, its case is one, and its words are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gemma_tools.bench import load_suite, read_cases
from gemma_tools.bench.asking import LEVELS, WAYS
from gemma_tools.bench.report import HEADS
from gemma_tools.bench.suites import BFCL_FILES

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_its_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block("python"), "evaluation.md", "exec", dont_inherit=True), {})
    share, *wrong = capsys.readouterr().out.splitlines()
    assert 0 < float(share) < 1
    assert wrong


def test_its_case_is_one(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text(block("json"), encoding="utf-8")
    [case] = read_cases(tmp_path / "cases.jsonl")
    assert case.calls[0].arguments == {"harbour": ["Brest"], "day": ["", "today"]}


def test_its_words_are_those_of_the_code() -> None:
    first_cells = set(re.findall(r"^\| ([^|]+?) \|", PAGE, re.MULTILINE))
    named = {name for cell in first_cells for name in cell.replace("`", "").split(", ")}
    assert {*HEADS} - {"model", "way"} <= named
    assert {*WAYS} - {"recovery"} | {f"recovery {level}" for level in LEVELS} <= named
    assert f"{len(load_suite('own'))} cases" in PAGE
    assert all(f"`{category}`" in PAGE for category in BFCL_FILES if not category.startswith("live_"))
