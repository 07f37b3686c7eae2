"""The pages at `/inspect`: the last prompts and outputs, kept in memory and shown only on this machine."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime
from threading import Lock
from typing import Final

from gemma_tools.backends.exchange import Exchange
from gemma_tools.display import escape, table
from gemma_tools.inspection import examine
from gemma_tools.inspection.page import POLICY, document
from gemma_tools.openai_api.errors import refuse
from gemma_tools.openai_api.wire import ApiResponse

PATH: Final = "/inspect"
MOST: Final = 50
MOST_BYTES: Final = 32 * 2**20
"""The limits for stored exchanges: their number and their memory. The oldest are removed first."""
_HEADERS: Final = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": f"{POLICY}; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Recent:
    """The last exchanges with models, and pages of them. Thread-safe."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, Exchange] = OrderedDict()
        self._bytes = 0
        self._count = 0
        self._lock = Lock()

    def add(self, exchange: Exchange) -> None:
        """Store an exchange, and remove the oldest ones if there is no room; one that is too large alone is not stored."""
        if exchange.size > MOST_BYTES:
            return
        with self._lock:
            self._count += 1
            self._kept[self._count] = exchange
            self._bytes += exchange.size
            while len(self._kept) > MOST or self._bytes > MOST_BYTES:
                self._bytes -= self._kept.popitem(last=False)[1].size

    def answer(self, method: str, path: str) -> ApiResponse[bytes]:
        """The list at `/inspect`, or the page of one exchange at `/inspect/NUMBER`.

        Raises:
            Refused: another method, or there is no such page.
        """
        if method not in ("GET", "HEAD"):
            raise refuse(405, f"{path} takes GET, HEAD only", code="method_not_allowed", headers={"allow": "GET, HEAD"})
        number = path.removeprefix(PATH).strip("/")
        with self._lock:
            kept = dict(self._kept)
        if not number:
            return ApiResponse(200, _listing(kept).encode(), _HEADERS)
        exchange = kept.get(int(number)) if number.isascii() and number.isdecimal() and len(number) < 20 else None
        if exchange is None:
            raise refuse(404, f"there is nothing at {path}, or it is no longer stored", code="not_found")
        return ApiResponse(200, examine(exchange).html().encode(), _HEADERS)


def _listing(kept: dict[int, Exchange]) -> str:
    head = ("", "time", "model", "asked", "finish", "calls", "problems", "prompt", "output")
    rows = table(head, (tuple(_row(number, exchange)) for number, exchange in reversed(kept.items())))
    none = "<p>No requests yet.</p>" if not kept else ""
    note = f"<p><small>The last {MOST} generations, newest first, in up to {MOST_BYTES >> 20} MiB of memory.</small></p>"
    return document("Requests", f"<h1>Requests</h1>{note}{none or rows}")


def _row(number: int, exchange: Exchange) -> Iterator[str]:
    reply, tokens = exchange.reply, exchange.tokens
    yield f'<a href="{PATH}/{number}">{number}</a>'
    yield datetime.fromtimestamp(exchange.time).strftime("%H:%M:%S")
    yield escape(exchange.model)
    yield escape(_asked(exchange))
    yield escape(reply.finish_reason) if reply and not exchange.error else "failed"
    yield escape(", ".join(call.name for call in reply.tool_calls)) if reply else ""
    yield str(len(reply.problems)) if reply else ""
    yield f"{tokens.prompt:,}" if tokens else ""
    yield f"{tokens.completion:,}" if tokens else ""


def _asked(exchange: Exchange) -> str:
    """The beginning of the last user's text."""
    said = [segment.text for segment in exchange.prompt.segments if segment.role == "user" and not segment.control]
    text = said[-1].removeprefix("user\n").strip() if said else ""
    return text if len(text) <= 60 else f"{text[:60]}…"
