"""Use blocking code from asyncio: one thread a generation, so a slow model never holds the event loop.

Engines are blocking generators, and so is all that stands on them. An async face hands the whole generator to `adrive`,
which runs it in a thread of its own (never in asyncio's small shared pool, which a few long answers would fill) and passes
the items on. Leaving the async iterator early, or cancelling the task that reads it, cancels the generation.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from threading import Thread
from typing import TypeVar

from gemma_tools.engines.base import Cancellation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BaseException


_END = object()


async def adrive(start: Callable[[Cancellation], Iterator[T]], cancel: Cancellation | None = None) -> AsyncGenerator[T, None]:
    """Yield the items of `start(cancel)`, which runs in a thread of its own; its exceptions are raised here.

    The thread runs ahead of a slow reader: what waits is never more than one answer. When the reader leaves, `cancel` is
    cancelled and the iterator closed (by its own thread, which nobody waits for).
    """
    cancel = cancel or Cancellation()
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[object] = asyncio.Queue()
    left = False

    def put(item: object) -> None:
        if not left:
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def work() -> None:
        try:
            items = start(cancel)
            try:
                for item in items:
                    put(item)
                    if left:
                        break
            finally:
                if close := getattr(items, "close", None):
                    close()
            put(_END)
        except BaseException as error:
            put(_Failure(error))

    context = contextvars.copy_context()
    Thread(target=context.run, args=(work,), name="gemma_tools-generate", daemon=True).start()
    try:
        while (item := await queue.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item  # type: ignore[misc]  # the queue holds items, _END and _Failure only
    finally:
        left = True
        cancel.cancel()


async def acall(function: Callable[[Cancellation], T], cancel: Cancellation | None = None) -> T:
    """The result of `function(cancel)`, run in a thread of its own; cancelling the waiting task cancels `cancel`."""

    def once(cancel: Cancellation) -> Iterator[T]:
        yield function(cancel)

    async with aclosing(adrive(once, cancel)) as items:
        return await anext(items)
