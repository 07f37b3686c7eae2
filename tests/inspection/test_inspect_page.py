"""What docs/inspect.md shows runs, and names what there is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from gemma_tools.inspection import Inspection, Output
from gemma_tools.inspection.spans import Kind

PAGE = (Path(__file__).parents[2] / "docs" / "inspect.md").read_text(encoding="utf-8")


def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("xllamacpp")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "inspect.md", "exec", dont_inherit=True), names)
    assert 'recovery="eager" reads a call of tide here.' in capsys.readouterr().out
    assert str(names["page"]).startswith("<!doctype html>")


def test_the_tables_name_attributes_and_kinds() -> None:
    named = {name for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(.*?)`", row)}
    known = (
        {field.name for field in fields(Inspection)} | {f"output.{field.name}" for field in fields(Output)} | {*get_args(Kind)}
    )
    assert named <= known
    assert {*get_args(Kind)} <= named
