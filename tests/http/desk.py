"""The application over a store in memory, with tokens of two tenants."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from msgspec import Struct

from intendant import Context, Limits, Realm, Runtime
from intendant.adapters.memory import MemoryStore
from intendant.http import Application, HttpLimits, TokenFile, app
from intendant.http.tokens import SCOPES, Scope, make_token

work = Realm("work")


class Text(Struct):
    text: str


@work.handler
async def count(ctx: Context, given: Text) -> int:
    ctx.emit("counted", {"text": given.text})
    return len(given.text.split())


@work.handler
async def hold(ctx: Context, given: Text) -> str:
    ctx.on_query("what", lambda: given.text)
    return await ctx.wait_signal("go", type=str)


class Desk:
    """The application, its clients, and its tokens."""

    def __init__(self, application: Application, tokens: TokenFile) -> None:
        self.application = application
        self.tokens = tokens

    def token(self, tenant: str, scopes: tuple[Scope, ...] = SCOPES) -> str:
        text, stored = make_token(tenant, scopes, 0)
        self.tokens.add(stored)
        return text

    def client(self, token: str = "", **headers: str) -> httpx.AsyncClient:
        given = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.application)
        return httpx.AsyncClient(transport=transport, base_url="http://desk", headers={**given, **headers}, timeout=20)


@asynccontextmanager
async def desk(path: Path, limits: HttpLimits | None = None, within: Limits | None = None) -> AsyncGenerator[Desk]:
    async with Runtime([work], hot=MemoryStore(), limits=within or Limits()) as runtime:
        tokens = TokenFile(path / "tokens.json")
        yield Desk(app(runtime, tokens=tokens, limits=limits), tokens)


@work.handler
async def odd(ctx: Context, given: Text) -> dict[int, bytes]:
    return {1: given.text.encode()}


async def held(client: httpx.AsyncClient, session: str = "s") -> str:
    """An execution that waits for a signal."""
    await client.put(f"/v1/sessions/{session}", json={})
    answer = await client.post(
        f"/v1/sessions/{session}/intents", json={"type": "work.hold", "parameters": {"text": "secret"}}
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["execution"])
