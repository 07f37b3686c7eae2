"""docs/scale.md shows the files of examples/scale as they are, which `nox -s scale` runs."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for path in (ROOT / "examples" / "scale").iterdir() if path.is_file())
LANGUAGES = {".py": "python", ".sh": "sh"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_page_shows_the_file(file: Path) -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert f"```{LANGUAGES[file.suffix]}\n{file.read_text(encoding='utf-8')}```\n" in page
