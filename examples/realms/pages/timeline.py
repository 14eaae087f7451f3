"""The run as a drawing: executions ended over time, the pace of each moment, and the kill drawn through it.

Everything is worked out here as numbers and path strings; colours and fonts are the page's business.
"""

from __future__ import annotations

from bisect import bisect_right

from msgspec import Struct

from .run import Run, Sample

WIDTH, HEIGHT = 1120.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 18.0, 34.0, 34.0
PACE_HEIGHT = 84.0
PACE_GAP = 26.0
BINS = 96
STEPS = (1, 2, 5)


class Tick(Struct, frozen=True):
    """A mark on an axis."""

    place: float
    label: str


class Bar(Struct, frozen=True):
    """The pace of one moment."""

    x: float
    y: float
    height: float
    width: float


class Timeline(Struct, frozen=True):
    """The drawing: an area with its outline, bars below it, ticks, and where the kill and the resumption stand."""

    width: float
    height: float
    left: float
    right: float
    top: float
    floor: float
    pace_floor: float
    line: str
    area: str
    bars: list[Bar]
    across: list[Tick]
    up: list[Tick]
    pace_label: str
    killed: float | None
    resumed: float | None
    killed_y: float
    points: list[tuple[float, float, float, int]]


def draw(run: Run) -> Timeline:
    """Lay the run out on a canvas of fixed size."""
    samples = _thinned(run.figures.curve, run.seconds)
    seconds = max(run.seconds, samples[-1].seconds, 0.1)
    most = max(samples[-1].done, 1)
    floor = HEIGHT - BOTTOM - PACE_HEIGHT - PACE_GAP
    right = WIDTH - RIGHT

    def x(at: float) -> float:
        return round(LEFT + (right - LEFT) * at / seconds, 1)

    def y(done: float) -> float:
        return round(floor - (floor - TOP) * done / most, 1)

    places = [(x(sample.seconds), y(sample.done)) for sample in samples]
    line = "M" + "L".join(f"{across},{up}" for across, up in places)
    bars, peak = _bars(samples, seconds, right)
    kill = run.kill
    return Timeline(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=right,
        top=TOP,
        floor=floor,
        pace_floor=HEIGHT - BOTTOM,
        line=line,
        area=f"{line}L{places[-1][0]},{floor}L{LEFT},{floor}Z",
        bars=bars,
        across=[Tick(x(at), f"{at:g} s") for at in _ticks(seconds, 10)],
        up=[Tick(y(done), f"{done:,.0f}") for done in _ticks(most, 5)],
        pace_label=f"{peak:,.0f}/s",
        killed=x(kill.seconds) if kill else None,
        resumed=x(kill.resumed) if kill else None,
        killed_y=y(kill.done) if kill else floor,
        points=[
            (across, up, round(sample.seconds, 2), sample.done)
            for (across, up), sample in zip(places, samples, strict=True)
        ],
    )


def _thinned(samples: list[Sample], seconds: float) -> list[Sample]:
    """From nothing to the end, thinned to what can be seen."""
    kept = [Sample(0.0, 0)]
    before = kept[0]
    for sample in samples:
        if sample.seconds - before.seconds > seconds / 200:  # a pause: level from its beginning to its end
            kept += [before, Sample(sample.seconds, before.done)]
        if sample.seconds - kept[-1].seconds >= seconds / 500:
            kept.append(sample)
        before = sample
    if before != kept[-1]:
        kept.append(before)
    if seconds > kept[-1].seconds:
        kept.append(Sample(seconds, kept[-1].done))
    return kept


def _bars(samples: list[Sample], seconds: float, right: float) -> tuple[list[Bar], float]:
    times = [sample.seconds for sample in samples]
    width = seconds / BINS

    def done_at(at: float) -> float:
        after = min(bisect_right(times, at), len(samples) - 1)
        before = samples[max(0, after - 1)]
        span = samples[after].seconds - before.seconds
        share = min(1.0, (at - before.seconds) / span) if span > 0 else 1.0
        return before.done + (samples[after].done - before.done) * share

    paces = [(done_at((number + 1) * width) - done_at(number * width)) / width for number in range(BINS)]
    peak = max(paces) or 1.0
    step = (right - LEFT) / BINS
    bottom = HEIGHT - BOTTOM
    bars = [
        Bar(
            round(LEFT + number * step + step * 0.12, 1),
            round(bottom - height, 1),
            round(height, 1),
            round(step * 0.76, 1),
        )
        for number, pace in enumerate(paces)
        if (height := PACE_HEIGHT * max(0.0, pace) / peak) >= 0.4
    ]
    return bars, peak


def _ticks(most: float, about: int) -> list[float]:
    """Round numbers from zero to `most`, roughly `about` of them."""
    rough = most / about
    magnitude = 1.0
    while magnitude * 10 <= rough:
        magnitude *= 10
    while magnitude > rough:
        magnitude /= 10
    step = next((magnitude * factor for factor in STEPS if magnitude * factor >= rough), magnitude * 10)
    count = int(most / step + 1e-9)
    return [round(number * step, 6) for number in range(count + 1)]
