"""Tokens, scopes and tenants: nothing of another tenant is reached, and unknown and forbidden look the same."""

from __future__ import annotations

import dataclasses
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from intendant.domain.errors import IntendantError
from intendant.http import HttpLimits, TokenFile, application, cursors, tokens
from intendant.http.endpoint import Call, Endpoint
from intendant.http.routes import ENDPOINTS
from intendant.http.tokens import METRICS, Caller, make_token
from tests.http.crossing import Crossing, Side, side
from tests.http.desk import desk
from tests.http.served import Served
from tests.infrastructure.tier import scaled

pytestmark = pytest.mark.anyio
NOTHING_THERE = ("/v1/outbox/published", "/v1/outbox/dead-letters")  # nobody publishes at the desk
OF_TENANTS = [each for each in ENDPOINTS if each.scope not in (None, METRICS) and each.path not in NOTHING_THERE]


def _named(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


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


async def crossing(path: Path) -> None:
    """Each attempt once; raises AssertionError when anything crosses."""
    async with desk(path, HttpLimits(keep_alive_seconds=0.01)) as there, AsyncExitStack() as clients:
        sides: list[Side] = []
        for tenant in ("acme", "globex"):
            token = there.token(tenant)
            client = await clients.enter_async_context(there.client(token))
            sides.append(await side(tenant, token, client))
        await Crossing(sides).run(0, seed=7)


@pytest.mark.in_turn
@pytest.mark.scaled
@pytest.mark.timeout(0)
@pytest.mark.parametrize("store", ["sqlite", "redis"])
async def test_nothing_crosses(
    tmp_path: Path, store: str, request: pytest.FixtureRequest, anyio_backend: tuple[str, object]
) -> None:
    """Over real connections, to a server in another process."""
    hot = f"sqlite:{tmp_path / 'work.db'}" if store == "sqlite" else request.getfixturevalue("redis_url")
    async with AsyncExitStack() as clients:
        served = clients.enter_context(Served(tmp_path, hot, anyio_backend[0]))
        sides: list[Side] = []
        for tenant in ("acme", "globex"):
            token = served.token(tenant)
            headers = {"Authorization": f"Bearer {token}"}
            client = httpx.AsyncClient(base_url=served.address, headers=headers, timeout=30)
            sides.append(await side(tenant, token, await clients.enter_async_context(client)))
        await Crossing(sides).run(scaled(25_000, few=200), seed=7)  # on each loop 50,000


async def test_planted_none(tmp_path: Path) -> None:
    await crossing(tmp_path)


@pytest.mark.in_turn
@pytest.mark.parametrize("place", OF_TENANTS, ids=_named)
async def test_planted_a_route_forgets_the_tenant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Endpoint
) -> None:
    async def forgetful(call: Call) -> Response:
        """Answers with what any tenant has."""
        answers: list[Response] = []
        failed: list[IntendantError] = []
        for tenant in sorted(("acme", "globex"), key=call.tenant.__eq__):
            try:
                answers.append(await place.run(dataclasses.replace(call, caller=Caller(tenant, call.caller.scopes))))
            except IntendantError as error:
                failed.append(error)
        if not answers:
            raise failed[-1]
        return answers[0]

    forgetting = (dataclasses.replace(each, run=forgetful) if each == place else each for each in ENDPOINTS)
    monkeypatch.setattr(application, "ENDPOINTS", tuple(forgetting))
    with pytest.raises(AssertionError):
        await crossing(tmp_path)


async def test_planted_the_tenant_is_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def anyone(_: Any, __: Any) -> Caller:
        return Caller("acme", tokens.SCOPES)

    monkeypatch.setattr(application, "identify", anyone)
    with pytest.raises(AssertionError):
        await crossing(tmp_path)


async def test_planted_a_cursor_of_another_tenant_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursors, "_mark", _same_mark)
    with pytest.raises(AssertionError):
        await crossing(tmp_path)


async def test_planted_a_token_is_compared_by_its_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "digest_of", str)
    monkeypatch.setattr(tokens, "same", _same_beginning)
    with pytest.raises(AssertionError):
        await scopes_and_revocation(tmp_path)


def _same_mark(_tenant: str, _list: str, _cursor: str) -> bytes:
    return b"12345678"


def _same_beginning(given: str, stored: str) -> bool:
    return given[:8] == stored[:8]
