"""Founding behaviours 15 to 22: the state surface, that is the user's own documents beside what is tracked."""

from collections.abc import Callable
from typing import Any

import pytest

from intendant import FileReference, Runtime

pytestmark = pytest.mark.anyio

NESTED: dict[str, Any] = {
    "status": "running",
    "progress": 0.5,
    "flags": [True, False, None],
    "deep": {"er": {"est": [1, {"two": 3}]}},
}


async def execution_data(running: Runtime, tenant: str, id: str) -> dict[str, Any] | None:
    view = await running.state.execution(tenant, id)
    assert view is not None
    return view.data


async def test_15_execution_state_set_then_get_is_equal_when_nested(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        await running.state.set_execution("acme", "run-1", NESTED)
        assert await execution_data(running, "acme", "run-1") == NESTED


async def test_16_session_state_set_then_get(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        await running.open_session("acme", "desk-1", user_id="ada")
        await running.state.set_session("acme", "desk-1", NESTED)
        view = await running.state.session("acme", "desk-1")
        assert view is not None
        assert (view.user_id, view.data) == ("ada", NESTED)


async def test_17_same_execution_id_under_two_tenants_holds_two_states(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        await running.state.set_execution("acme", "run-1", {"of": "acme"})
        await running.state.set_execution("bolt", "run-1", {"of": "bolt"})
        assert await execution_data(running, "acme", "run-1") == {"of": "acme"}
        assert await execution_data(running, "bolt", "run-1") == {"of": "bolt"}


async def test_18_update_is_visible(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        await running.state.set_execution("acme", "run-1", {"status": "running"})
        await running.state.set_execution("acme", "run-1", {"status": "done", "words": 7})
        assert await execution_data(running, "acme", "run-1") == {"status": "done", "words": 7}


async def test_19_file_reference_is_stored_and_retrieved(runtime: Callable[..., Runtime]) -> None:
    file = FileReference("scan-1", "acme", "desk-1", "s3://bucket/scan.pdf", "scan.pdf", {"pages": 3})
    async with runtime() as running:
        await running.state.set_file(file)
        assert await running.state.file("acme", "scan-1") == file
        assert await running.state.file("bolt", "scan-1") is None


async def test_20_several_executions_of_a_tenant_are_all_retrievable(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        for place in range(5):
            await running.state.set_execution("acme", f"run-{place}", {"place": place})
        await running.state.set_execution("bolt", "run-9", {"place": 9})
        page = await running.state.execution_data("acme")
        assert dict(page.items) == {f"run-{place}": {"place": place} for place in range(5)}


async def test_21_setting_a_state_overwrites_the_one_before(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        await running.state.set_execution("acme", "run-1", {"only": "first"})
        await running.state.set_execution("acme", "run-1", {"second": True})
        assert await execution_data(running, "acme", "run-1") == {"second": True}


async def test_22_state_that_does_not_exist_reads_as_none(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        assert await running.state.execution("acme", "nobody") is None
        assert await running.state.session("acme", "nobody") is None
