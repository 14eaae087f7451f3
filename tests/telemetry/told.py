"""What a runtime tells OpenTelemetry, kept in memory."""

from __future__ import annotations

from typing import Any, cast

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from intendant.adapters.opentelemetry import OpenTelemetry


class Told:
    """Providers that keep everything, and the telemetry that tells them."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.telemetry = OpenTelemetry(tracer_provider=self.tracers, meter_provider=MeterProvider([self._metrics]))

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, in that order."""
        return list(self._spans.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.named(name)
        return found

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """By name: attributes, and the value or the histogram's point."""
        data = cast("Any", self._metrics.get_metrics_data())
        resources: list[Any] = data.resource_metrics if data else []
        return {
            metric.name: [
                (dict(point.attributes or {}), getattr(point, "value", point)) for point in metric.data.data_points
            ]
            for resource in resources
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def is_below(span: ReadableSpan, above: ReadableSpan) -> bool:
    """Whether it is a child of that span, in the same trace."""
    own, other = span.get_span_context(), above.get_span_context()
    assert own is not None
    assert other is not None
    return span.parent is not None and (span.parent.span_id, own.trace_id) == (other.span_id, other.trace_id)
