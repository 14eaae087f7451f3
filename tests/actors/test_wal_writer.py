from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from intendant.actors.crowding import BESIDE_OTHERS, CROWDED
from intendant.actors.intake import Append
from intendant.actors.landing import Landing
from intendant.actors.wal_writer import KeyClaimed, WalWriter, WriterSettings
from intendant.adapters.memory import MemoryStore
from intendant.domain.commit import Batch, ClaimKey, Commit, KeysTaken, Receipt, Verdict
from intendant.domain.errors import (
    AcknowledgedDataMissing,
    ActorStopped,
    Fenced,
    InvalidValue,
    Overloaded,
    StoreUnavailable,
)
from intendant.domain.ports import Log, Owner, Tenure
from intendant.domain.records import Record, decode_entry
from intendant.parking import Reply, current_seam
from intendant.supervisor import Started

pytestmark = pytest.mark.anyio
OWNER = Owner("host", "boot", 1, "start")


class StillClock:
    def now(self) -> int:
        return 1_000_000


def commit(name: str, tenant: str = "acme", *keys: str) -> Commit:
    record = Record("intent_received", "session", name, {"name": name})
    return Commit(tenant, [record], [ClaimKey(key, name.encode()) for key in keys])


async def run(writer: WalWriter, *, task_status: Started) -> None:
    await writer.run(task_status)


@asynccontextmanager
async def writing(log: Log, settings: WriterSettings | None = None) -> AsyncGenerator[WalWriter]:
    writer = WalWriter(
        log, OWNER, 0, clock=StillClock(), seam=current_seam(), settings=settings or WriterSettings(lease=1e9)
    )
    async with anyio.create_task_group() as group:
        await group.start(run, writer)
        yield writer
        writer.stop()


@asynccontextmanager
async def opened() -> AsyncGenerator[Log]:
    store = MemoryStore()
    await store.open()
    yield store.log(0)
    await store.close()


async def names(log: Log) -> list[str]:
    entries = await log.entries(None, limit=10_000)
    return [record.execution for entry in entries for record in decode_entry(entry) if record.type != "writer_opened"]


class Gate:
    """A log whose commits wait until they are let through."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.open = anyio.Event()
        self.batches: list[Batch] = []
        self.verdicts: list[Verdict | KeysTaken | StoreUnavailable] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        self.batches.append(batch)
        if len(self.batches) > 1:  # the first one opens the writer
            await self.open.wait()
            if self.verdicts:
                verdict = self.verdicts.pop(0)
                if isinstance(verdict, StoreUnavailable):
                    raise verdict
                return verdict
        return await self._log.commit(batch)


async def test_what_gathers_while_a_batch_flies_is_the_next_batch() -> None:
    async with opened() as log:
        gate = Gate(log)
        async with writing(gate) as writer:  # type: ignore[arg-type]  # the rest of the port is passed on
            replies = [writer.append(commit("first"))]
            await anyio.wait_all_tasks_blocked()
            replies += [writer.append(commit(f"later-{number}")) for number in range(50)]
            gate.open.set()
            receipts = [await reply.wait(current_seam()) for reply in replies]
        assert [batch.count for batch in gate.batches] == [1, 1, 50, 0]  # the last one notes that it leaves
        assert [receipt.first for receipt in receipts] == list(range(2, 53))


@pytest.mark.parametrize(("apart", "behind"), [(True, 0), (True, 1), (False, 0)])
async def test_a_batch_of_a_store_apart_is_told_in_halves_unless_others_wait(
    apart: bool, behind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always(_landed: int, waiting: int, _flight: float, _pause: float) -> bool:
        return not waiting

    monkeypatch.setattr("intendant.actors.wal_writer.MANY", 1)
    monkeypatch.setattr("intendant.actors.wal_writer.is_worth_halving", always)
    halves: list[bool] = []
    tell = Landing.tell

    def spied(self: Landing, appends: list[Append], receipts: list[Receipt], *, halved: bool) -> None:
        halves.append(halved)
        tell(self, appends, receipts, halved=halved)

    monkeypatch.setattr(Landing, "tell", spied)
    async with opened() as log:
        gate = Gate(log)
        async with writing(gate, WriterSettings(lease=1e9, apart=apart)) as writer:  # type: ignore[arg-type]
            replies = [writer.append(commit("one"))]
            await anyio.wait_all_tasks_blocked()
            replies += [writer.append(commit("other")) for _ in range(behind)]
            gate.open.set()
            for reply in replies:
                await reply.wait(current_seam())
    assert halves[1] is (apart and not behind)


async def test_a_tenant_of_whom_many_commits_wait_beside_others_is_to_begin_only_what_makes_it_so_many() -> None:
    said: list[tuple[str, int | None]] = []
    async with opened() as log:
        gate = Gate(log)
        async with writing(gate) as writer:  # type: ignore[arg-type]
            writer.crowding.on_crowded = lambda tenant, more: said.append((tenant, more))
            alone = [writer.append(commit(f"alone-{number}")) for number in range(2 * CROWDED)]
            gate.open.set()
            for reply in alone:
                await reply.wait(current_seam())
            assert said == [], "it was alone"
            await writer.append(commit("other", "beta")).wait(current_seam())
            gate.open = anyio.Event()
            replies = [writer.append(commit(f"beside-{number}")) for number in range(CROWDED + 1)]
            replies.append(writer.append(commit("another", "beta")))
            assert said == [("acme", 0)]
            gate.open.set()
            for reply in replies:
                await reply.wait(current_seam())
            await anyio.wait_all_tasks_blocked()
    more = [number for _, number in said]
    assert {tenant for tenant, _ in said} == {"acme"}
    assert more[-1] is None, "nothing of it waits any more"
    assert [*more[:-1]] == sorted(each for each in more[:-1] if each is not None)
    assert len(more) > CROWDED // BESIDE_OTHERS, "with each batch"


async def test_when_the_writer_ends_no_tenant_is_crowded_any_more() -> None:
    said: list[tuple[str, int | None]] = []
    async with opened() as log:
        gate = Gate(log)
        gate.verdicts = [Verdict.FENCED]

        async def write() -> None:
            async with writing(gate) as writer:  # type: ignore[arg-type]
                writer.crowding.on_crowded = lambda tenant, more: said.append((tenant, more))
                writer.append(commit("other", "beta"))
                writer.append(commit("one"))
                await anyio.wait_all_tasks_blocked()
                for number in range(CROWDED):
                    writer.append(commit(f"more-{number}"))
                gate.open.set()

        with pytest.raises(ExceptionGroup):
            await write()
    assert said == [("acme", 0), ("acme", None)]


async def test_what_accepted_work_needs_goes_ahead_of_new_work() -> None:
    async with opened() as log:
        gate = Gate(log)
        async with writing(gate) as writer:  # type: ignore[arg-type]
            writer.accept(commit("flying"), Reply[Receipt]())
            await anyio.wait_all_tasks_blocked()
            writer.accept(commit("new"), Reply[Receipt]())
            writer.append(commit("needed"))
            gate.open.set()
        assert await names(log) == ["flying", "needed", "new"]


async def test_only_new_work_is_refused() -> None:
    async with opened() as log:
        gate = Gate(log)
        async with writing(gate, WriterSettings(capacity=2, lease=1e9)) as writer:  # type: ignore[arg-type]
            writer.accept(commit("flying"), Reply[Receipt]())
            await anyio.wait_all_tasks_blocked()
            writer.accept(commit("one"), Reply[Receipt]())
            writer.accept(commit("two"), Reply[Receipt]())
            with pytest.raises(Overloaded, match="limit of 2"):
                writer.accept(commit("three"), Reply[Receipt]())
            writer.append(commit("needed"))
            gate.open.set()
        assert await names(log) == ["flying", "needed", "one", "two"]


async def test_a_key_that_is_taken_is_answered_and_the_rest_is_committed() -> None:
    async with opened() as log, writing(log) as writer:
        await writer.commit(commit("holder", "acme", "k"))
        taken = writer.append(commit("late", "acme", "k"))
        other = writer.append(commit("other", "acme", "free"))
        same_key_of_another_tenant = writer.append(commit("theirs", "globex", "k"))
        with pytest.raises(KeyClaimed) as caught:
            await taken.wait(current_seam())
        assert caught.value.taken == {"k": b"holder"}
        assert isinstance(await other.wait(current_seam()), Receipt)
        assert isinstance(await same_key_of_another_tenant.wait(current_seam()), Receipt)
        assert sorted(await names(log)) == ["holder", "other", "theirs"]


async def test_of_two_claims_that_gather_together_the_first_wins() -> None:
    async with opened() as log, writing(log) as writer:
        first, second = writer.append(commit("first", "acme", "k")), writer.append(commit("second", "acme", "k"))
        assert isinstance(await first.wait(current_seam()), Receipt)
        with pytest.raises(KeyClaimed):
            await second.wait(current_seam())


async def test_a_batch_whose_reply_is_lost_is_sent_again_unchanged() -> None:
    async with opened() as log:
        gate = Gate(log)
        gate.verdicts = [StoreUnavailable("lost"), StoreUnavailable("lost again")]
        gate.open.set()
        async with writing(gate) as writer:  # type: ignore[arg-type]
            await writer.commit(commit("one"))
        assert gate.batches[1] is gate.batches[2] is gate.batches[3]
        assert await names(log) == ["one"]


@pytest.mark.parametrize(("verdict", "error"), [(Verdict.FENCED, Fenced), (Verdict.GAP, AcknowledgedDataMissing)])
async def test_a_writer_that_must_not_go_on_answers_everyone_and_ends(
    verdict: Verdict, error: type[BaseException]
) -> None:
    async with opened() as log:
        gate = Gate(log)
        gate.verdicts = [verdict] * 8  # that it says so once may be a failover, and is mended
        replies: list[Reply[Receipt]] = []
        with pytest.RaisesGroup(error):
            async with writing(gate) as writer:  # type: ignore[arg-type]
                replies.append(writer.append(commit("flying")))
                await anyio.wait_all_tasks_blocked()
                replies.append(writer.append(commit("waiting")))
                gate.open.set()
                await anyio.sleep(1)
        for reply in replies:
            with pytest.raises(ActorStopped):
                await reply.wait(current_seam())


async def test_a_cancelled_wait_takes_nothing_back() -> None:
    async with opened() as log:
        gate = Gate(log)
        async with writing(gate) as writer:  # type: ignore[arg-type]
            with anyio.move_on_after(1):
                await writer.commit(commit("one"))
            gate.open.set()
        assert await names(log) == ["one"]


async def test_a_stopped_writer_commits_what_waits_and_gives_the_partition_back() -> None:
    async with opened() as log:
        async with writing(log) as writer:
            replies = [writer.append(commit(str(number))) for number in range(2_000)]
        for reply in replies:
            assert reply.settled
        assert len(await names(log)) == 2_000
        await log.acquire(Owner("elsewhere", "other", 2, "later"), timeout=0, lease=10)


async def test_a_writer_that_does_not_run_answers_at_once() -> None:
    async with opened() as log:
        async with writing(log) as writer:
            pass
        with pytest.raises(ActorStopped):
            await writer.commit(commit("late"))


async def test_a_commit_that_fits_no_batch_is_refused_before_it_is_queued() -> None:
    async with opened() as log, writing(log) as writer:
        records = [Record("step_completed", "s", "e", {})] * 513
        with pytest.raises(InvalidValue, match="513 records, the limit is 512"):
            writer.append(Commit("acme", records, ()))


class Renewals(Gate):
    """A log that counts renewals, and refuses them from the fourth on."""

    renewals = 0

    async def renew(self, tenure: Tenure, next_sequence: int) -> Verdict:
        self.renewals += 1
        return Verdict.FENCED if self.renewals > 3 else await self._log.renew(tenure, next_sequence)


async def test_an_idle_writer_renews_its_lease_and_a_fenced_one_finds_out() -> None:
    async with opened() as log:
        renewals = Renewals(log)
        with pytest.RaisesGroup(Fenced):
            async with writing(renewals, WriterSettings(lease=3.0)):  # type: ignore[arg-type]
                await anyio.sleep(3.5)
                assert renewals.renewals == 3
                await anyio.sleep(60)
