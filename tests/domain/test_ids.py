"""Ids: given ones are checked, made ones sort by time; a tenant's partition is the same for ever."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant import InvalidIntent
from intendant.domain.ids import Ids, check_id, check_type, first_id, make_id, partition_of

ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:-]{0,127}", re.ASCII)


@given(st.from_regex(ALLOWED, fullmatch=True))
def test_ids_of_the_documented_form_pass_unchanged(value: str) -> None:
    assert check_id(value, "field") is value


@given(st.text() | st.from_regex(r"[A-Za-z0-9_.@:/ \n-]{0,140}"))
def test_anything_else_is_refused_and_the_field_named(value: str) -> None:
    if ALLOWED.fullmatch(value):
        assert check_id(value, "field") == value
        return
    with pytest.raises(InvalidIntent) as raised:
        check_id(value, "field")
    assert raised.value.field == "field"
    assert str(raised.value).isascii()
    assert len(str(raised.value)) < 900


@given(st.none() | st.integers() | st.binary() | st.lists(st.text()) | st.floats())
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(InvalidIntent, match=f"not {type(value).__name__}"):
        check_id(value, "field")
    with pytest.raises(InvalidIntent, match="type: "):
        check_type(value)


@given(st.text() | st.from_regex(r"[a-z]{0,3}(\.[a-z0-9_]{0,3}){0,3}", fullmatch=True))
def test_types_have_two_parts_or_more(value: str) -> None:
    parts = value.split(".")
    fine = len(parts) > 1 and all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", part) for part in parts)
    if fine and 3 <= len(value) <= 128:
        assert check_type(value) == value
    else:
        with pytest.raises(InvalidIntent, match="type: "):
            check_type(value)


@given(st.integers(0, 2**57), st.integers(0, 2**57))
def test_made_ids_pass_and_sort_by_time(one: int, other: int) -> None:
    first, second = make_id(one), make_id(other)
    assert check_id(first, "field") == first
    assert len(first) == 32
    assert first != second
    if one // 1000 != other // 1000 and max(one, other) // 1000 < 2**48:
        assert (first < second) == (one < other)


def test_threads_never_make_the_same_id() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make_id, [0] * 10_000))
    assert len({*made}) == len(made)


_FORK = """
import os
from intendant.domain.ids import make_id
make_id(0)  # what is asked for ahead is there
reader, writer = os.pipe()
if not os.fork():
    os.write(writer, make_id(0).encode())
    os._exit(0)
os.wait()
print(os.read(reader, 32).decode(), make_id(0))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
def test_a_forked_process_makes_ids_of_its_own() -> None:
    told = subprocess.run([sys.executable, "-c", _FORK], check=True, capture_output=True, text=True)
    child, parent = told.stdout.split()
    assert child != parent


@given(st.text(), st.integers(1, 64))
def test_partition_is_stable_and_in_range(tenant: str, partitions: int) -> None:
    tenant = tenant.encode("utf-8", "replace").decode()
    assert 0 <= partition_of(tenant, partitions) < partitions
    assert partition_of(tenant, 1) == 0


def test_partitions_of_known_tenants_never_change() -> None:
    assert [partition_of(tenant, 16) for tenant in ("acme", "bolt", "cave", "a")] == [14, 7, 1, 3]


@given(st.lists(st.integers(0, 2**47), min_size=1, max_size=200))
def test_ids_of_one_maker_rise_whatever_the_clock_does(times: list[int]) -> None:
    ids = Ids()
    made = [ids.make(now) for now in times for _ in range(3)]
    assert made == sorted(set(made))
    assert {len(each) for each in made} == {32}
    assert made[0] >= first_id(times[0])
