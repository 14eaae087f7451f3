"""What each answer means, as a table."""

from __future__ import annotations

import pytest

from intendant.adapters.arango.errors import (
    ColdStoreMisconfigured,
    Fate,
    NoAnswerError,
    UntrustedServerError,
    answered,
    classify,
    fault_of,
)
from intendant.domain.errors import InternalError, Stopped, StoreUnavailable

TABLE = [
    # not applied
    (409, 1200, "write-write conflict", Fate.AGAIN),
    (202, 1200, "write-write conflict", Fate.AGAIN),
    (500, 28, "collection/view/index is locked", Fate.AGAIN),
    (500, 29, "deadlock detected", Fate.AGAIN),
    (500, 18, "timeout waiting to lock key", Fate.AGAIN),
    (503, 1302, "try again", Fate.AGAIN),
    (503, 1303, "busy", Fate.AGAIN),
    (503, 21003, "queue is full", Fate.AGAIN),
    (412, 21004, "queue time violated", Fate.AGAIN),
    (503, 30, "shutdown in progress", Fate.AGAIN),
    (503, 38, "starting up", Fate.AGAIN),
    (403, 1429, "write concern not fulfilled", Fate.AGAIN),
    (503, 1429, "write concern not fulfilled", Fate.AGAIN),
    (403, 1004, "write concern not fulfilled", Fate.AGAIN),
    (503, 1004, "read only", Fate.AGAIN),
    # may be applied
    (500, 1457, "timeout in cluster operation", Fate.UNKNOWN),
    (500, 1464, "shard is gone", Fate.UNKNOWN),
    (503, 1465, "connection lost", Fate.UNKNOWN),
    (503, 1478, "backend unavailable", Fate.UNKNOWN),
    (421, 1491, "leader resigned", Fate.UNKNOWN),
    (503, 1495, "leadership challenge ongoing", Fate.UNKNOWN),
    (503, 1496, "not a leader", Fate.UNKNOWN),
    (406, 1489, "refused on follower", Fate.UNKNOWN),
    (406, 1490, "refused on follower", Fate.UNKNOWN),
    (410, 21, "cancelled", Fate.UNKNOWN),
    (410, 1500, "query killed", Fate.UNKNOWN),
    (410, 1654, "transaction aborted", Fate.UNKNOWN),
    (500, 4, "internal error", Fate.UNKNOWN),
    (503, 503, "service unavailable", Fate.UNKNOWN),
    (504, 0, "", Fate.UNKNOWN),
    (502, 0, "<html>", Fate.UNKNOWN),
    (408, 0, "", Fate.UNKNOWN),
    (429, 0, "", Fate.UNKNOWN),
    (302, 0, "", Fate.UNKNOWN),
    (404, 1600, "cursor not found", Fate.UNKNOWN),
    (409, 1601, "cursor is busy", Fate.UNKNOWN),
    (202, 99999, "something new", Fate.UNKNOWN),
    # decided by what is there
    (409, 1210, "unique constraint violated", Fate.CHANGED),
    (409, 1207, "duplicate name", Fate.CHANGED),
    (412, 1200, "conflict", Fate.CHANGED),
    (409, 1200, "conflict, _rev values do not match", Fate.CHANGED),
    (404, 1202, "document not found", Fate.CHANGED),
    # never
    (400, 1221, "illegal document key", Fate.REFUSED),
    (400, 1222, "unexpected document key", Fate.REFUSED),
    (400, 1226, "missing document key", Fate.REFUSED),
    (400, 1227, "invalid document type", Fate.REFUSED),
    (400, 1216, "document too large", Fate.REFUSED),
    (400, 1620, "schema violation", Fate.REFUSED),
    (400, 600, "invalid JSON", Fate.REFUSED),
    (400, 1233, "edge attribute missing", Fate.REFUSED),
    (400, 1501, "syntax error", Fate.REFUSED),
    *[(400, number, "bind parameter", Fate.REFUSED) for number in (1550, 1551, 1552, 1553)],
    (413, 0, "", Fate.REFUSED),
    (400, 0, "", Fate.REFUSED),
    # not before the configuration changes
    (404, 1203, "collection or view not found", Fate.MISCONFIGURED),
    (404, 1228, "database not found", Fate.MISCONFIGURED),
    (401, 11, "not authorized", Fate.MISCONFIGURED),
    (403, 11, "forbidden", Fate.MISCONFIGURED),
    (401, 0, "", Fate.MISCONFIGURED),
    (403, 0, "", Fate.MISCONFIGURED),
    (403, 1004, "server is in read-only mode", Fate.MISCONFIGURED),
    (500, 32, "resource limit exceeded", Fate.MISCONFIGURED),
    (500, 1104, "collection full", Fate.MISCONFIGURED),
    (500, 1305, "IO error", Fate.MISCONFIGURED),
    (403, 9005, "license", Fate.MISCONFIGURED),
]
ERRORS = {
    Fate.AGAIN: StoreUnavailable,
    Fate.UNKNOWN: StoreUnavailable,
    Fate.CHANGED: StoreUnavailable,
    Fate.REFUSED: InternalError,
    Fate.MISCONFIGURED: ColdStoreMisconfigured,
}


@pytest.mark.parametrize(("status", "number", "message", "fate"), TABLE)
def test_classify(status: int, number: int, message: str, fate: Fate) -> None:
    assert classify(status, number, message) is fate
    error = answered(status, number, message).error("arangodb://h/d")
    assert type(error) is ERRORS[fate]
    assert str(error).startswith("arangodb://h/d: ")


def test_the_driver_repeats_a_status_where_there_is_no_number() -> None:
    fault = answered(403, 403, None)
    assert (fault.number, fault.fate) == (0, Fate.MISCONFIGURED)
    assert "grant the user" in str(fault.error("s"))


def test_what_is_no_answer() -> None:
    assert fault_of(NoAnswerError("no answer within 5 s")).fate is Fate.UNKNOWN
    assert fault_of(UntrustedServerError("not trusted")).fate is Fate.MISCONFIGURED
    assert "ca=" in str(fault_of(UntrustedServerError("not trusted")).error("s"))
    for stumbled in (TypeError("x"), KeyError("errorNum"), ConnectionAbortedError("x"), OSError("x")):
        assert fault_of(stumbled).fate is Fate.UNKNOWN


def test_a_misconfigured_store_is_a_stop_that_may_be_tried_again_later() -> None:
    assert issubclass(ColdStoreMisconfigured, Stopped)
    assert ColdStoreMisconfigured.code == "cold_store_misconfigured"


def test_long_messages_are_cut() -> None:
    assert len(answered(500, 4, "x" * 100_000).text) == 500
