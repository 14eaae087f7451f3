"""Tokens, scopes and tenants: nothing of another tenant is reached, and unknown and forbidden look the same."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from intendant.http import TokenFile, application, cursors, tokens
from intendant.http.tokens import Caller, make_token
from tests.http.desk import desk, held

pytestmark = pytest.mark.anyio
PATHS = (
    ("GET", "/v1/sessions/{s}"),
    ("POST", "/v1/sessions/{s}/close"),
    ("POST", "/v1/sessions/{s}/intents"),
    ("GET", "/v1/executions/{e}"),
    ("GET", "/v1/executions/{e}/outcome"),
    ("GET", "/v1/executions/{e}/queries/what"),
    ("GET", "/v1/executions/{e}/events"),
    ("POST", "/v1/executions/{e}/signals/go"),
    ("POST", "/v1/executions/{e}/cancel"),
)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic abc", "Bearer intendant_0_0"])
async def test_without_a_token_nothing_is_answered(opened: Any, header: str) -> None:
    async with opened() as desk, desk.client(Authorization=header) as client:
        for path in ("/v1/sessions", "/v1/wal", "/openapi.json"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
            assert answer.headers["www-authenticate"] == "Bearer"


async def scopes_and_revocation(path: Path) -> None:
    async with desk(path) as there:
        good = there.token("acme", ("read",))
        async with there.client(good) as client:
            assert (await client.get("/v1/sessions")).status_code == 200
            assert (await client.post("/v1/sessions", json={})).status_code == 403
            assert (await client.post("/v1/executions/none/cancel")).status_code == 403
        bad = good[:-1] + ("0" if good[-1] != "0" else "1")
        async with there.client(bad) as client:
            assert (await client.get("/v1/sessions")).status_code == 401
        assert there.tokens.revoke(good.split("_")[1])
        async with there.client(good) as client:
            assert (await client.get("/v1/sessions")).status_code == 401


async def test_scopes_and_revocation(tmp_path: Path) -> None:
    await scopes_and_revocation(tmp_path)


async def test_a_file_that_others_may_read_is_not_believed(opened: Any) -> None:
    async with opened() as desk:
        token = desk.token("acme")
        assert desk.tokens.path.stat().st_mode & 0o777 == 0o600
        desk.tokens.path.chmod(0o640)
        desk.tokens._seen = None  # pyright: ignore[reportPrivateUsage]
        async with desk.client(token) as client:
            answer = await client.get("/v1/sessions")
            assert (answer.status_code, answer.json()["code"]) == (503, "tokens_unavailable")


def test_a_secret_is_not_stored(tmp_path: Path) -> None:
    text, stored = make_token("acme", ("read",), 1)
    TokenFile(tmp_path / "tokens").add(stored)
    assert text.rpartition("_")[2] not in (tmp_path / "tokens").read_text()


async def crossing(path: Path, tries: int, seed: int) -> None:
    """Two tenants ask for each other's, at random; raises AssertionError when one gets anything."""
    pick = random.Random(seed)
    async with desk(path) as there:
        clients = {tenant: there.client(there.token(tenant)) for tenant in ("acme", "globex")}
        ids: dict[str, dict[str, str]] = {}
        pages: dict[str, list[tuple[str, str]]] = {}
        for tenant, client in clients.items():
            ids[tenant] = {"s": f"{tenant}-desk", "e": await held(client, f"{tenant}-desk")}
            await client.put(f"/v1/sessions/{tenant}-other", json={})
            await held(client, f"{tenant}-desk")
            pages[tenant] = []
            for path_ in ("/v1/sessions", "/v1/executions", "/v1/wal"):
                page = (await client.get(path_, params={"limit": "1"})).json()
                pages[tenant].append((path_, page["cursor"]))
        for _ in range(tries):
            mine, other = pick.sample(list(clients), 2)
            await _try(clients[mine], ids[other], pages[other], other, pick)
        for client in clients.values():
            await client.aclose()


async def _try(
    client: httpx.AsyncClient, ids: dict[str, str], pages: list[tuple[str, str]], other: str, pick: random.Random
) -> None:
    kind = pick.randrange(3)
    if kind == 0:
        method, path = pick.choice(PATHS)
        body: dict[str, Any] = (
            {"json": {"type": "work.count", "parameters": {"text": "x"}}} if path.endswith("intents") else {}
        )
        body = {"json": {}} if path.endswith("go") else body
        theirs = await client.request(method, path.format(**ids), **body)
        nobody = {"s": "f" * len(ids["s"]), "e": "f" * len(ids["e"])}
        none = await client.request(method, path.format(**nobody), **body)
        assert theirs.status_code == none.status_code == 404
        text = theirs.text.replace(ids["s"], nobody["s"]).replace(ids["e"], nobody["e"])
        assert text == none.text
        assert list(theirs.headers) == list(none.headers)
    elif kind == 1:
        path, cursor = pick.choice(pages)
        answer = await client.get(path, params={"cursor": cursor})
        assert answer.status_code == 400
    else:
        path = pick.choice(["/v1/sessions", "/v1/executions", "/v1/wal", "/v1/outbox/pending"])
        params = {"session": ids["s"]} if path in ("/v1/executions", "/v1/wal") else {}
        answer = await client.get(path, params=params)
        assert answer.status_code == 200
        assert other not in answer.text
        if params:
            assert answer.json()["items"] == []


@pytest.mark.in_turn
@pytest.mark.scaled
@pytest.mark.timeout(0)
async def test_nothing_crosses(tmp_path: Path) -> None:
    await crossing(tmp_path, 50_000 if "STRESS" in os.environ else 1_000, seed=7)


async def test_planted_the_tenant_is_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def anyone(_: Any, __: Any) -> Caller:
        return Caller("acme", tokens.SCOPES)

    monkeypatch.setattr(application, "identify", anyone)
    with pytest.raises(AssertionError):
        await crossing(tmp_path, 50, seed=7)


async def test_planted_a_cursor_of_another_tenant_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursors, "_mark", _same_mark)
    with pytest.raises(AssertionError):
        await crossing(tmp_path, 50, seed=7)


async def test_planted_a_token_is_compared_by_its_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "digest_of", str)
    monkeypatch.setattr(tokens, "same", _same_beginning)
    with pytest.raises(AssertionError):
        await scopes_and_revocation(tmp_path)


def _same_mark(_tenant: str, _list: str, _cursor: str) -> bytes:
    return b"12345678"


def _same_beginning(given: str, stored: str) -> bool:
    return given[:8] == stored[:8]
