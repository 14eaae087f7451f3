"""`intendant backup`: a file while a runtime works on it; for servers, what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from intendant import Context, Realm, Runtime, Shutdown, Status
from intendant.adapters.sqlite import SqliteStore
from intendant.adapters.sqlite.backup import back_up
from intendant.runtime.audit import audit

Run = Callable[..., tuple[int, str, str]]
shop = Realm("shop")


@shop.handler
async def sell(ctx: Context, order: dict[str, Any]) -> Any:
    await ctx.files.put("receipt", order["item"].encode())
    return await ctx.step("price", lambda: "x" * 3_000)


@shop.handler
async def hold(ctx: Context, order: dict[str, Any]) -> Any:
    return await ctx.wait_signal("go")


async def sound(path: Path) -> dict[Status, int]:
    store = SqliteStore(path)
    await store.open()
    try:
        found = await audit(store.log(0))
        assert found.sound, found.findings
        return found.executions
    finally:
        await store.close()


def test_a_copy_is_made_while_a_runtime_works_and_a_runtime_goes_on_from_it(run: Run, tmp_path: Path) -> None:
    source, target = tmp_path / "work.db", tmp_path / "monday.db"

    async def meanwhile() -> None:
        async with Runtime([shop], hot=f"sqlite:{source}", shutdown=Shutdown(drain=0)) as runtime:
            desk = await runtime.open_session("acme", "desk")
            held = await desk.submit("shop.hold", {})
            before = [await desk.submit(sell, {"item": f"tea {n}"}) for n in range(20)]
            for each in before:
                await each.result()
            source.chmod(0o600)
            steps = 0

            def progress(done: int, total: int) -> None:  # in the thread that copies: more is written in between
                nonlocal steps
                steps += 1
                for n in range(5):
                    anyio.from_thread.run(submit, desk, f"{steps}-{n}")

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("intendant.adapters.sqlite.backup.PAGES", 4)
                await anyio.to_thread.run_sync(back_up, source, tmp_path / "other.db", progress)
            assert steps >= 5
            assert (tmp_path / "other.db").stat().st_mode & 0o777 == 0o600
            assert await sound(tmp_path / "other.db") == {Status.COMPLETED: 20, Status.RUNNING: 1}
            code, out, _ = await anyio.to_thread.run_sync(
                run, "backup", str(target), "--hot", f"sqlite:{source}", "--json"
            )
            told = json.loads(out)
            assert (code, told["files"], told["bytes"]) == (0, 20 + 5 * steps, target.stat().st_size)
            assert (await held.view()).status is Status.WAITING

    async def submit(desk: Any, name: str) -> None:
        await (await desk.submit(sell, {"item": name})).result()

    async def restored() -> None:
        async with Runtime([shop], hot=f"sqlite:{target}", takeover_timeout=0, shutdown=Shutdown(drain=0)) as runtime:
            [held] = (await runtime.executions("acme", type="shop.hold")).items
            await runtime.execution("acme", held.id).signal("go", "on")
            assert await runtime.execution("acme", held.id).result() == "on"

    anyio.run(meanwhile)
    assert sorted(each.name for each in tmp_path.iterdir() if ".part" in each.name) == []
    anyio.run(restored)
    anyio.run(sound, target)


def test_what_can_not_be_copied_is_said_and_nothing_is_left(run: Run, tmp_path: Path) -> None:
    hot = f"sqlite:{tmp_path / 'work.db'}"
    assert run("backup", str(tmp_path / "x.db"), "--hot", hot)[0] == 2  # there is no store
    (tmp_path / "work.db").write_bytes(b"nonsense" * 1_000)
    code, _, err = run("backup", str(tmp_path / "x.db"), "--hot", hot)
    assert (code, "is not a SQLite database" in err) == (1, True)
    (tmp_path / "x.db").touch()
    code, _, err = run("backup", str(tmp_path / "x.db"), "--hot", hot)
    assert (code, "is there already" in err) == (2, True)
    code, _, err = run("backup", str(tmp_path / "no" / "x.db"), "--hot", hot)
    assert (code, "does not exist" in err) == (2, True)
    assert {each.name for each in tmp_path.iterdir()} == {"work.db", "x.db"}


def test_for_servers_it_says_how_and_fails(run: Run) -> None:
    stores = ("--hot", "redis://app:secret@cache/0", "--cold", "arangodb://app:secret@arango/work")
    code, out, err = run("backup", "/backups/monday.db", *stores)
    assert (code, err, "secret" in out) == (1, "", False)
    for said in ("No backup was made", "intendant migrate --from", "redis-cli", "arangodump", "archive verify"):
        assert said in out
