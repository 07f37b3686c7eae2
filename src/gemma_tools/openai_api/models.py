"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from gemma_tools.openai_api.wire import Cards

_STARTED = int(time.time())


def listing(names: Iterable[str], more: Cards) -> dict[str, Any]:
    """The list object with all models; see `card`."""
    return {"object": "list", "data": [card(name, more) for name in names]}


def card(name: str, more: Cards) -> dict[str, Any]:
    """One model, with the fields in `more`. `created`, in Unix seconds, is when this process began to serve it."""
    return {"id": name, "object": "model", "created": _STARTED, "owned_by": "gemma-tools", **more.get(name, {})}
