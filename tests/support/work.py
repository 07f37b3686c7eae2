"""Work that can be counted the same way on every machine: the calls of functions, Python's and C's."""

from __future__ import annotations

import gc
from collections.abc import Callable
from cProfile import Profile
from typing import TypeAlias

Work: TypeAlias = Callable[[], object]
GROWTH = 2.3
"""How much more work twice as much may be, what does not depend on the size taken away."""


def more_than_linear(once: Work, twice: Work, four_times: Work, *, slack: int) -> tuple[int, int, int] | None:
    """The calls of work on things of three sizes if they grow faster than the size, else None.

    From Python 3.12 on a profile counts the calls of all threads, so bad figures are taken again.
    """
    once()  # what is made when it is first used is not counted
    for _ in range(3):
        first, second, third = map(_calls, (once, twice, four_times))
        if third - second <= GROWTH * (second - first) + slack:
            return None
    return first, second, third


def _calls(work: Work) -> int:
    """How many functions `work` calls. What earlier tests left is not collected meanwhile, because that calls some, too."""
    profile = Profile()
    gc.disable()
    try:
        with profile:
            work()
    finally:
        gc.enable()
    return sum(entry.callcount for entry in profile.getstats())
