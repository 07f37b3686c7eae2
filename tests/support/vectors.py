"""The conformance vectors, where they are: they lie beside the project and are no part of it.

`GEMMA_TOOLS_SHARED` names another folder for what lies beside the project; one that is not there hides it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(os.environ.get("GEMMA_TOOLS_SHARED") or Path(__file__).resolve().parents[3] / "shared")


def read(pattern: str) -> Iterator[dict[str, Any]]:
    """The objects of the JSON Lines files of the vectors that fit `pattern`; the test is skipped where there are none."""
    paths = sorted((SHARED / "conformance").glob(pattern))
    if not paths:
        pytest.skip("the vectors are not here")
    for path in paths:
        with path.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())
