"""Settings: the constructor beats the environment, the environment the defaults; nothing is global."""

from pathlib import Path

import pytest

from intendant import Runtime
from intendant.domain.ports import Durability
from intendant.runtime.config import resolve

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HOT", "COLD", "DURABILITY"):
        monkeypatch.delenv(f"INTENDANT_{name}", raising=False)


def test_defaults_are_a_file_and_written() -> None:
    stores = resolve("default", None, None, None, {})
    assert (stores.hot, stores.cold, stores.durability) == ("sqlite:intendant.db", None, Durability.WRITTEN)


def test_memory_is_chosen_only_when_asked_and_gives_memory() -> None:
    assert resolve("default", "memory:", None, None, {}).durability is Durability.MEMORY
    assert resolve("default", "memory:", None, "fsync", {}).durability is Durability.FSYNC


def test_the_constructor_beats_the_environment() -> None:
    environment = {"INTENDANT_HOT": "sqlite:env.db", "INTENDANT_COLD": "memory:", "INTENDANT_DURABILITY": "fsync"}
    from_environment = resolve("default", None, None, None, environment)
    assert (from_environment.hot, from_environment.cold) == ("sqlite:env.db", "memory:")
    assert from_environment.durability is Durability.FSYNC
    given = resolve("default", "sqlite:given.db", "arango:", "written", environment)
    assert (given.hot, given.cold, given.durability) == ("sqlite:given.db", "arango:", Durability.WRITTEN)


def test_a_runtime_with_a_name_reads_only_its_own_variables() -> None:
    environment = {"INTENDANT_HOT": "sqlite:env.db", "INTENDANT_NIGHT_HOT": "sqlite:night.db"}
    assert resolve("night", None, None, None, environment).hot == "sqlite:night.db"
    assert resolve("day", None, None, None, environment).hot == "sqlite:intendant.db"


@pytest.mark.parametrize("name", ["", "Night", "a b", "1a", "a" * 32, "ü"])
def test_names_that_can_be_no_variable(name: str) -> None:
    with pytest.raises(ValueError, match="a runtime's name is"):
        resolve(name, None, None, None, {})


def test_making_a_runtime_touches_nothing(tmp_path: Path) -> None:
    Runtime()
    assert list(tmp_path.iterdir()) == []


async def test_entering_makes_the_default_file_or_what_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Runtime() as running:
        assert running.durability == "fsync"
        assert (tmp_path / "intendant.db").exists()
    monkeypatch.setenv("INTENDANT_HOT", "memory:")
    async with Runtime() as running:
        assert running.durability == "memory"
    monkeypatch.setenv("INTENDANT_DURABILITY", "fsync")
    with pytest.raises(ValueError, match="durability"):
        await Runtime().__aenter__()


async def test_several_runtimes_live_side_by_side(tmp_path: Path) -> None:
    async with Runtime(hot="sqlite:one.db") as one, Runtime(hot="sqlite:two.db", name="two") as two:
        await one.create_session("acme", "desk-1")
        await two.create_session("acme", "desk-1")
        await two.create_session("acme", "desk-2")
        assert len(await one.sessions("acme")) == 1
        assert len(await two.sessions("acme")) == 2
