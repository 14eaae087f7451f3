"""Which tenants are crowded: whatever comes and is told of, in whatever order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from intendant.actors.crowding import BESIDE_CROWDED, BESIDE_OTHERS, CROWDED, LIGHT_SECONDS, Crowding
from intendant.domain.commit import RECORDS_MAX
from intendant.domain.records import SYSTEM_TENANT

CALLS = st.lists(st.tuples(st.sampled_from(["comes", "told", "time"]), st.sampled_from("ab"), st.integers(1, 40)))


@given(CALLS)
def test_a_tenant_is_held_back_while_its_commits_wait_and_never_after(calls: list[tuple[str, str, int]]) -> None:
    waiting, allowed, now = Counter[str](), dict[str, int | None](), 0.0
    crowding = Crowding(lambda tenant: waiting[tenant])
    crowding.on_crowded = allowed.__setitem__
    for what, tenant, number in calls:
        match what:
            case "comes":
                for _ in range(number):
                    waiting[tenant] += 1
                    crowding.committing(tenant, now)
                if waiting[tenant] >= CROWDED:
                    assert allowed[tenant] is not None, "crowded"
            case "told":
                waiting[tenant] = max(0, waiting[tenant] - number)
                crowding.told()
                for each, more in allowed.items():
                    assert more is None or 0 <= more <= CROWDED - min(waiting[each], CROWDED)
            case _:
                now += number / 1_000
        held = {each for each, more in allowed.items() if more is not None}
        assert crowding.batch(now, several=True) in ({BESIDE_CROWDED, BESIDE_OTHERS} if held else {BESIDE_OTHERS})
    waiting.clear()
    crowding.told()
    assert not [more for more in allowed.values() if more is not None], "nothing waits, and nobody is held back"


def test_batches_are_small_while_a_light_tenant_commits_beside_a_crowded_one() -> None:
    waiting = Counter({"noisy": CROWDED, "quiet": 1})
    crowding = Crowding(lambda tenant: waiting[tenant])
    crowding.committing("quiet", 0.0)
    assert crowding.batch(0.0, several=True) == BESIDE_OTHERS, "nobody is crowded"
    crowding.committing("noisy", 0.0)
    crowding.committing(SYSTEM_TENANT, 0.0)
    assert crowding.batch(0.0, several=True) == BESIDE_OTHERS, "nobody else commits"
    crowding.committing("quiet", 1.0)
    assert crowding.batch(1.0, several=True) == BESIDE_CROWDED
    assert crowding.batch(1.0 + LIGHT_SECONDS, several=True) == BESIDE_OTHERS
    assert crowding.batch(1.0, several=False) == RECORDS_MAX
