"""Threads for work that takes as long as a generation. A thread without work waits a while for the next work.

A new thread for each request costs about as much as rendering its prompt. Nobody waits for these threads when the program ends.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable

_IDLE_SECONDS = 5.0


class _Worker:
    """A thread, and its next work."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._given = allocate_lock()
        self._given.acquire()

    def give(self, work: Callable[[], object]) -> None:
        """Give `work` to an idle worker."""
        self._work = work
        self._given.release()

    def run(self) -> None:
        while True:
            work, self._work = self._work, _nothing
            work()
            del work  # its data may be large, and the next work may come late
            _idle.append(self)
            if self._given.acquire(timeout=_IDLE_SECONDS):
                continue
            try:
                _idle.remove(self)
            except ValueError:
                self._given.acquire()  # another took this one at the last moment
            else:
                return


_idle: list[_Worker] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # threads do not survive a fork


def run_aside(work: Callable[[], object]) -> None:
    """Run `work`, which must not raise, in its own thread for as long as it takes.

    A `threading.Thread` would make the caller wait until the new thread runs.
    """
    try:
        worker = _idle.pop()
    except IndexError:
        start_new_thread(_Worker(work).run, ())
    else:
        worker.give(work)


def _nothing() -> None:
    pass
