"""Whether the process lives, whether it takes work, and how it fares."""

from __future__ import annotations

from starlette.responses import Response

from intendant.http.endpoint import Call, json
from intendant.http.parameters import Standing
from intendant.http.problems import Refused
from intendant.runtime.exposition import CONTENT_TYPE


async def health(call: Call) -> Response:
    """The process answers. 503 once the runtime has given up: then only a restart helps."""
    if call.runtime.failed is not None:
        raise Refused(503, "runtime_stopped", "the runtime has given up; restart the process")
    return json(Standing("alive"))


async def metrics(call: Call) -> Response:
    """Numbers of the whole process, as Prometheus reads them."""
    return Response(call.runtime.metrics(), media_type=CONTENT_TYPE)


async def ready(call: Call) -> Response:
    """Calls are answered."""
    if call.application.admission.draining or not call.runtime.ready:
        raise Refused(503, "not_ready", "the runtime does not take work now")
    return json(Standing("ready"))
