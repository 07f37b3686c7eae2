"""Ends a running tool: the cancellation of its request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from gemma_tools.engines.base import Cancellation

_CURRENT: Final[ContextVar[Cancellation | None]] = ContextVar("gemma_tools_cancellation", default=None)


@contextmanager
def ended_by(cancel: Cancellation) -> Iterator[None]:
    """Tools that run in this context end when `cancel` is cancelled, if they can be ended."""
    token = _CURRENT.set(cancel)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def cancellation() -> Cancellation:
    """The cancellation for the current tool; one that never happens, if there is none."""
    return _CURRENT.get() or Cancellation()


@contextmanager
def ended_if_left() -> Iterator[None]:
    """Tools that are run in this context also end when it is left by an exception, such as an interrupt or a cancelled task."""
    own = Cancellation()
    with cancellation().calling(own.cancel), ended_by(own):
        try:
            yield
        except BaseException:
            own.cancel()
            raise
