"""What tests of the command line share."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Ran(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str


def lines(text: str) -> list[Any]:
    """The JSON objects of a text that has one a line."""
    return [json.loads(line) for line in text.splitlines()]
