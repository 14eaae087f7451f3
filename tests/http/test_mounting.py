"""The application below another one, and over a runtime that is not entered yet."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from intendant import Runtime
from intendant.http import app
from tests.http.desk import work

pytestmark = pytest.mark.anyio


async def test_mounted_in_fastapi_it_needs_no_lifespan() -> None:
    runtime = Runtime([work], hot="memory:")
    api = FastAPI()
    api.mount("/desk", app(runtime, anonymous="acme"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://host") as client:
        early = await client.get("/desk/v1/sessions")
        assert (early.status_code, early.json()["code"]) == (503, "runtime_stopped")
        assert (await client.get("/desk/ready")).status_code == 503
        async with runtime:
            made = await client.post("/desk/v1/sessions", json={})
            assert made.headers["location"] == f"/desk/v1/sessions/{made.json()['id']}"
            assert (await client.get(made.headers["location"])).status_code == 200
