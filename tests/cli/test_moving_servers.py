"""A runtime moves from a file to Redis and ArangoDB, works there, is verified, and moves back: by the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from intendant import Context, Realm, Runtime
from intendant.cli import main

shop = Realm("shop")


@shop.handler
async def sell(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    ctx.emit("sold", order)
    return order


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--json"])
    said = capsys.readouterr()
    assert (left.value.code, said.err) == (0, "")
    found: dict[str, Any] = json.loads(said.out)
    return found


async def work(hot: str, cold: str | None, numbers: range) -> list[str]:
    """The ids of executions by keys; the same key gives the same one, wherever it lies."""
    ids: list[str] = []
    async with Runtime([shop], hot=hot, cold=cold) as runtime:
        session = await runtime.open_session("acme", "s1")
        for n in numbers:
            execution = await session.submit("shop.sell", {"n": n}, idempotency_key=f"k{n}")
            assert await execution.result() == {"n": n}
            ids.append(execution.id)
        with anyio.fail_after(20):
            while cold and runtime.stats().lag:  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.01)
    return ids


def test_from_a_file_to_servers_and_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, redis_url: str, arango_url: str
) -> None:
    first, last = f"sqlite:{tmp_path / 'first.db'}", f"sqlite:{tmp_path / 'last.db'}"
    files = ("--to-files", f"file:{tmp_path / 'files'}")
    ids = anyio.run(work, first, None, range(20))
    moved = called(capsys, "migrate", "--from", first, "--to", redis_url, "--to-cold", arango_url, *files)
    assert moved["finished"]
    assert anyio.run(work, redis_url, arango_url, range(30))[:20] == ids
    verified = called(capsys, "archive", "verify", "--hot", redis_url, "--cold", arango_url)
    assert (verified["sound"], verified["lag"]) == (True, 0)
    assert verified["chunks"] > 0
    back = ("migrate", "--from", redis_url, "--from-cold", arango_url, "--to", last)
    assert called(capsys, *back)["finished"]
    assert anyio.run(work, last, None, range(30))[:20] == ids
