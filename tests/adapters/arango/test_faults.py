"""Whatever goes wrong on the way: who repeats what was not acknowledged ends with the same as if nothing had.

Each fault of the stand-in, met by requests that write and by those that read, in real HTTP.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import anyio.lowlevel
import msgspec
import pytest

from intendant.adapters.arango import ArangoColdStore, ColdStoreMisconfigured, reads, store
from intendant.adapters.arango.errors import Fate, classify
from intendant.adapters.memory import MemoryColdStore
from intendant.domain.codec import encode
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import Chunk, ColdDocument, ColdStore
from intendant.supervisor import Backoff
from tests.arango_standin.contract import VERSIONS
from tests.arango_standin.faults import Plan
from tests.arango_standin.process import StandIn
from tests.infrastructure.tier import full

pytestmark = pytest.mark.anyio

FEW, MANY = 2, full(50)  # on each event loop
ROUNDS = 4  # calls of each run, every one of which may meet the fault a few times
SHARE = 0.3  # of the requests that meet it
COLLECTIONS = ("sessions", "executions", "session_data")

ENDINGS = [
    Plan("lost before"),
    Plan("lost after"),
    Plan("cut head"),
    Plan("cut body"),
    Plan("slow body"),
    Plan("closed after"),
    Plan("leader"),
]
ANSWERS = [
    (409, 1200, "write-write conflict"),
    (412, 21004, "queue time violated"),
    (503, 21003, "queue is full"),
    (503, 30, "shutting down"),
    (503, 38, "starting up"),
    (503, 503, "service unavailable"),
    (503, 1465, "connection lost"),
    (503, 1478, "backend unavailable"),
    (503, 1495, "leadership challenge"),
    (503, 1496, "not a leader"),
    (421, 1491, "leader resigned"),
    (403, 1004, "write concern not fulfilled"),
    (503, 1429, "write concern not fulfilled"),
    (403, 1004, "server is in read-only mode"),
    (401, 11, "not authorized"),
    (500, 4, "internal error"),
    (500, 18, "lock time-out"),
    (410, 21, "cancelled"),
    (410, 1500, "killed"),
    (404, 1203, "collection not found"),
    (507, 1104, "full"),
]
ELEMENTS = [(409, 1200, "write-write conflict"), (409, 1210, "unique constraint violated"), (503, 1465, "lost")]


def _answer(status: int, number: int, text: str) -> Plan:
    """What the adapter takes for perhaps done is done half of the time."""
    may_be_done = classify(status, number, text) is Fate.UNKNOWN
    return Plan("answer", status=status, number=number, text=text, applied=0.5 if may_be_done else 0.0)


PLANS = [
    *ENDINGS,
    *(_answer(*each) for each in ANSWERS),
    *(Plan("elements", number=number, text=text) for _, number, text in ELEMENTS),
]
Act = Callable[[ColdStore], Awaitable[object]]  # what may be done again as a whole


def name_of(plan: Plan) -> str:
    return plan.fault if plan in ENDINGS else f"{plan.fault} {plan.number} {plan.text}"


def changes(chance: random.Random, round: int) -> list[Act]:
    """Some writes, as a state writer makes them: out of order, again, and over each other; and what is read then."""
    documents = [document(chance) for _ in range(12)]
    chunks = [chunk(chance, tenant) for tenant in "tu" for _ in range(3)]
    removed = [(chance.choice("tu"), chance.choice(COLLECTIONS), chance.choice("abc/")) for _ in range(2)]
    partition, floor, first = round % 2, chance.randrange(0, 300, 10), documents[0]
    return [
        lambda cold: cold.put(documents),
        lambda cold: cold.archive(partition, chunks),
        lambda cold: cold.remove(removed),
        lambda cold: cold.trim(partition, "t", below=floor),
        lambda cold: cold.document(first.tenant, first.collection, first.key),
        lambda cold: cold.documents("t", "sessions", limit=3),
        lambda cold: cold.chunks(partition, None),
    ]


def document(chance: random.Random) -> ColdDocument:
    version = chance.randrange(40)  # and what it holds follows from it: there are no two of one version
    body = None if version % 5 == 0 else encode({"version": version}) if version % 2 else b"\xff%d" % version
    collection = chance.choice(COLLECTIONS)
    return ColdDocument(chance.choice("tu"), collection, chance.choice("abc/"), version, body)


def chunk(chance: random.Random, tenant: str) -> Chunk:
    first = chance.randrange(0, 1000, 100) + (50 if tenant == "t" else 0)  # no two tenants have one sequence
    last = first + chance.randrange(45)
    version = last + chance.choice([0, 0, 1000])
    return Chunk(tenant, first, last, version, [] if version % 5 == 0 else [b"x%d" % version])


async def until_done(act: Act, cold: ColdStore) -> object:
    """As the state writer does it: again, until it is acknowledged."""
    for _ in range(500):
        try:
            return await act(cold)
        except (StoreUnavailable, ColdStoreMisconfigured):
            await anyio.lowlevel.checkpoint()
    raise AssertionError("it never came through")


async def contents(cold: ColdStore) -> object:
    return (
        [await cold.documents(tenant, name) for tenant in "tu" for name in COLLECTIONS],
        [await cold.chunks(partition, tenant) for partition in (0, 1) for tenant in ("t", "u", None)],
        [await cold.tail(partition) for partition in (0, 1)],
        await cold.tenants(),
    )


async def run(plan: Plan, server: StandIn, url: str, seed: int) -> int:
    chance = random.Random(seed)
    cold, model = ArangoColdStore(url), MemoryColdStore()
    await cold.open()
    await model.open()
    server.plan(msgspec.structs.replace(plan, share=SHARE, seed=seed))
    for round in range(ROUNDS):
        for act in changes(chance, round):
            assert await until_done(act, cold) == await act(model), f"seed {seed}, round {round}"
    state = server.plan(None)
    assert state.strays == []
    assert await contents(cold) == await contents(model), f"seed {seed}"
    await cold.close()
    return state.met


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's own pauses are of no use here: nobody else is at it. Long answers come in several parts."""
    monkeypatch.setattr(store, "BACKOFF", Backoff.none())
    monkeypatch.setattr(reads, "CHUNK_BATCH", 2)


Servers = Callable[[str], StandIn]
Databases = Callable[[str], str]


async def meet(plan: Plan, times: int, standins: Servers, standin: Databases) -> None:
    """Run after run, until the fault was met so often; each ends with the same as if there had been none."""
    met = seed = 0
    while met < times or seed < len(VERSIONS):
        version = VERSIONS[seed % len(VERSIONS)]  # in turn: from 3.12 on the server compares versions, before we do
        found = await run(plan, standins(version), standin(version), seed)
        assert found  # else it proves nothing
        met, seed = met + found, seed + 1
    print(f"{name_of(plan)}: met {met} times in {seed} runs, each time cold state was what it would have been")


@pytest.mark.in_turn
@pytest.mark.parametrize("plan", PLANS, ids=name_of)
async def test_a_few_times(plan: Plan, standins: Servers, standin: Databases) -> None:
    await meet(plan, FEW, standins, standin)


@pytest.mark.stress
@pytest.mark.parametrize("plan", PLANS, ids=name_of)
async def test_many_times(plan: Plan, standins: Servers, standin: Databases) -> None:
    await meet(plan, MANY, standins, standin)
