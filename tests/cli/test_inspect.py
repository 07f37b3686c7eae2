"""`gemma-tools inspect`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.cli import Ran
from support.serving import CALL

WEATHER = Path(__file__).parents[2] / "examples" / "weather.json"
REQUEST: dict[str, Any] = json.loads(WEATHER.read_text(encoding="utf-8"))


def test_a_request_alone(run: Callable[..., Ran]) -> None:
    ran = run("inspect", WEATHER)
    assert (ran.status, ran.err) == (0, "")
    for words in ("format functiongemma", "declaration of", "get_weather", "the model's turn", "its schema"):
        assert words in ran.out
    assert "Output" not in ran.out


def test_an_output(run: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text("Well. " + CALL, encoding="utf-8")
    ran = run("inspect", WEATHER, "--output", tmp_path / "raw.txt")
    assert ran.status == 0
    assert "call get_weather" in ran.out
    assert "schema (used)" in ran.out


def test_a_page(run: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text(CALL, encoding="utf-8")
    page = tmp_path / "page.html"
    ran = run("inspect", WEATHER, "--output", tmp_path / "raw.txt", "--html", page)
    assert (ran.status, ran.out) == (0, "")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_formats_and_options(run: Callable[..., Ran]) -> None:
    given = {**REQUEST, "model": "gemma4:31b"}
    ran = run("inspect", "-o", "recovery=eager", "-o", "enable_thinking=true", stdin=json.dumps(given))
    assert "recovery=eager, variant=large" in " ".join(ran.out.split())
    assert "<|think|>" in ran.out
    assert "format gemma3" in run("inspect", "--format", "gemma3", WEATHER).out


def test_the_model_is_asked(run: Callable[..., Ran]) -> None:
    pytest.importorskip("xllamacpp")
    ran = run("inspect", "--run", WEATHER)
    assert ran.status == 0
    assert "Output" in ran.out
    assert "cached" in ran.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run", "--output", "x"], "not both"),
        (["-o", "add_generation_prompt=false"], "add_generation_prompt"),
        (["--model", "gpt-2"], "gpt-2"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(run: Callable[..., Ran], arguments: list[str], words: str) -> None:
    ran = run("inspect", WEATHER, *arguments)
    assert ran.status == 1
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1
