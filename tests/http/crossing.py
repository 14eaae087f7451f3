"""Two tenants, each with what the other one has: ids, keys, cursors, marks of streams, and tokens.

Nothing crosses, and what belongs to the other one is answered as what nobody has: by status, headers and body.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Final

import httpx

from intendant.http.routes import ENDPOINTS
from tests.http.desk import held

PATHS: Final = tuple((each.method, each.path) for each in ENDPOINTS if "{" in each.path and each.method != "PUT")
LISTS: Final = ("/v1/sessions", "/v1/executions", "/v1/wal", "/v1/outbox/pending")
COUNT: Final = {"type": "work.count", "parameters": {"text": "x"}}
NOBODY: Final = "f" * 32


@dataclass
class Side:
    """One tenant: its client, and what it has."""

    tenant: str
    token: str
    client: httpx.AsyncClient
    session: str = ""
    held: str = ""
    key: str = ""
    cursors: dict[str, str] = field(default_factory=dict[str, str])
    mark: str = ""


async def side(tenant: str, token: str, client: httpx.AsyncClient) -> Side:
    """Give a tenant a session, an execution that waits, a key, and more than one page of each list."""
    made = Side(tenant, token, client, key=f"key-of-{tenant}")
    made.session = (await client.post("/v1/sessions", json={})).json()["id"]
    made.held = await held(client, made.session)
    sent = {"Idempotency-Key": made.key, "Prefer": "wait=10"}
    done = await client.post(f"/v1/sessions/{made.session}/intents", json=COUNT, headers=sent)
    assert done.status_code == 200, done.text
    await client.post("/v1/sessions", json={})
    told = (await client.get(f"/v1/executions/{done.json()['execution_id']}/events")).text
    made.mark = next(line[4:] for line in told.splitlines() if line.startswith("id: "))
    for path in LISTS:
        page = (await client.get(path, params={"limit": "1"})).json()
        if page["cursor"] is not None:
            made.cursors[path] = page["cursor"]
    return made


class Crossing:
    """What a tenant tries with what the other one has. Raises AssertionError for what crosses."""

    def __init__(self, sides: list[Side]) -> None:
        self._sides = sides
        self.asked = 0
        for each in sides:
            each.client.event_hooks = {"request": [self._count]}
        self.attempts: list[Callable[[], Awaitable[None]]] = [
            *(self._attempt(self._path, mine, other, each) for each in PATHS for mine, other in self._pairs()),
            *(self._attempt(self._list, mine, other, each) for each in LISTS for mine, other in self._pairs()),
            *(self._attempt(each, mine, other) for each in (self._key, self._mark) for mine, other in self._pairs()),
            *(self._attempt(self._token, mine, other) for mine, other in self._pairs()),
        ]

    async def run(self, requests: int, seed: int) -> None:
        """Each attempt once, then others at random, until so many requests were made."""
        for each in self.attempts:
            await each()
        pick = random.Random(seed)
        while self.asked < requests:
            await pick.choice(self.attempts)()

    async def _count(self, _: httpx.Request) -> None:
        self.asked += 1

    def _pairs(self) -> list[tuple[Side, Side]]:
        return [(mine, other) for mine, other in permutations(self._sides, 2)]

    @staticmethod
    def _attempt(run: Callable[..., Awaitable[None]], *arguments: Any) -> Callable[[], Awaitable[None]]:
        return lambda: run(*arguments)

    async def _path(self, mine: Side, other: Side, asked: tuple[str, str]) -> None:
        """An id of the other tenant is answered as one that nobody has."""
        method, path = asked
        body: Any = {"json": COUNT} if path.endswith("intents") else {"json": {}} if "signals" in path else {}
        ids = {"session": other.session, "execution": other.held, "name": "what" if "queries" in path else "go"}
        theirs = await mine.client.request(method, path.format(**ids), **body)
        nobodys = {**ids, "session": NOBODY[: len(other.session)], "execution": NOBODY[: len(other.held)]}
        none = await mine.client.request(method, path.format(**nobodys), **body)
        assert theirs.status_code == none.status_code == 404, theirs.text
        text = theirs.text.replace(other.session, nobodys["session"]).replace(other.held, nobodys["execution"])
        assert text == none.text
        assert _told(theirs.headers) == _told(none.headers)

    async def _list(self, mine: Side, other: Side, path: str) -> None:
        """A list has nothing of the other tenant's, also not by its ids; its cursors are none."""
        for params in ({}, {"session": other.session}) if path in ("/v1/executions", "/v1/wal") else ({},):
            answer = await mine.client.get(path, params={**params, "limit": "100"})
            assert answer.status_code == 200
            assert not any(each in answer.text for each in (other.session, other.held))
            assert not params or answer.json()["items"] == []
        if path in other.cursors:  # the outbox has one event: it has none
            theirs = await mine.client.get(path, params={"cursor": other.cursors[path]})
            none = await mine.client.get(path, params={"cursor": NOBODY})
            assert (theirs.status_code, theirs.text) == (400, none.text)

    async def _key(self, mine: Side, other: Side) -> None:
        """A key of the other tenant's is a key that is free."""
        sent = {"Idempotency-Key": other.key, "Prefer": "wait=10"}
        intent = {"type": "work.count", "parameters": {"text": f"{mine.tenant} has another intent"}}
        answer = await mine.client.post(f"/v1/sessions/{mine.session}/intents", json=intent, headers=sent)
        assert (answer.status_code, answer.json().get("result")) == (200, 4), answer.text

    async def _mark(self, mine: Side, other: Side) -> None:
        """A stream does not go on behind an event of the other tenant's."""
        path = f"/v1/executions/{mine.held}/events"
        theirs = await mine.client.get(path, headers={"Last-Event-ID": other.mark})
        none = await mine.client.get(path, headers={"Last-Event-ID": NOBODY})
        assert (theirs.status_code, theirs.text) == (400, none.text)

    async def _token(self, mine: Side, other: Side) -> None:
        """The id of one token with the secret of another is no token, and told as one that nobody has."""
        _, id, _ = other.token.split("_")
        secret = mine.token.split("_")[2]
        answers = [
            await mine.client.get("/v1/sessions", headers={"Authorization": f"Bearer intendant_{each}_{secret}"})
            for each in (id, NOBODY[:16])
        ]
        assert [each.status_code for each in answers] == [401, 401]
        assert answers[0].text == answers[1].text
        assert _told(answers[0].headers) == _told(answers[1].headers)


def _told(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Without the time, and without what hypercorn says at each thousandth answer of a connection."""
    return sorted((name, value) for name, value in headers.items() if name not in ("date", "connection"))
