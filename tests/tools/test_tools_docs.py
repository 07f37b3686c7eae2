"""What docs/tools.md shows works as it is written there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tools.md"


def test_the_page_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("xllamacpp")
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {"__name__": "tools_page"}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    shown = capsys.readouterr().out
    assert 'assistant → get_weather: {"city": "Lisbon"}\ntool ← get_weather: sunny in Lisbon\n' in shown
    assert '[get_weather {"city": "Lisbon"}]\n' in shown
    assert '"stdout":"sample_script.py got test on Python' in shown
