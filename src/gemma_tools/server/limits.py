"""How many requests and tokens each client may use, and how many requests run at once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from gemma_tools.openai_api.errors import refuse

_FIRST_SWEEP = 10_000


@dataclass(slots=True)
class _Account:
    """What a client has left, as of `at` in seconds. Both are negative if a reply costs more than was left."""

    requests: float
    tokens: float
    at: float


class RateLimiter:
    """Requests and tokens per minute, for each client.

    Each client has a budget for one minute of both, which refills evenly. The token cost of a request is known only after it,
    so it is charged then: a client may exceed the limit once, and then waits until the debt is paid.
    """

    def __init__(self, requests: int | None, tokens: int | None, clock: Callable[[], float] = monotonic) -> None:
        self._requests = requests or math.inf
        self._tokens = tokens or math.inf
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._sweep_at = _FIRST_SWEEP

    def admit(self, caller: str) -> None:
        """Count one request of `caller`; refused with a 429 that says when to try again."""
        account = self._account(caller)
        wait = max(_wait(1 - account.requests, self._requests), _wait(1 - account.tokens, self._tokens))
        if wait > 0:
            message = "too many requests" if account.requests < 1 else "too many tokens"
            seconds = str(math.ceil(wait))
            raise refuse(
                429, f"{message}; try again in {seconds} s", code="rate_limit_exceeded", headers={"retry-after": seconds}
            )
        account.requests -= 1

    def charge(self, caller: str, tokens: int) -> None:
        """Charge the tokens of an answer to `caller`."""
        self._account(caller).tokens -= tokens

    def _account(self, caller: str) -> _Account:
        now = self._clock()
        if len(self._accounts) > self._sweep_at:
            # A minute refills everything except a debt. Cleaning up at twice the remaining size keeps the cost per request
            # constant.
            self._accounts = {name: one for name, one in self._accounts.items() if now - one.at < 60 or one.tokens < 0}
            self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._accounts))
        account = self._accounts.setdefault(caller, _Account(self._requests, self._tokens, now))
        share = (now - account.at) / 60
        account.requests = _refilled(account.requests, self._requests, share)
        account.tokens = _refilled(account.tokens, self._tokens, share)
        account.at = now
        return account


def _refilled(left: float, limit: float, share: float) -> float:
    return limit if limit == math.inf else min(limit, left + share * limit)


def _wait(missing: float, limit: float) -> float:
    return 0.0 if limit == math.inf else missing * 60 / limit


class Gate:
    """Limits how many requests run at the same time, and how many wait."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._free = asyncio.Semaphore(concurrency)
        self._places = concurrency
        self._room = concurrency + queue
        self._inside = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """How many requests run."""
        return min(self._inside, self._places)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._inside - self.running

    async def enter(self) -> None:
        """Wait for a slot; it is occupied until `leave`. Refused with a 503 if too many already wait."""
        if self._inside >= self._room:
            raise refuse(503, "too many requests are waiting", code="overloaded", headers={"retry-after": "1"})
        self._inside += 1
        self._idle.clear()
        try:
            await self._free.acquire()
        except BaseException:
            self._left()
            raise

    def leave(self) -> None:
        """Free a slot, when the work of its request has really ended."""
        self._free.release()
        self._left()

    async def idle(self) -> None:
        """Wait until no request runs."""
        await self._idle.wait()

    def _left(self) -> None:
        self._inside -= 1
        if not self._inside:
            self._idle.set()
