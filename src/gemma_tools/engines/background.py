"""One event loop in its own thread, for the engines that use another package's client.

Such a client can be cancelled at any point only if it is asynchronous. So these engines run their clients on this loop, and
`Tasks` gives each engine blocking access to it. One loop serves the whole process; the first task starts it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread
from typing import Any, TypeVar

from gemma_tools.engines.remote import Bounds

T = TypeVar("T")

_lock = Lock()
_running: asyncio.AbstractEventLoop | None = None
_thread: Thread | None = None


def _loop() -> asyncio.AbstractEventLoop:
    global _running, _thread
    with _lock:
        if _running is None:
            _running = asyncio.new_event_loop()
            _thread = Thread(target=_running.run_forever, name="gemma_tools-io", daemon=True)
            _thread.start()
        return _running


def _forget() -> None:
    global _running, _thread, _lock
    _running, _thread, _lock = None, None, Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # threads do not survive a fork


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BaseException


_END = object()


class Tasks:
    """The tasks of one engine on the loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def stream(self, source: Callable[[], AsyncGenerator[T, None]], bounds: Bounds) -> Generator[T, None, None]:
        """Yield the items of `source()`. Closing this generator, or `bounds`, cancels the source wherever it waits.

        Raises:
            TimeoutError: there was silence for longer than `bounds` allow.
        """
        queue: SimpleQueue[Any] = SimpleQueue()

        async def pump() -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                async with aclosing(source()) as items:
                    async for item in items:
                        queue.put(item)
            finally:
                self._tasks.discard(task)

        def done(future: Future[None]) -> None:
            error = None if future.cancelled() else future.exception()
            queue.put(_Failure(error) if error else _END)

        future = asyncio.run_coroutine_threadsafe(pump(), _loop())
        future.add_done_callback(done)
        try:
            with bounds.stop.calling(future.cancel):
                while (item := queue.get(timeout=bounds.seconds)) is not _END:
                    if isinstance(item, _Failure):
                        raise item.error
                    yield item
        except Empty:
            raise TimeoutError from None
        finally:
            future.cancel()

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait until everything that was cancelled has released its connections, then run `last`."""

        async def finish() -> None:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await last()

        aside(lambda: asyncio.run_coroutine_threadsafe(finish(), _loop()).result())


def aside(function: Callable[[], None]) -> None:
    """Call `function`, which may wait for the loop; in its own thread if this is the loop's thread.

    The garbage collector runs finalizers in any thread.
    """
    if current_thread() is _thread:
        Thread(target=function, name="gemma_tools-close").start()
    else:
        function()
