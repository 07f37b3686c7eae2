"""Use blocking code from asyncio: one thread a generation, so a slow model never holds the event loop.

Engines are blocking generators, and so is all that stands on them. An async face hands the whole generator to `adrive`,
which runs it in a thread of its own (never in asyncio's small shared pool, which a few long answers would fill) and passes
the items on. Leaving the async iterator early, or cancelling the task that reads it, cancels the generation.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from gemma_tools.engines.base import Cancellation
from gemma_tools.engines.threads import run_aside

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BaseException


_END = object()


async def adrive(
    start: Callable[[Cancellation], Iterator[T]],
    cancel: Cancellation | None = None,
    *,
    ended: Callable[[], object] | None = None,
) -> AsyncGenerator[T, None]:
    """Yield the items of `start(cancel)`, which runs in a thread of its own; its exceptions are raised here.

    The thread runs ahead of a slow reader: what waits is never more than one answer. When the reader leaves, `cancel` is
    cancelled and the iterator closed (by its own thread, which nobody waits for). `ended` is called in the event loop when
    that thread has done all its work, which may be after the reader left.
    """
    cancel = cancel or Cancellation()
    loop = asyncio.get_running_loop()
    items: deque[object] = deque()
    filled = asyncio.Event()
    left = False

    def put(item: object) -> None:
        items.append(item)
        if len(items) == 1 and not left:  # else the reader has not seen the one before, and need not be told
            loop.call_soon_threadsafe(filled.set)

    def work() -> None:
        try:
            source = start(cancel)
            try:
                for item in source:
                    put(item)
                    if left:
                        break
            finally:
                if close := getattr(source, "close", None):
                    close()
            put(_END)
        except BaseException as error:
            put(_Failure(error))
        finally:
            if ended:
                with suppress(RuntimeError):  # the loop was closed meanwhile
                    loop.call_soon_threadsafe(ended)

    context = contextvars.copy_context()
    run_aside(partial(context.run, work))
    try:
        while True:
            filled.clear()
            while items:
                item = items.popleft()
                if item is _END:
                    return
                if isinstance(item, _Failure):
                    raise item.error
                yield item  # type: ignore[misc]  # all others come from `start`
            await filled.wait()
    finally:
        left = True
        cancel.cancel()


async def acall(function: Callable[[Cancellation], T], cancel: Cancellation | None = None) -> T:
    """The result of `function(cancel)`, run in a thread of its own; cancelling the waiting task cancels `cancel`."""

    def once(cancel: Cancellation) -> Iterator[T]:
        yield function(cancel)

    async with aclosing(adrive(once, cancel)) as items:
        return await anext(items)
