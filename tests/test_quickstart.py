"""The quickstart notebook runs, and shows what it gave. (The docs session of nox runs it in a real kernel.)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NOTEBOOK = json.loads((Path(__file__).parents[1] / "docs" / "quickstart.ipynb").read_text(encoding="utf-8"))
CELLS = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_the_cells_run() -> None:
    names: dict[str, Any] = {}
    for cell in CELLS:
        exec(compile("".join(cell["source"]), "quickstart.ipynb", "exec", dont_inherit=True), names)
    assert names["completion"].choices[0].finish_reason == "tool_calls"
    assert (names["message"].reasoning_content, names["message"].content) == ("The user says hello.", "Hello!")


def test_the_outputs_are_kept() -> None:
    *shown, last = CELLS
    assert all(cell["outputs"] for cell in shown)
    assert "".join(last["source"]) == "model.close()"
