"""OpenTelemetry's SDK, set up to keep what it is given."""

from __future__ import annotations

from functools import cache
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Collected:
    """What the SDK was given in one test."""

    def __init__(self, spans: InMemorySpanExporter, reader: InMemoryMetricReader) -> None:
        self._spans = spans
        self._reader = reader

    def clear(self) -> None:
        """Forget the spans."""
        self._spans.clear()

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in the order of their beginning."""
        return sorted(self._spans.get_finished_spans(), key=lambda span: (span.start_time, span.end_time and -span.end_time))

    @property
    def tree(self) -> list[tuple[str, str | None]]:
        """Each span's name, with the name of its parent."""
        names = {span.context.span_id: span.name for span in self.spans}
        return [(span.name, names.get(span.parent.span_id) if span.parent else None) for span in self.spans]

    def one(self, name: str) -> ReadableSpan:
        """The only span of that name."""
        [span] = [span for span in self.spans if span.name == name]
        return span

    def attributes(self, name: str) -> dict[str, Any]:
        """Those of the only span of that name."""
        return dict(self.one(name).attributes or {})

    def metric(self, name: str, model: str) -> list[tuple[dict[str, Any], float, int]]:
        """A histogram's attributes, sum and count, for one model."""
        data = self._reader.get_metrics_data()
        found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics if m.name == name]
        points = [point for metric in found for point in metric.data.data_points]
        return [(dict(p.attributes), p.sum, p.count) for p in points if p.attributes.get("gen_ai.response.model") == model]


@cache
def collector() -> Collected:
    """Set up once: a process has one provider of each kind."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
    return Collected(spans, reader)
