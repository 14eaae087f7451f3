"""`intendant config show`: the settings of a runtime that runs, or those that one would get."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest

from intendant import Limits, Realm, Retention, Runtime, TenantLimits
from intendant.adapters.publishers import webhook
from tests.adapters.publishers.receiver import SECRET

Run = Callable[..., tuple[int, str, str]]
shop = Realm("shop", retention=Retention(total=timedelta.max))


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with TemporaryDirectory(prefix="ctl", dir="/tmp") as made:
        monkeypatch.setenv("INTENDANT_CONTROL", made)
        yield Path(made)


@pytest.mark.anyio
async def test_a_runtime_tells_its_settings(run: Run, place: Path) -> None:
    limits = Limits(running=7, tenants={"acme": TenantLimits(open=3)})
    hook = webhook("https://hooks.example/hidden", secret=SECRET)
    options: dict[str, Any] = {"limits": limits, "retention_of": {"acme": Retention()}, "publisher": hook}
    async with Runtime([shop], hot="memory:", **options):
        code, out, _ = await anyio.to_thread.run_sync(partial(run, "config", "show", "--json"))
        told = json.loads(out)
        assert (code, told["name"], told["hot"], told["durability"]) == (0, "default", "memory:", "memory")
        assert told["publisher"] == "webhook https://hooks.example"
        assert told["limits"]["running"] == 7
        assert told["limits"]["tenants"]["acme"]["open"] == 3
        assert told["retention"] == {
            "default": "hot 7 days, in all 30 days",
            "realm shop": "hot 7 days, in all for ever",
            "tenant acme": "hot 7 days, in all 30 days",
        }
        code, out, err = await anyio.to_thread.run_sync(partial(run, "config", "show"))
        assert (code, "limits running" in out, "from runtime default" in err) == (0, True, True)


def test_without_a_runtime_it_tells_what_one_would_get(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def settings(*arguments: str) -> dict[str, Any]:
        code, out, _ = run("config", "show", "--json", *arguments)
        assert code == 0
        return {each["name"]: (each["value"], each["variable"]) for each in json.loads(out)["settings"]}

    monkeypatch.setenv("INTENDANT_SHOP_COLD", "arangodb://root:secret@db/shop")
    monkeypatch.setenv("INTENDANT_SHOP_WATCHDOG", "0.5")
    monkeypatch.delenv("INTENDANT_HOT", raising=False)
    found = settings()
    assert (found["hot"], found["cold"]) == (("sqlite:intendant.db", ""), ("none", ""))
    assert found["control"] == (str(place), "INTENDANT_CONTROL")
    found = settings("--name", "shop", "--hot", "sqlite:shop.db")
    assert found["hot"] == ("sqlite:shop.db", "the command line")
    assert found["files"][0] == "file:shop.db.files"
    assert found["cold"] == ("arangodb://***@db/shop", "INTENDANT_SHOP_COLD")
    assert found["watchdog"] == ("0.5 s", "INTENDANT_SHOP_WATCHDOG")
    for name, value, said in (
        ("INTENDANT_DURABILITY", "sure", "durability 'sure' is not known"),
        ("INTENDANT_WATCHDOG", "soon", "INTENDANT_WATCHDOG is 0.01 seconds or more"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            code, _, err = run("config", "show")
            assert (code, said in err) == (2, True)
    assert run("config", "show", "--name", "Shop")[0] == 2
    assert run("config", "show", "--runtime", "none")[0] == 1
