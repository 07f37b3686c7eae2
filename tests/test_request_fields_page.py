"""docs/request-fields.md says what `FIELD_POLICY` says."""

from __future__ import annotations

import re
from pathlib import Path

from gemma_tools.policy import FIELD_POLICY

PAGE = Path(__file__).parents[1] / "docs" / "request-fields.md"
HEADINGS = {
    "honoured": "Honoured",
    "accepted": "Accepted without effect",
    "engine": "Where the engine can",
    "left out": "Left out",
    "refused": "Refused",
}


def test_the_page_is_the_table() -> None:
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
    for treatment, heading in HEADINGS.items():
        rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", sections[heading], re.MULTILINE)
        assert rows == [(name, policy.note) for name, policy in FIELD_POLICY.items() if policy.treatment == treatment]
