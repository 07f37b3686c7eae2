"""The conformance vectors, where they are: they lie beside the project and are no part of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "conformance"


def read(name: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file of the vectors; the test is skipped where there is none."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip("the vectors are not here")
    with path.open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())
