"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

_STARTED = int(time.time())


def listing(names: Iterable[str]) -> dict[str, Any]:
    """The list object with all models."""
    return {"object": "list", "data": [card(name) for name in names]}


def card(name: str) -> dict[str, Any]:
    """One model. `created`, in Unix seconds, is when this process began to serve it."""
    return {"id": name, "object": "model", "created": _STARTED, "owned_by": "gemma-tools"}
