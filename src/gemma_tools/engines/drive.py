"""Runs blocking code from asyncio: one thread per generation, so a slow model never blocks the event loop.

Engines are blocking generators, and so is everything that uses them. An async interface passes the whole generator to `adrive`,
which runs it in its own thread (never in asyncio's small shared pool, which a few long answers would fill) and passes the items
on. Leaving the async iterator early, or cancelling the task that reads it, cancels the generation.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from threading import Event
from time import monotonic
from typing import Generic, TypeVar

from gemma_tools.engines.base import Cancellation
from gemma_tools.engines.threads import run_aside

T = TypeVar("T")


_BEHIND_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class _End:
    """Nothing more comes; why, where something went wrong."""

    error: BaseException | None = None


class _Handover(Generic[T]):
    """Takes items from a thread to a reader on an event loop, in the order in which they were put."""

    def __init__(self) -> None:
        self.left = False
        self._loop = asyncio.get_running_loop()
        self._items: deque[T] = deque()
        self._end: _End | None = None
        self._filled = asyncio.Event()
        self._waiting = False
        self._noticed = Event()
        self._since = 0.0

    def put(self, item: T) -> None:
        """By the thread: hand an item over.

        Hundreds of threads that write would keep the loop from the interpreter's lock. So one that the loop has not noticed
        for a while waits for it. It does not wait for a slow reader.
        """
        self._items.append(item)
        if len(self._items) == 1:  # else the reader has not seen the one before, and need not be told
            self._tell()
        elif not self._noticed.is_set() and monotonic() - self._since > _BEHIND_SECONDS and not self.left:
            self._noticed.wait(1)

    def finish(self, error: BaseException | None = None) -> None:
        """By the thread: nothing more comes."""
        self._end = _End(error)
        self._tell()

    def call(self, function: Callable[[], object]) -> None:
        """By the thread: have the loop call `function`."""
        with suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(function)

    async def take(self) -> list[T]:
        """By the reader: all that is there, once there is something; nothing at the end. Raises what ended the thread."""
        while True:
            self._filled.clear()
            end = self._end  # looked at first: once it is there, no item comes after those that are there
            if taken := [self._items.popleft() for _ in range(len(self._items))]:
                self._noticed.set()
                return taken
            if end is not None:
                if end.error is not None:
                    raise end.error
                return []
            self._waiting = True
            try:
                await self._filled.wait()
            finally:
                self._waiting = False

    def leave(self) -> None:
        """By the reader: take nothing more."""
        self.left = True
        self._noticed.set()

    def _tell(self) -> None:
        if not self.left:
            self._noticed.clear()
            self._since = monotonic()
            self.call(self._told)

    def _told(self) -> None:
        self._filled.set()
        if not self._waiting:
            self._noticed.set()


async def abatches(
    start: Callable[[Cancellation], Iterator[T]],
    cancel: Cancellation | None = None,
    *,
    ended: Callable[[], object] | None = None,
) -> AsyncGenerator[list[T], None]:
    """Yield the items of `start(cancel)`, which runs in a thread of its own; its exceptions are raised here.

    Items that are there come at once: the less often the event loop gets to them, the more. The thread runs ahead of a slow
    reader: what waits is never more than one answer. When the reader leaves, `cancel` is cancelled and the iterator closed
    (by its own thread, which nobody waits for). `ended` is called in the event loop when that thread has done all its work,
    which may be after the reader left.
    """
    cancel = cancel or Cancellation()
    items = _Handover[T]()

    def work() -> None:
        try:
            source = start(cancel)
            try:
                for item in source:
                    items.put(item)
                    if items.left:
                        break
            finally:
                if close := getattr(source, "close", None):
                    close()
            items.finish()
        except BaseException as error:
            items.finish(error)
        finally:
            if ended:
                items.call(ended)

    context = contextvars.copy_context()
    run_aside(partial(context.run, work))
    try:
        while taken := await items.take():
            yield taken
    finally:
        items.leave()
        cancel.cancel()


async def adrive(start: Callable[[Cancellation], Iterator[T]], cancel: Cancellation | None = None) -> AsyncGenerator[T, None]:
    """The items of `abatches`, one by one."""
    async with aclosing(abatches(start, cancel)) as batches:
        async for batch in batches:
            for item in batch:
                yield item


async def acall(function: Callable[[Cancellation], T], cancel: Cancellation | None = None) -> T:
    """The result of `function(cancel)`, run in its own thread; cancelling the waiting task cancels `cancel`."""

    def once(cancel: Cancellation) -> Iterator[T]:
        yield function(cancel)

    async with aclosing(adrive(once, cancel)) as items:
        return await anext(items)
