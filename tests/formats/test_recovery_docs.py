"""The page on recovery names every kind of problem that a parser reports, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import gemma_tools

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(gemma_tools.__file__).parent


def test_the_page_has_a_row_for_every_kind():
    code = "".join(path.read_text("utf-8") for path in SOURCES.glob("formats/**/*.py"))
    calls = re.findall(r"\._?(?:repair|problem|emit_problem)\(\s*(?:[\w.() -]+,\s*)?\"([a-z_]+)\"", code)
    page = (ROOT / "docs" / "recovery.md").read_text("utf-8")
    assert calls
    assert {kind for kind in calls if f"`{kind}`" not in page} == set()


def test_every_kind_in_the_tables_is_in_the_code():
    code = "".join(path.read_text("utf-8") for path in SOURCES.glob("formats/**/*.py"))
    page = (ROOT / "docs" / "recovery.md").read_text("utf-8")
    rows = [line.replace("\\|", "").split("|") for line in page.splitlines() if line.startswith("|")]
    kinds = {kind for row in rows if len(row) == 6 for kind in re.findall(r"`([a-z_]+)`", row[3])}
    assert len(kinds) > 40
    assert {kind for kind in kinds if f'"{kind}"' not in code} == set()
