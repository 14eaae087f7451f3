"""Where files lie: given as an object or by URL, by the environment, else beside the hot store, or nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intendant import Context, ExecutionFailed, InvalidValue, Realm, Runtime
from intendant.adapters.files import DirectoryFileStore, NoFileStore
from intendant.adapters.memory import MemoryFileStore, MemoryStore
from intendant.adapters.urls import open_files

pytestmark = pytest.mark.anyio
NOTHING: dict[str, Any] = {}
shop = Realm("shop")


@shop.handler
async def keep(ctx: Context, nothing: dict[str, Any]) -> str:
    return (await ctx.files.put("report.txt", b"content")).digest


class Server(MemoryStore):
    """A store that goes by the name of a server."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "redis://***@host:6379/0"


async def test_files_go_where_the_url_says(tmp_path: Path) -> None:
    async with Runtime([shop], hot=Server(), files=f"file:{tmp_path / 'shared'}", durability="memory") as running:
        session = await running.open_session("acme", "desk-1")
        digest = await (await session.submit(keep, NOTHING)).result(timeout=10)
        assert await running.files.get("acme", digest) == b"content"
    assert (tmp_path / "shared").is_dir()


async def test_files_go_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTENDANT_FILES", f"file:{tmp_path / 'env'}")
    async with Runtime(hot=Server(), durability="memory") as running:
        await running.files.put("acme", b"content")
    assert (tmp_path / "env").is_dir()
    given = MemoryFileStore()
    async with Runtime(hot=Server(), durability="memory", files=given) as running:
        digest = await running.files.put("acme", b"content")
        assert await given.get("acme", digest) == b"content"


async def test_a_server_has_no_place_for_files_and_says_what_to_do() -> None:
    async with Runtime([shop], hot=Server(), durability="memory") as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(keep, NOTHING)
        with pytest.raises(ExecutionFailed, match="@host:6379/0 has no place for files; give Runtime"):
            await execution.result(timeout=10)
        assert await running.files.get("acme", "00") is None
        assert await running.files.digests("acme") == []
        await running.files.delete("acme", "00")


def test_what_goes_with_which_store() -> None:
    assert isinstance(open_files("sqlite:work.db"), DirectoryFileStore)
    assert isinstance(open_files("memory:"), MemoryFileStore)
    assert isinstance(open_files("redis://host"), NoFileStore)
    assert isinstance(open_files("redis://host", "file:shared"), DirectoryFileStore)
    assert isinstance(open_files("redis://host", "memory:"), MemoryFileStore)


@pytest.mark.parametrize("url", ["shared", "file:", "file://host/x", "file:x?a=1", "s3://bucket"])
def test_other_places_are_refused(url: str) -> None:
    with pytest.raises(InvalidValue, match="known are file:/path/to/directory, memory:"):
        open_files("memory:", url)
