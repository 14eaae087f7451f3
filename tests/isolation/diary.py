"""What both tenants write, in their own names: a diary, and where it is kept."""

from __future__ import annotations

from typing import Final

import anyio
from msgspec import Struct

from intendant import Context, Event, Realm, Runtime
from intendant.domain.ports import ColdStore, FileStore, LogReader, Store

NAMES: Final = ("a", "a:b")  # which joined with the ids below give the same text: a + b:b and a:b + b
diary = Realm("diary")


class Note(Struct):
    of: str
    number: int


async def say(text: str) -> str:
    return text


@diary.handler
async def write(ctx: Context, note: Note) -> str:
    said = await ctx.step("say", say, f"{ctx.tenant_id} {note.of} {note.number}")
    kept = await ctx.files.put("note.txt", said.encode())
    ctx.artifact("note", kept)
    ctx.emit("spoiled" if note.number % 7 == 0 else "written", note)
    return said


@diary.handler
async def hold(ctx: Context, note: Note) -> None:
    await ctx.step("say", say, f"{ctx.tenant_id} {note.of} {note.number}")
    await anyio.sleep_forever()


class Publisher:
    """Delivers to each tenant's list, and refuses events that are spoiled."""

    def __init__(self) -> None:
        self.delivered: dict[str, list[Event]] = {name: [] for name in NAMES}

    async def publish(self, event: Event) -> None:
        if event.name == "spoiled":
            raise ValueError("as asked")
        self.delivered[event.tenant].append(event)


class Written(Struct):
    """An execution as it must be found."""

    id: str
    session: str
    solution: str
    key: str
    number: int
    type: str = "diary.write"


class House:
    """Where both live: the stores, which stay, and the runtime over them, which may be another later."""

    runtime: Runtime

    def __init__(self, hot: Store, cold: ColdStore | None) -> None:
        self.hot = hot
        self.cold = cold
        self.published = False

    @property
    def log(self) -> LogReader:
        return self.hot.log(0)

    @property
    def files(self) -> FileStore:
        return self.runtime.files
