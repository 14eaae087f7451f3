"""The stores of a runtime: what is asked of them, what is said of them, and that none is left open."""

from __future__ import annotations

import logging

import pytest

from intendant import Runtime, StoreUnavailable
from intendant.adapters.memory import MemoryColdStore, MemoryStore
from intendant.domain.ports import Durability, Store
from intendant.runtime import stores

pytestmark = pytest.mark.anyio


class Server(MemoryStore):
    """A store that goes by the name of a server."""

    def __init__(self, durability: Durability = Durability.WRITTEN) -> None:
        super().__init__()
        self.name = "redis://***@host:6379/0"
        self.durability = durability
        self.is_open = False

    async def open(self) -> None:
        await super().open()
        self.is_open = True

    async def close(self) -> None:
        await super().close()
        self.is_open = False


class Away(MemoryColdStore):
    """A cold store that can't be reached."""

    async def open(self) -> None:
        raise StoreUnavailable("nobody answers at host:8529; is the server up?")


@pytest.mark.parametrize(("asked", "level"), [(None, Durability.WRITTEN), ("fsync", Durability.FSYNC)])
async def test_a_store_by_its_url_is_told_what_is_asked_of_it(
    asked: str | None, level: Durability, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, Durability]] = []

    def open_store(url: str, durability: Durability) -> Store:
        told.append((url, durability))
        return Server(Durability.FSYNC)

    monkeypatch.setattr(stores, "open_store", open_store)
    if asked:
        monkeypatch.setenv("INTENDANT_DURABILITY", asked)
    async with Runtime(hot="redis://host") as running:
        assert running.durability == "fsync"
    assert told == [("redis://host", level)]


async def test_a_server_without_a_cold_store_keeps_everything_and_that_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "intendant")
    async with Runtime(hot=Server()):
        pass
    assert [each.message for each in caplog.records if "no cold store" in each.message] == [
        "redis://***@host:6379/0 has no cold store: everything stays in it until retention ends it"
    ]
    caplog.clear()
    async with Runtime(hot=Server(), cold=MemoryColdStore()), Runtime(hot=MemoryStore(), name="other"):
        pass
    assert "no cold store" not in caplog.text


async def test_what_was_opened_is_closed_when_the_rest_is_refused() -> None:
    hot = Server()
    with pytest.raises(StoreUnavailable, match="nobody answers at host:8529"):
        await Runtime(hot=hot, cold=Away()).__aenter__()
    assert not hot.is_open
    with pytest.raises(ValueError, match="gives durability 'written', and 'fsync' is asked for"):
        await Runtime(hot=hot, durability="fsync").__aenter__()
    assert not hot.is_open
    with pytest.raises(ValueError, match="own names 1; the store has 1: 0 to 0"):
        await Runtime(hot=hot, own=[1]).__aenter__()
    assert not hot.is_open
