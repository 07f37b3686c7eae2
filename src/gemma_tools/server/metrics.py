"""Counts for Prometheus at `/metrics`: an observer that updates them, and the page that shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from gemma_tools.errors import MissingDependency
from gemma_tools.observe import (
    FirstPiece,
    Generated,
    GenerationWork,
    Happening,
    HttpRequest,
    ModelRequest,
    Responded,
    Retried,
    Tell,
    Work,
)
from gemma_tools.server.limits import Gate

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE
except ImportError:
    raise MissingDependency("prometheus_client", "server", "/metrics (or the setting metrics = false)") from None

REFUSED: Final = frozenset({"undeclared", "unreadable", "unread_call", "call_limit", "repeated_call"})
"""Kinds of problems that mean: the model wrote a call, and the client did not get it."""

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 600)
_RATES: Final = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000)


class Metrics:
    """The counts of one server. `observer` updates them, `page` shows them."""

    def __init__(self, gate: Gate) -> None:
        """Start at zero; the numbers of running and waiting requests are read from `gate` on demand."""
        self._registry = registry = CollectorRegistry()

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"gemma_tools_{name}", about, labels, registry=registry)

        def histogram(name: str, about: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"gemma_tools_{name}", about, labels, buckets=buckets, registry=registry)

        self._requests = counter("requests", "Finished requests.", "method", "path", "status", "outcome")
        self._seconds = histogram("request_seconds", "From a request's head to the end of its answer.", ("path",), _SECONDS)
        self._waited = histogram("queue_seconds", "How long requests waited in the queue.", (), _SECONDS)
        Gauge("gemma_tools_requests_running", "Running requests.", registry=registry).set_function(lambda: gate.running)
        Gauge("gemma_tools_requests_waiting", "Requests in the queue.", registry=registry).set_function(lambda: gate.waiting)
        self._prompt = counter("prompt_tokens", "Tokens of prompts.", "model")
        self._cached = counter("cached_tokens", "Tokens of prompts that were in the engine's cache.", "model")
        self._completion = counter("completion_tokens", "Tokens that models wrote.", "model")
        self._first = histogram(
            "time_to_first_token_seconds", "From the request to the engine until its first text.", ("model",), _SECONDS
        )
        self._rate = histogram(
            "tokens_per_second", "Tokens per second of a generation, after its first text.", ("model",), _RATES
        )
        self._calls = counter("tool_calls", "Calls that clients got.", "model")
        self._repairs = counter("repairs", "Repairs in calls and text, by kind.", "model", "kind")
        self._refused = counter("refused_calls", "Calls that models wrote and clients did not get.", "model", "cause")
        self._retries = counter("retries", "Retries of a model or an engine.", "model", "cause")

    @contextmanager
    def observer(self, work: Work) -> Iterator[Tell]:
        """Count the events of `work`."""
        match work:
            case HttpRequest():
                yield self._http(work)
            case GenerationWork(model=model):
                yield self._generation(model)
            case ModelRequest(model=model):
                yield self._retry(model)
            case _:
                yield _nothing

    def page(self) -> tuple[str, bytes]:
        """The content type, and all counts in Prometheus' text format."""
        return CONTENT_TYPE, generate_latest(self._registry)

    def _http(self, work: HttpRequest) -> Tell:
        began, path = monotonic(), work.route or "other"

        def tell(happening: Happening) -> None:
            if isinstance(happening, Responded):
                method = work.method if work.method in _METHODS else "other"
                self._requests.labels(method, path, happening.status or "none", happening.outcome).inc()
                self._seconds.labels(path).observe(monotonic() - began)
                self._waited.observe(happening.waited)

        return tell

    def _retry(self, model: str) -> Callable[[Happening], None]:
        def tell(happening: Happening) -> None:
            if isinstance(happening, Retried):
                self._retries.labels(model, happening.cause).inc()

        return tell

    def _generation(self, model: str) -> Tell:
        began, first, retry = monotonic(), 0.0, self._retry(model)

        def tell(happening: Happening) -> None:
            nonlocal first
            if isinstance(happening, FirstPiece) and not first:
                first = monotonic()
                self._first.labels(model).observe(first - began)
            elif isinstance(happening, Generated):
                seconds = monotonic() - first
                if first and seconds > 0 and happening.completion_tokens > 1:
                    self._rate.labels(model).observe((happening.completion_tokens - 1) / seconds)
                self._count(model, happening)
            retry(happening)

        return tell

    def _count(self, model: str, generated: Generated) -> None:
        self._prompt.labels(model).inc(generated.prompt_tokens)
        self._cached.labels(model).inc(generated.cached_tokens or 0)
        self._completion.labels(model).inc(generated.completion_tokens)
        if generated.refused is None:
            self._calls.labels(model).inc(len(generated.reply.tool_calls))
        for problem in generated.reply.problems:
            if problem.kind in REFUSED or (problem.kind == generated.refused):
                self._refused.labels(model, problem.kind).inc()
            else:
                self._repairs.labels(model, problem.kind).inc()


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})


def _nothing(happening: Happening) -> None:
    return None
