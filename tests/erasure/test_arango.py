"""Erasing what cold state in ArangoDB has, what it refused among it: no document of the server holds it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import anyio
import msgspec
import pytest

from intendant import Runtime, Shutdown
from intendant.adapters.arango import ArangoColdStore
from intendant.adapters.arango.bodies import body_of, to_bytes
from intendant.adapters.memory import MemoryFileStore, MemoryStore
from intendant.domain import state as states
from intendant.domain.erasure import Scope
from intendant.domain.ports import Chunk, ColdDocument
from intendant.domain.refused import Refused
from intendant.runtime.migration import Side, opened
from intendant.runtime.verification import Verification
from tests.adapters.arango.recorder import Recorder, recorder
from tests.arango_standin.contract import VERSIONS
from tests.arango_standin.messages import Json, Reply, Request, failed
from tests.erasure.planted import plant, secret, shop

pytestmark = [pytest.mark.anyio, pytest.mark.in_turn]
TENANTS = ["acme", "beta"]
SCOPES = [Scope("acme"), Scope("acme", "s1")]
REFUSED = (states.EXECUTIONS, states.EXECUTION_DATA, states.FILES)
WRITES = ("POST document/", "PUT document/")


@pytest.fixture(params=list(zip(VERSIONS, SCOPES, strict=True)), ids=["newest-tenant", "3.11-session"])
def case(request: pytest.FixtureRequest) -> tuple[str, Scope]:
    found: tuple[str, Scope] = request.param
    return found


@pytest.fixture
def server(case: tuple[str, Scope]) -> Generator[Recorder]:
    with recorder(case[0]) as found:
        yield found


@pytest.fixture
def scope(case: tuple[str, Scope]) -> Scope:
    return case[1]


class Noting(ArangoColdStore):
    """Keeps what is written as it came, so that it may come again."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.archived: list[list[Chunk]] = []
        self.documents_put: list[list[ColdDocument]] = []

    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        self.archived.append(list(chunks))
        await super().archive(partition, chunks)

    async def put(self, documents: Sequence[ColdDocument]) -> None:
        self.documents_put.append(list(documents))
        await super().put(documents)


class House:
    """Stores, and runtimes over them."""

    def __init__(self, server: Recorder) -> None:
        self.server = server
        self.hot = MemoryStore()
        self.cold = Noting(server.url)
        self.files = MemoryFileStore()

    def runtime(self) -> Runtime:
        return Runtime([shop], hot=self.hot, cold=self.cold, files=self.files, shutdown=Shutdown(drain=0))

    async def fill(self) -> None:
        async with self.runtime() as runtime:
            for tenant in TENANTS:
                for session in ("s1", "s2"):
                    await plant(runtime, tenant, session, count=1)
            with anyio.fail_after(60):
                while runtime.stats().lag:  # noqa: ASYNC110  nobody announces it
                    await anyio.sleep(0.01)

    def holds(self, word: str) -> bool:
        """Whether a word stands in any document of any collection of the server."""
        return any(
            word.encode() in readable(document)
            for collection in self.server.collections
            for document in self.server.documents(collection)
        )

    def check(self, scope: Scope) -> None:
        """What is erased is nowhere, and the others are there."""
        assert not self.holds(secret("acme", "s1"))
        assert self.holds(secret("acme", "s2")) is bool(scope.session)
        assert self.holds(secret("beta", "s1"))

    async def come_again(self) -> None:
        """Whatever was ever written comes late, in both directions."""
        archived, put = list(self.cold.archived), list(self.cold.documents_put)
        await self.cold.open()
        for chunks in archived + archived[::-1]:
            await self.cold.archive(0, chunks)
        for documents in put + put[::-1]:
            await self.cold.put(documents)
        await self.cold.close()


def readable(document: Json) -> bytes:
    """All of a document, with what stands in base64 in it as it is."""
    found = [msgspec.json.encode(document)]
    if "gone" in document and "entries" not in document:
        found.append(body_of(document) or b"")
    found += [to_bytes(entry) for entry in document.get("entries", ())]
    return b"\n".join(found)


async def erase(runtime: Runtime, scope: Scope) -> None:
    with anyio.fail_after(60):
        if scope.session:
            await runtime.erase_session(scope.tenant, scope.session)
        else:
            await runtime.erase_tenant(scope.tenant)


def refusing(server: Recorder, is_refused: Callable[[Json], bool]) -> Callable[[Request], Reply | None]:
    """The server takes all but some documents, and dead letters."""

    def rule(request: Request) -> Reply | None:
        name = request.place[-1]
        if not request.call.startswith(WRITES) or name in ("dead_letters", "intendant") or "onlyget" in request.options:
            return None
        wrong = [is_refused(each) for each in request.body]
        if not any(wrong):
            return None
        done: list[Any] = []
        if not all(wrong):
            left = request.with_body([each for each, bad in zip(request.body, wrong, strict=True) if not bad])
            done = super(Recorder, server).answer(left).body
        told = iter(done)
        return Reply(202, [failed(400, 1620, "schema violation").body if bad else next(told) for bad in wrong])

    return rule


def is_unwelcome(document: Json) -> bool:
    """The first chunks, and what belongs to executions."""
    if "entries" in document:
        return bool(document["entries"]) and document["first"] < 40
    return not document["gone"] and document["collection"] in REFUSED


async def test_no_document_holds_it_and_nothing_late_brings_it_back(server: Recorder, scope: Scope) -> None:
    house = House(server)
    await house.fill()
    assert all(house.holds(secret(tenant, "s1")) for tenant in TENANTS)
    async with house.runtime() as runtime:
        await erase(runtime, scope)
    house.check(scope)
    await house.come_again()
    house.check(scope)
    found = Verification()
    async with opened(Side(house.hot, house.cold)):
        await found.run([house.hot.log(0)], house.cold)
    assert found.sound, found.faults


async def test_what_the_server_refused_is_erased_as_well(server: Recorder, scope: Scope) -> None:
    house = House(server)
    server.rules = [refusing(server, is_unwelcome)]
    await house.fill()
    lost = ColdDocument("acme", states.SESSION_DATA, "s1", 1, secret("acme", "s1").encode())
    await house.cold.open()
    await house.cold.put([Refused(lost, "as planted").letter])
    letters = [readable(each) for each in server.documents("dead_letters")]
    assert {each["of"] for each in server.documents("dead_letters") if "of" in each} >= {"wal", "executions"}
    assert any(secret("acme", "s1").encode() in each for each in letters)
    async with house.runtime() as runtime:
        await erase(runtime, scope)
    house.check(scope)
    others = [each for each in letters if secret("beta", "s1").encode() in each]
    assert others
    assert set(others) <= {readable(each) for each in server.documents("dead_letters")}
    await house.come_again()
    house.check(scope)
    server.rules = []  # and when it takes again what it refused
    await house.come_again()
    house.check(scope)


async def test_cut_off_it_goes_on_at_the_next_start(server: Recorder, scope: Scope) -> None:
    house = House(server)
    server.rules = [refusing(server, is_unwelcome)]
    await house.fill()
    met: list[str] = []

    def away(request: Request) -> Reply | None:
        if not request.call.startswith(WRITES) or request.place[-1] != "dead_letters":
            return None
        met.append(request.call)
        return failed(503, 503, "away")

    server.rules = [away]
    with anyio.fail_after(60):
        async with house.runtime() as runtime, anyio.create_task_group() as group:
            group.start_soon(erase, runtime, scope)
            while not met:  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        assert house.holds(secret("acme", "s1"))
        server.rules = []
        async with house.runtime():
            while await house.hot.log(0).index(states.ERASING):  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.01)
    house.check(scope)


@pytest.mark.parametrize("which", ["documents", "chunks"])
async def test_what_the_server_does_not_let_go_of_is_not_called_erased(
    server: Recorder, scope: Scope, which: str, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(server)
    await house.fill()

    def is_refused(document: Json) -> bool:
        if "entries" in document:
            return which == "chunks"
        return which == "documents" and document["gone"] and document["collection"] in REFUSED

    server.rules = [refusing(server, is_refused)]
    ended: list[Scope] = []

    async def erase_and_tell(runtime: Runtime) -> None:
        await erase(runtime, scope)
        ended.append(scope)

    async with house.runtime() as runtime, anyio.create_task_group() as group:
        group.start_soon(erase_and_tell, runtime)
        with anyio.fail_after(60):
            while "does not let go of" not in caplog.text:  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.01)
        assert not ended
        server.rules = []
    assert ended
    house.check(scope)
