"""OpenTelemetry's instruments of one runtime: what is read when the SDK asks, and histograms, which are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from intendant.domain.telemetry import Distribution, Metric, Sample

Read = Callable[[Metric], Sequence[Sample]]


class Instruments:
    """Made once for a meter; what they tell is that of the runtime that was entered last."""

    def __init__(self, meter: Meter, metrics: Sequence[Metric]) -> None:
        self._read: Read | None = None
        self._histograms: dict[Metric, Histogram] = {}
        self._told: list[Distribution] = []
        for each in metrics:
            observe = [partial(self._observe, each)]
            if each.kind == "counter":
                meter.create_observable_counter(each.name, observe, each.unit, each.help)
            elif each.kind == "gauge":
                meter.create_observable_gauge(each.name, observe, each.unit, each.help)
            else:
                self._histograms[each] = meter.create_histogram(each.name, each.unit, each.help)

    def begin(self, read: Read) -> None:
        """The runtime was entered."""
        self._read = read
        for metric, histogram in self._histograms.items():
            for sample in read(metric):
                if isinstance(sample.value, Distribution):
                    sample.value.tell = partial(histogram.record, attributes=dict(sample.labels))
                    self._told.append(sample.value)

    def end(self) -> None:
        """It was left."""
        self._read = None
        told, self._told = self._told, []
        for each in told:
            each.tell = None

    def _observe(self, metric: Metric, _options: CallbackOptions) -> list[Observation]:
        """Called by an exporter's thread, at any time."""
        found = () if self._read is None else self._read(metric)
        return [
            Observation(each.value, dict(each.labels)) for each in found if not isinstance(each.value, Distribution)
        ]
