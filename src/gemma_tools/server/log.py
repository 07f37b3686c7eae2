"""One line of JSON for each request."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any
from uuid import uuid4

from gemma_tools.openai_api.wire import Facts

access = logging.getLogger("gemma_tools.server.access")
_FACTS = [fact.name for fact in fields(Facts)]


@dataclass(slots=True)
class Entry:
    """The log entry of one request.

    `outcome` is "answered", "refused", "timeout", "stopped" (the server was told to stop) or "gone" (the client disconnected).
    """

    method: str
    path: str
    caller: str
    id: str = field(default_factory=lambda: f"req_{uuid4().hex}")
    status: int | None = None
    outcome: str = "answered"
    facts: Facts = field(default_factory=Facts)
    waited: float = 0.0
    """Seconds in the queue."""
    request: str | None = None
    """The request, if the settings allow logging it; the same for the next."""
    response: str | None = None
    _began: float = field(default_factory=monotonic)

    def write(self) -> None:
        """Log the entry, at INFO."""
        values: dict[str, Any] = {
            "time": _time(time()),
            "id": self.id,
            "caller": self.caller,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "outcome": self.outcome,
            "seconds": round(monotonic() - self._began, 4),
            "waited": round(self.waited, 4),
            **{name: getattr(self.facts, name) for name in _FACTS},
        }
        if self.request is not None:
            values |= {"request": self.request, "response": self.response}
        access.info("%s", json.dumps(values))


class _JsonLines(logging.Formatter):
    """All other log records, as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        values = {"time": _time(record.created), "level": record.levelname, "message": record.getMessage()}
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps(values)


def log_to_stderr() -> None:
    """Write to standard error, one line of JSON each: the entries, and warnings and errors."""
    for name, level, formatter in (
        (access.name, logging.INFO, logging.Formatter("%(message)s")),
        ("gemma_tools", logging.WARNING, _JsonLines()),
        ("uvicorn", logging.WARNING, _JsonLines()),
    ):
        logger, handler = logging.getLogger(name), logging.StreamHandler(sys.stderr)
        handler.setFormatter(formatter)
        handler.setLevel(level)
        logger.addHandler(handler)
    access.setLevel(logging.INFO)
    access.propagate = False


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
