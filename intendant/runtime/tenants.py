"""The tenants of a store, in order."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from intendant.domain.ids import partition_of
from intendant.domain.ports import ColdStore
from intendant.runtime.readable import Readable
from intendant.runtime.views import Page, check_key_cursor, check_limit


class TenantView(Struct, frozen=True):
    """A tenant that something is stored of, and the partition that it lives in."""

    id: str
    partition: int


async def list_tenants(
    partitions: Sequence[Readable], count: int, cold: ColdStore | None, *, limit: int, cursor: str | None
) -> Page[TenantView]:
    """Those of these partitions, of `count` in all, by id. Raises InvalidIntent for what is no limit or cursor."""
    after = check_key_cursor(cursor)
    check_limit(limit)
    found: dict[str, int] = {}
    for each in partitions:
        # one more than asked for: the partition's own records are of the tenant ""
        found.update(dict.fromkeys(await each.log.tenants(after=after, limit=limit + 1), each.number))
    if cold is not None:
        numbers = {each.number for each in partitions}
        for tenant in await cold.tenants(after=after, limit=limit):
            if (number := partition_of(tenant, count)) in numbers:
                found[tenant] = number
    found.pop("", None)
    names = sorted(found)[:limit]
    return Page([TenantView(each, found[each]) for each in names], names[-1] if len(names) == limit else None)
