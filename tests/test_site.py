"""The documentation site has every page, and the reference every public module."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gemma_tools

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def _pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from _pages(item)


def test_every_page_is_in_the_navigation() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} | {"quickstart.md"}
    assert sorted(_pages(nav)) == sorted(pages)


def test_every_public_name_is_in_the_reference() -> None:
    listed = {name for path in (DOCS / "reference").glob("*.md") for name in re.findall(r"^::: (\S+)$", path.read_text(), re.M)}
    for name in set(gemma_tools.__all__) - {"__version__"}:
        assert getattr(gemma_tools, name).__module__ in listed, name
