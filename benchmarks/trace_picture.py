"""A picture of one trace: an intent whose process is left half way, with steps, a failed attempt and a child.

    python -m benchmarks.trace_picture [docs/trace.svg]

What is drawn is what was told: the spans of an in-memory exporter, each below the one that it belongs to.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import Any, Final

import anyio
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from intendant import Context, Realm, Retry, Runtime, Shutdown, Step
from intendant.adapters.memory import MemoryStore
from intendant.adapters.opentelemetry import OpenTelemetry

LEFT: Final = 250  # of the bars, in pixels
WIDTH: Final = 620
ROW: Final = 26
TOP: Final = 34
COLOURS: Final = {"submit": "#57606a", "execution": "#0969da", "step": "#2da44e"}
FAILED: Final = "#cf222e"
LABEL: Final = (
    "A trace: an intent is submitted, its execution runs steps and a child, the process is left, "
    "and the next one goes on in the same trace"
)

shop = Realm("shop")
held, sent = anyio.Event(), anyio.Event()


async def charge(step: Step) -> None:
    await anyio.sleep(0.03)  # what it does takes a while, so that there is something to see
    if step.attempt == 1:
        raise ConnectionError("the bank does not answer")


@shop.handler
async def pack(ctx: Context, order: dict[str, Any]) -> str:
    await ctx.step("weigh", anyio.sleep, 0.02)
    await ctx.step("box", anyio.sleep, 0.05)
    return str(order["item"])


@shop.handler
async def pay(ctx: Context, order: dict[str, Any]) -> None:
    await ctx.step("charge", charge, retry=Retry(attempts=3, initial=timedelta(milliseconds=20)))
    child = await ctx.submit(pack, order)
    await child.result()
    held.set()
    await sent.wait()  # the first life of this process ends here
    await ctx.step("thank", anyio.sleep, 0.02)


async def told() -> list[ReadableSpan]:
    """Run it, over two lives of a runtime."""
    exporter, provider, store = InMemorySpanExporter(), TracerProvider(), MemoryStore()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = OpenTelemetry(tracer_provider=provider)
    async with Runtime([shop], hot=store, telemetry=telemetry, shutdown=Shutdown(drain=0.0)) as runtime:
        session = await runtime.open_session("acme", "desk-1")
        execution = await session.submit(pay, {"item": "tea"})
        await held.wait()
    sent.set()
    await anyio.sleep(0.03)  # what it does takes a while, so that there is something to see
    async with Runtime([shop], hot=store, telemetry=telemetry) as runtime:
        await runtime.execution("acme", execution.id).result()
    return list(exporter.get_finished_spans())


def rows(spans: Sequence[ReadableSpan], above: int | None = None, depth: int = 0) -> Iterator[tuple[int, ReadableSpan]]:
    """Each span with how deep it lies, below the one that it belongs to."""
    children = [span for span in spans if (span.parent.span_id if span.parent else None) == above]
    for span in sorted(children, key=lambda each: each.start_time or 0):
        yield depth, span
        if (own := span.get_span_context()) is not None:
            yield from rows(spans, own.span_id, depth + 1)


def picture(spans: Sequence[ReadableSpan]) -> str:
    """The waterfall, as SVG."""
    drawn = list(rows(spans))
    first = min(span.start_time or 0 for span in spans)
    last = max(span.end_time or 0 for span in spans)

    def x(time: int | None) -> float:
        return LEFT + WIDTH * ((time or first) - first) / (last - first)

    height = TOP + ROW * len(drawn) + 26
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 70} {height}" font-size="12"',
        f'font-family="ui-sans-serif, system-ui, sans-serif" role="img" aria-label="{LABEL}">',
        f'<rect width="{LEFT + WIDTH + 70}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" fill="#57606a">0</text>',
        f'<text x="{LEFT + WIDTH}" y="18" fill="#57606a" text-anchor="end">{(last - first) / 1e6:.0f} ms</text>',
    ]
    for number, (depth, span) in enumerate(drawn):
        lines += _row(TOP + ROW * number, depth, span, x)
    legend = "an attempt that failed   ·   suspended: the process was left; the next one goes on below the same span"
    lines += [
        f'<rect x="14" y="{height - 21}" width="3" height="14" fill="{FAILED}"/>',
        f'<text x="24" y="{height - 10}" fill="#57606a">{legend}</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _row(y: int, depth: int, span: ReadableSpan, x: Any) -> Iterator[str]:
    kind = span.name.partition(" ")[0]
    status = str((span.attributes or {}).get("intendant.status", ""))
    begin, end = x(span.start_time), x(span.end_time)
    took = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
    dash = ' fill-opacity="0.35" stroke="#0969da" stroke-dasharray="4 3"' if status == "suspended" else ""
    yield f'<text x="{12 + 16 * depth}" y="{y + 14}" fill="#1f2328">{escape(span.name)}</text>'
    yield (
        f'<rect x="{begin:.1f}" y="{y + 3}" width="{max(end - begin, 2):.1f}" height="14" rx="2" '
        f'fill="{COLOURS[kind]}"{dash}/>'
    )
    for event in span.events:
        yield f'<rect x="{x(event.timestamp) - 1.5:.1f}" y="{y}" width="3" height="20" fill="{FAILED}"/>'
    note = f"{took:.0f} ms {status if status == 'suspended' else ''}".strip()
    inside = end > LEFT + WIDTH - 60 and end - begin > 90
    place = f'x="{end - 6:.1f}" text-anchor="end" fill="#ffffff"' if inside else f'x="{end + 6:.1f}" fill="#57606a"'
    yield f'<text {place} y="{y + 14}">{note}</text>'


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "docs/trace.svg").write_text(picture(anyio.run(told)))
