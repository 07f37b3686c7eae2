"""One event loop in a thread of its own, for the engines that speak HTTP.

Asynchronous clients can be cancelled at any point, while they connect, wait for the first byte or read, and a blocking
socket cannot. So the HTTP engines run their clients on this loop, and `Tasks` gives each engine blocking access to it. One
loop serves the whole process; it is started by the first task.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import CancelledError, Future
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from typing import Any, TypeVar

from gemma_tools.engines.base import Cancellation
from gemma_tools.errors import EngineUnavailable

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
    """The work of one engine on the loop. `close` stops all of it; after that, new work is refused."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the coroutine `work()`; blocks until it is there.

        Raises:
            EngineUnavailable: the engine is closed, or was closed meanwhile.
        """
        future = self._submit(work)
        try:
            return future.result()
        except CancelledError:
            raise _closed() from None
        finally:
            future.cancel()

    def stream(
        self, source: Callable[[], AsyncGenerator[T, None]], cancel: Cancellation | None = None
    ) -> Generator[T, None, None]:
        """Yield the items of `source()`. Closing this generator, or `cancel`, cancels the source wherever it waits.

        Raises:
            EngineUnavailable: the engine is closed, or was closed meanwhile.
        """
        queue: SimpleQueue[Any] = SimpleQueue()

        async def pump() -> None:
            async with aclosing(source()) as items:
                async for item in items:
                    queue.put(item)

        def done(future: Future[None]) -> None:
            error = _closed() if future.cancelled() else future.exception()
            queue.put(_Failure(error) if error else _END)

        def stop() -> None:
            queue.put(_END)
            future.cancel()

        future = self._submit(pump)
        future.add_done_callback(done)
        try:
            with cancel.calling(stop) if cancel else nullcontext():
                while (item := queue.get()) is not _END:
                    if isinstance(item, _Failure):
                        raise item.error
                    yield item
        finally:
            future.cancel()

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel what runs, wait until it has let go of its connections, then run `last`. Later calls do nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True

        async def finish() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await last()

        asyncio.run_coroutine_threadsafe(finish(), _loop()).result()

    def _submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        async def registered() -> T:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                return await work()
            finally:
                self._tasks.discard(task)

        with self._lock:
            if self._closed:
                raise _closed()
            return asyncio.run_coroutine_threadsafe(registered(), _loop())


def aside(function: Callable[[], None]) -> None:
    """Call `function`, which may wait for the loop; in a thread of its own where this is the loop's thread.

    The garbage collector runs finalizers in whatever thread it happens to be.
    """
    if current_thread() is _thread:
        Thread(target=function, name="gemma_tools-close").start()
    else:
        function()


def _closed() -> EngineUnavailable:
    return EngineUnavailable("the engine is closed")
