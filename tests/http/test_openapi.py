"""The OpenAPI document, and that answers are what it says: schemathesis makes the requests."""

from __future__ import annotations

from functools import partial
from typing import Any

import httpx
import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from intendant import Runtime
from intendant.http import app
from intendant.http.openapi import document
from intendant.http.routes import ENDPOINTS
from intendant.realm import Repertoire
from tests.http.desk import held, work
from tests.infrastructure.tier import scaled

CASES = scaled(10_000, few=200)


def test_the_document_has_every_endpoint_and_handler() -> None:
    told = document(ENDPOINTS, Repertoire([work]))
    assert {(method.upper(), path) for path, methods in told["paths"].items() for method in methods} == {
        (each.method, each.path) for each in ENDPOINTS
    }
    assert told["x-intendant-handlers"]["work.count"]["result"] == {"type": "integer"}


@pytest.mark.scaled
@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("default")
def test_answers_are_what_the_document_says() -> None:
    told = document(ENDPOINTS, Repertoire([work]))
    schema: Any = schemathesis.openapi.from_dict(told)
    operations = [each.ok() for each in schema.get_all_operations()]
    cases = st.one_of([each.as_strategy() for each in operations if not each.path.endswith("/events")])
    runtime = Runtime([work], hot="memory:")

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(runtime):
        transport = httpx.ASGITransport(app(runtime, anonymous="acme"))
        client = httpx.AsyncClient(transport=transport, base_url="http://testserver", timeout=60)
        there = {"session": "s", "execution": portal.call(held, client)}

        @seed(7)
        @settings(
            max_examples=CASES,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        )
        @given(case=cases, real=st.booleans())
        def check(case: Any, real: bool) -> None:
            if real and not case.path.endswith(("/cancel", "/close")):  # else none of what is there would be asked
                case.path_parameters.update({name: there[name] for name in case.path_parameters if name in there})
                if case.path.endswith("/intents") and hasattr(case.body, "update"):  # else there is none
                    case.body.update(type="work.count", parameters={"text": "x"})
            asked = case.as_transport_kwargs(base_url="http://testserver")
            asked = {name: value for name, value in asked.items() if value is not None and name != "cookies"}
            answer = portal.call(partial(client.request, **asked))
            assert answer.status_code < 500, answer.text
            case.operation.validate_response(answer)

        check()
        portal.call(client.aclose)
