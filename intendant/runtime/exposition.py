"""Metrics as Prometheus reads them: its text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from intendant.domain.telemetry import Distribution, Labels, Metric, Sample

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def exposition(metrics: Iterable[Metric], read: Callable[[Metric], Sequence[Sample]]) -> str:
    """The page that is scraped. What has no value now is left out."""
    return "".join(f"{line}\n" for metric in metrics for line in _family(metric, read(metric)))


def _family(metric: Metric, samples: Sequence[Sample]) -> Iterator[str]:
    if not samples:
        return
    name = metric.prometheus
    yield f"# HELP {name} {_escape(metric.help)}"
    yield f"# TYPE {name} {metric.kind}"
    for sample in samples:
        if isinstance(sample.value, Distribution):
            yield from _histogram(name, sample.value, sample.labels)
        else:
            yield f"{name}{_labels(sample.labels)} {sample.value:.16g}"


def _histogram(name: str, of: Distribution, labels: Labels) -> Iterator[str]:
    counts = list(accumulate(of.counts))
    for bound, count in zip((*(f"{each:g}" for each in of.bounds), "+Inf"), counts, strict=True):
        yield f"{name}_bucket{_labels((*labels, ('le', bound)))} {count}"
    yield f"{name}_sum{_labels(labels)} {of.sum:.16g}"
    yield f"{name}_count{_labels(labels)} {counts[-1]}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value, quotes=True)}"' for name, value in labels) + "}"


def _escape(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text
