"""The one object that a program holds: which providers are told, and of which runtimes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.metrics import Meter, MeterProvider
from opentelemetry.trace import TracerProvider

from intendant.adapters.opentelemetry.instruments import Instruments
from intendant.adapters.opentelemetry.tracing import OpenTelemetryTracing
from intendant.domain.telemetry import Metric, Sample

_SCOPE: Final = "intendant"


class OpenTelemetry:
    """Traces and metrics through OpenTelemetry's API, to these providers or the global ones.

    It needs `intendant[otel]`, which is the API package alone: without an SDK nothing is recorded or exported. One
    object may serve several runtimes of different names. Instruments of a runtime are made once, when it is first
    entered, and tell nothing while it is not.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider
        self._instruments: dict[str, Instruments] = {}  # by the runtime's name

    @property
    def tracing(self) -> OpenTelemetryTracing:
        """See `Telemetry`."""
        return OpenTelemetryTracing(trace.get_tracer(_SCOPE, version(_SCOPE), self._tracer_provider))

    def observe(self, name: str, metrics: Sequence[Metric], read: Callable[[Metric], Sequence[Sample]]) -> None:
        """See `Telemetry`."""
        instruments = self._instruments.get(name)
        if instruments is None:
            instruments = self._instruments[name] = Instruments(self._meter(name), metrics)
        instruments.begin(read)

    def forget(self, name: str) -> None:
        """See `Telemetry`."""
        self._instruments[name].end()

    def _meter(self, name: str) -> Meter:
        """Of a scope for each runtime: two that had one would tell each other's instruments apart from nothing."""
        provider = self._meter_provider or metrics.get_meter_provider()
        return provider.get_meter(_SCOPE, version(_SCOPE), None, {"intendant.runtime": name})
