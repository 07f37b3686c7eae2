"""The page on recovery describes every kind of problem that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from gemma_tools.formats.strategies import Strategy
from gemma_tools.reply import ProblemKind

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "recovery.md").read_text("utf-8")
KINDS = set(get_args(ProblemKind))


def words(text: str) -> set[str]:
    """What stands in backticks and looks like a kind."""
    return set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", text))


def test_every_kind_is_on_the_page() -> None:
    assert words(PAGE) >= KINDS


def test_every_kind_in_a_table_of_repairs_is_one() -> None:
    rows = [line.replace("\\|", "").split("|") for line in PAGE.splitlines() if line.startswith("|")]
    listed = set().union(*(words(row[3]) for row in rows if len(row) == 6))
    assert len(listed) > 40
    assert listed <= KINDS


def test_the_table_of_strategies_is_that_of_the_code() -> None:
    table = PAGE.split("| strategy | reads |")[1].split("\n\n")[0]
    strategies = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert set(strategies) == {name for part in get_args(Strategy) for name in get_args(part) or (part,)}
    assert set(strategies) - {"native"} <= KINDS


def test_kinds_are_in_order() -> None:
    assert list(get_args(ProblemKind)) == sorted(KINDS)
