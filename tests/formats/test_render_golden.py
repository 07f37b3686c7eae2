"""Whole requests and their exact prompts, one file each, named after what it shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gemma_tools.formats import get_format

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*/*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    prompt = get_format(path.parent.name, **case["format"]).render(case["messages"], case["tools"], **case["options"])
    assert prompt.text == case["prompt"]
    assert prompt.opens == case["opens"]
    assert list(prompt.warnings) == case["warnings"]


def test_there_are_golden_files() -> None:
    assert {path.parent.name for path in FILES} >= {"functiongemma", "gemma4"}
