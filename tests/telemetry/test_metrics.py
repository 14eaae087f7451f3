"""Metrics: names by the rules, values that are true, the same for Prometheus and OpenTelemetry, on any thread."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from intendant import Context, Event, Limits, Overloaded, Realm, RelaySettings, Runtime, TenantLimits
from intendant.adapters.memory import MemoryColdStore, MemoryStore
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import Chunk
from intendant.domain.telemetry import Distribution, Metric, Sample
from intendant.http.tokens import METRICS as METRICS_SCOPE
from intendant.runtime.exposition import exposition
from intendant.runtime.metrics import METRICS
from intendant.supervisor import Backoff
from tests.telemetry.told import Told

pytestmark = pytest.mark.anyio

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "intendant.json"
LINE = re.compile(r'(?:# (?:HELP|TYPE) [a-z_]+ .+|[a-z_]+(?:\{(?:[a-z_]+="[^"\\\n]*",?)+\})? [-+0-9.e]+)\Z')


def values(page: str) -> dict[str, float]:
    """Samples of a page, each held against the format, by name and labels."""
    lines = page.splitlines()
    assert [line for line in lines if not LINE.match(line)] == []
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    found = {name: float(value) for name, _, value in samples}
    assert len(found) == len(samples), "a sample stands there twice"
    return found


def test_names_follow_the_rules() -> None:
    names = [metric.name for metric in METRICS]
    assert len({metric.prometheus for metric in METRICS}) == len(names)
    for metric in METRICS:
        assert re.fullmatch(r"intendant(\.[a-z_]+)+", metric.name)
        assert metric.unit in {"", "s", "By"} or re.fullmatch(r"\{[a-z]+\}", metric.unit)
        assert metric.prometheus.endswith("_total") is (metric.kind == "counter")
        assert not any(other.startswith(f"{metric.name}.") for other in names), "a name is the beginning of another"
        assert metric.help


def test_the_format() -> None:
    spread = Distribution((1, 2))
    for value in (0.5, 1, 1.5, 7):
        spread.add(value)
    metrics = {
        Metric("a.b", "counter", "{x}", "back\\slash"): [Sample(3, (("of", 'a"b\\c\nd'),))],
        Metric("a.size", "histogram", "By", "Sizes"): [Sample(spread, (("p", "0"),))],
        Metric("a.none", "gauge", "s", "Nothing to tell"): [],
    }
    assert exposition(metrics, lambda metric: metrics[metric]) == (
        "# HELP a_b_total back\\\\slash\n# TYPE a_b_total counter\n"
        'a_b_total{of="a\\"b\\\\c\\nd"} 3\n'
        "# HELP a_size_bytes Sizes\n# TYPE a_size_bytes histogram\n"
        'a_size_bytes_bucket{p="0",le="1"} 2\n'
        'a_size_bytes_bucket{p="0",le="2"} 3\n'
        'a_size_bytes_bucket{p="0",le="+Inf"} 4\n'
        'a_size_bytes_sum{p="0"} 10\n'
        'a_size_bytes_count{p="0"} 4\n'
    )


class Bench:
    """A handler that is held and one that emits; a publisher that fails; a cold store that may be away."""

    def __init__(self) -> None:
        self.realm, self.begun, self.go = Realm("shop"), anyio.Event(), anyio.Event()
        self.gave_up = anyio.Event()
        self.realm.handler(self.hold)
        self.realm.handler(self.fail)

    async def hold(self, ctx: Context, order: dict[str, Any]) -> None:
        self.begun.set()
        await self.go.wait()

    async def fail(self, ctx: Context, order: dict[str, Any]) -> None:
        ctx.emit("refused", order)
        raise ValueError(order)

    async def publish(self, event: Event) -> None:
        raise OSError("nobody listens")

    def runtime(self, told: Told, **options: Any) -> Runtime:
        return Runtime(
            [self.realm],
            hot="memory:",
            telemetry=told.telemetry,
            limits=Limits(running=1, tenants={"acme": TenantLimits(open=2)}),
            relay=RelaySettings(attempts=2, retry=Backoff(initial=0.0, maximum=0.0)),
            publisher=self.publish,
            **options,
        )


async def test_what_happens_is_counted_and_told_to_both(eventually: Any) -> None:
    told, bench = Told(), Bench()
    async with bench.runtime(told) as runtime:
        desk, other = await runtime.open_session("acme", "desk"), await runtime.open_session("globex", "desk")
        held = await desk.submit("shop.hold", {})
        queued = await desk.submit("shop.hold", {})
        with pytest.raises(Overloaded):
            await desk.submit("shop.hold", {})
        await bench.begun.wait()
        page = values(runtime.metrics())
        open = {status: page[f'intendant_executions_open{{partition="0",status="{status}"}}'] for status in STATUSES}
        assert open == {"running": 1, "queued": 1, "waiting": 0, "passive": 0}
        assert page['intendant_refusals_total{limit="tenant_open"}'] == 1
        bench.go.set()
        await held.result()
        await queued.result()
        assert (await (await other.submit(bench.fail, {"n": 1})).outcome()).error is not None

        async def dead() -> bool:
            return values(runtime.metrics())['intendant_outbox_dead_letters_total{partition="0"}'] == 1

        await eventually(dead)
        page, metrics = values(runtime.metrics()), await anyio.to_thread.run_sync(told.metrics)
        assert page['intendant_executions_ended_total{partition="0",status="completed"}'] == 2
        assert page['intendant_executions_ended_total{partition="0",status="failed"}'] == 1
        assert page['intendant_outbox_failures_total{partition="0"}'] == 2
        assert page['intendant_outbox_lag_age_seconds{partition="0"}'] == 0
        assert page['intendant_sessions_resident{partition="0"}'] == 2
        stats = runtime.stats()
        batches = page['intendant_commit_duration_seconds_count{partition="0"}']
        assert batches == page['intendant_commits_total{partition="0"}'] == stats.commits
        assert page['intendant_commit_records_sum{partition="0"}'] == stats.records
        check_both_say_the_same(page, metrics)
    assert await anyio.to_thread.run_sync(told.metrics) == {} or "intendant.ready" not in told.metrics()
    assert values(runtime.metrics())["intendant_ready"] == 0


SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}
STATUSES = ("running", "queued", "waiting", "passive")


def check_both_say_the_same(page: dict[str, float], metrics: dict[str, list[tuple[dict[str, Any], Any]]]) -> None:
    for metric in METRICS:
        for labels, value in metrics.get(metric.name, []):
            shown = ",".join(f'{name}="{label}"' for name, label in labels.items())
            shown = f"{{{shown}}}" if shown else ""
            if metric.kind != "histogram":
                assert page[f"{metric.prometheus}{shown}"] == value
        assert (metric.name in metrics) is any(name.startswith(metric.prometheus) for name in page)


class Away(MemoryColdStore):
    """A cold store that is not there at first."""

    away = True

    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        if self.away:
            raise StoreUnavailable("away")
        await super().archive(partition, chunks)


async def test_the_lag_of_an_outage_grows_and_goes(eventually: Any) -> None:
    bench = Bench()
    bench.go.set()
    cold = Away()
    async with Runtime([bench.realm], hot=MemoryStore(), cold=cold) as runtime:
        session = await runtime.open_session("acme")
        await (await session.submit("shop.hold", {})).result()
        page = values(runtime.metrics())
        assert page['intendant_cold_lag_records{partition="0"}'] > 0
        assert 0 < page['intendant_cold_lag_age_seconds{partition="0"}'] < 10

        cold.away = False

        async def caught_up() -> bool:
            return runtime.stats().lag == 0

        await eventually(caught_up)
        page = values(runtime.metrics())
        assert page['intendant_cold_lag_age_seconds{partition="0"}'] == 0


async def test_a_token_reads_metrics_only_where_it_was_given_that(opened: Any) -> None:
    async with opened() as desk:
        async with desk.client(desk.token("acme")) as client:
            assert (await client.get("/metrics")).status_code == 403
        async with desk.client(desk.token("acme", (METRICS_SCOPE,))) as client:
            answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text,text/plain;q=0.3"})
            assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert values(answer.text)["intendant_ready"] == 1
            assert (await client.get("/v1/sessions")).status_code == 403


def test_each_panel_of_the_dashboard_asks_for_metrics_that_exist_and_each_metric_has_one() -> None:
    samples = {
        metric: {f"{metric.prometheus}{suffix}" for suffix in SUFFIXES.get(metric.kind, ("",))} for metric in METRICS
    }
    panels = [each for each in json.loads(DASHBOARD.read_text())["panels"] if each["type"] != "row"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    asked = [set(re.findall(r"\bintendant_[a-z_]+", query)) for query in queries]
    assert all(asked)
    every = set[str]().union(*asked)
    assert every <= set[str]().union(*samples.values())
    assert [metric.name for metric, names in samples.items() if not names & every] == []
