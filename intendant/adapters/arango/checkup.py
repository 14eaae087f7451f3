"""What can be wrong with an ArangoDB server, and with our collections in it."""

from __future__ import annotations

import time
from typing import Any

from intendant.adapters.arango.address import Address, parse
from intendant.adapters.arango.driver import Client
from intendant.adapters.arango.errors import fault_of
from intendant.adapters.arango.schema import COLLECTIONS, VERSION_MIN, version_in
from intendant.adapters.checkup import Check

_MISSING = 1228  # there is no such database


def check_up(url: str) -> list[Check]:
    """Look at the server, the database and its collections, if they are there. It changes nothing, and blocks.

    Raises InvalidValue for a URL that is none.
    """
    address = parse(url)
    client = Client(address)
    try:
        began = time.perf_counter()
        version = str(client.database.version())
        took = (time.perf_counter() - began) * 1_000
        checks = [_version(version), Check("answer", "ok", f"in {took:.1f} ms, from {address.name}")]
        return [*checks, *_collections(client)]
    except Exception as error:
        return [_failed(error, address)]
    finally:
        client.close()


def _version(said: str) -> Check:
    if version_in(said) < VERSION_MIN:
        return Check("version", "wrong", said[:40], "use ArangoDB 3.11 or newer")
    return Check("version", "ok", said[:40])


def _collections(client: Client) -> list[Check]:
    listed: Any = client.database.collections()
    there = {str(each["name"]) for each in listed}
    checks: list[Check] = []
    for name in sorted(there.intersection(COLLECTIONS)):
        properties: Any = client.database.collection(name).properties()
        if not properties.get("sync"):
            change = f"set its waitForSync to true: db.{name}.properties({{waitForSync: true}})"
            checks.append(Check(f"waitForSync of {name}", "wrong", "false", change))
    missing = [name for name in COLLECTIONS if name not in there]
    if missing:
        checks.append(Check("collections", "ok", f"made by the first runtime: {', '.join(missing)}"))
    elif not checks:
        checks.append(Check("waitForSync", "ok", f"true in all {len(COLLECTIONS)} collections"))
    return checks


def _failed(error: Exception, address: Address) -> Check:
    if getattr(error, "error_code", None) == _MISSING:
        found = f"{address.name}: there is no such database"
        return Check("database", "warning", found, "the first runtime makes it, if its user may")
    fault = fault_of(error)
    return Check("server", "wrong", f"{address.name}: {fault.text}", "start it; look at address, user and password")
