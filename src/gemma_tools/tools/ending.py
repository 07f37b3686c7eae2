"""What ends a tool that is running: the cancellation of the request that it runs for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from gemma_tools.engines.base import Cancellation

_CURRENT: Final[ContextVar[Cancellation | None]] = ContextVar("gemma_tools_cancellation", default=None)


@contextmanager
def ended_by(cancel: Cancellation) -> Iterator[None]:
    """Tools that are run in this context end when `cancel` is cancelled, as far as they can be ended."""
    token = _CURRENT.set(cancel)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def cancellation() -> Cancellation:
    """What ends the tool that asks; one that never comes, where nobody can."""
    return _CURRENT.get() or Cancellation()
