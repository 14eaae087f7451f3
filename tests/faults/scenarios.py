"""Scenarios: clients that work at the same time, each with its calls in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tests.faults.calls import (
    Call,
    Cancel,
    CancelAll,
    Close,
    Follow,
    Fork,
    Many,
    Open,
    Refused,
    Result,
    SetData,
    SetExecution,
    Signal,
    Submit,
)


@dataclass(frozen=True)
class Scenario:
    """Clients that work at the same time, each with its calls in order; then all wait for everything to end."""

    name: str
    clients: tuple[tuple[Call, ...], ...]
    running: int = 1000
    large: bool = False
    resident: int = 1000


def _signalled() -> tuple[tuple[Call, ...], ...]:
    """Signals that end waits, and one nobody waits for."""
    return (
        (
            Open("acme", "s"),
            Submit("acme", "s", "play.awaiting", "k", {"waits": 2}),
            Signal("acme", "k", "first", 1),
            Signal("acme", "k", "second", 2),
            Result("acme", "k"),
            Signal("acme", "k", "second", 2),
            Refused(Signal("acme", "k", "third", 3), "execution_ended"),
        ),
    )


def _early() -> tuple[tuple[Call, ...], ...]:
    """Signals that come before they are waited for: nobody runs yet, but one."""
    return (
        (
            Open("acme", "s"),
            Submit("acme", "s", "play.resting", "slow"),
            Submit("acme", "s", "play.awaiting", "k", {"waits": 3}),
            *(Signal("acme", "k", f"s{number}", number) for number in range(3)),
        ),
    )


def _cancelled(kind: str, after: str, *, type: str = "play.cleaning") -> tuple[tuple[Call, ...], ...]:
    """One that is cancelled in the middle of things, twice."""
    return (
        (
            Open("acme", "s"),
            Submit("acme", "s", type, "k", {"kind": kind}),
            Cancel("acme", "k", after),
            Cancel("acme", "k"),
            Result("acme", "k"),
            Cancel("acme", "k"),
        ),
    )


def _crowd() -> tuple[tuple[Call, ...], ...]:
    clients: list[tuple[Call, ...]] = []
    kinds = [("play.plain", {"n": 1}), ("play.steps", {"steps": 2}), ("play.fan", {"width": 2})]
    for tenant in ("acme", "beta"):
        for session in ("s1", "s2", "s3"):
            calls: list[Call] = [Open(tenant, session)]
            calls += [Submit(tenant, session, kind, f"{session}-{kind}", given) for kind, given in kinds]
            clients.append((*calls, SetData(tenant, session, 1)))
    return tuple(clients)


def _counted() -> tuple[tuple[Call, ...], ...]:
    """Some that count in their session's state, one that fails, one that is cancelled, and some that look."""
    kinds = ("counting", "peeking", "peeking", "counting", "fails", "cancelled", "counting", "peeking")
    calls: list[Call] = [Open("acme", "s")]
    for number, kind in enumerate(kinds):
        type, given = ("counting", {kind: True}) if kind in {"fails", "cancelled"} else (kind, {})
        calls.append(Submit("acme", "s", f"play.{type}", f"{kind}-{number}", given))
    return ((*calls, Cancel("acme", "cancelled-5", "timer_set")),)


def _saga(handler: str, **given: Any) -> tuple[tuple[Call, ...], ...]:
    return ((Open("acme", "s"), Submit("acme", "s", f"sagas.{handler}", "k", given), Result("acme", "k")),)


def _saga_cancelled(kind: str, after: str, records: int = 1) -> tuple[tuple[Call, ...], ...]:
    ((opens, submits, result),) = _saga("cancelled", kind=kind)
    return ((opens, submits, Cancel("acme", "k", after, records=records), result),)


def _saga_signalled() -> tuple[tuple[Call, ...], ...]:
    ((opens, submits, result),) = _saga("waiting", limit=3_600_000)
    return ((opens, submits, Signal("acme", "k", "go", 1), result),)


def _child(handler: str, **given: Any) -> tuple[tuple[Call, ...], ...]:
    submits = Submit("acme", "s", f"kids.{handler}", "k", given)
    return ((Open("acme", "s"), Open("acme", "t"), submits, Result("acme", "k")),)


def _child_cancelled() -> tuple[tuple[Call, ...], ...]:
    """When its child has recorded its own child, nobody here knows."""
    ((*begins, result),) = _child("lasting")
    return ((*begins, Cancel("acme", "k", "step_completed"), result),)


def _forked(type: str, given: dict[str, Any], step: str, *, signals: int = 0) -> tuple[tuple[Call, ...], ...]:
    """One that is forked twice under one key, and its fork again; each gets signals of its own."""

    def send(key: str) -> tuple[Call, ...]:
        return tuple(Signal("acme", key, f"{key}{number}", number, late=True) for number in range(signals))

    return (
        (
            Open("acme", "s"),
            Submit("acme", "s", type, "k", given),
            *send("k"),
            Fork("acme", "k", step, "f"),
            Fork("acme", "k", step, "f"),
            *send("f"),
            Result("acme", "f"),
            Fork("acme", "f", step, "g"),
            *send("g"),
        ),
    )


SCENARIOS: Final = (
    Scenario("plain", ((Open("acme", "s"), Submit("acme", "s", "play.plain", "k", {"n": 4}), Result("acme", "k")),)),
    Scenario(
        "pure",
        (
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.computed", "k", {"n": 4}),
                Submit("acme", "s", "play.computed", "k", {"n": 4}),
                Submit("acme", "s", "play.computed", "f", {"n": 4, "fails": True}),
                Result("acme", "k"),
            ),
            (Open("beta", "s"), Submit("beta", "s", "play.computed", "k", {"n": 6})),
        ),
    ),
    Scenario("steps", ((Open("acme", "s", "ada"), Submit("acme", "s", "play.steps", "k", {"steps": 4})),)),
    Scenario(
        "failures",
        (
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.failing", "f", {"n": 1}),
                Submit("acme", "s", "play.guarded", "g"),
                Submit("acme", "s", "play.broken", "b"),
            ),
        ),
    ),
    Scenario(
        "tenants",
        tuple(
            (
                Open(tenant, "s", f"user-{tenant}"),
                Submit(tenant, "s", "play.steps", "same-key", {"steps": width}),
                SetData(tenant, "s", width),
                Result(tenant, "same-key"),
            )
            for tenant, width in (("acme", 1), ("beta", 2), ("gamma", 3))
        ),
    ),
    Scenario(
        "repeats",
        (
            *[
                (
                    Open("acme", "s"),
                    Open("acme", "t"),
                    Submit("acme", "s", "play.steps", "once", {"steps": 2}),
                    Submit("acme", "s", "play.plain", "twice", {"n": 3}),
                    Submit("acme", "t", "play.plain", "twice", {"n": 3}),
                    Refused(Submit("acme", "s", "play.plain", "twice", {"n": 4}), "idempotency_conflict"),
                )
                for _ in range(3)
            ],
        ),
    ),
    Scenario(
        "many",
        (
            (
                Open("acme", "s", must_be_new=True),
                Submit("acme", "s", "play.plain", "m2", {"n": 2}),
                Many(tuple(Submit("acme", "s", "play.plain", f"m{n % 4}", {"n": n % 4}) for n in range(6))),
                Many(
                    (
                        Submit("acme", "s", "play.steps", "m7", {"steps": 2}),
                        Submit("acme", "s", "play.failing", "m8", {"n": 8}),
                        Submit("acme", "s", "play.guarded", "m9"),
                    )
                ),
            ),
        ),
    ),
    Scenario(
        "unknown",
        (
            (
                Refused(Submit("acme", "nowhere", "play.plain", "x", {"n": 1}), "unknown_session"),
                Open("acme", "s"),
                Submit("acme", "s", "play.nobody", "u", {"n": 1}),
                Many((Submit("acme", "s", "else.where", "v"), Submit("acme", "s", "play.plain", "w", {"n": 5}))),
                Refused(Close("acme", "nowhere"), "unknown_session"),
            ),
        ),
    ),
    Scenario(
        "documents",
        (
            (Open("acme", "s"), *(SetData("acme", "s", version) for version in range(1, 5))),
            (
                Open("acme", "t"),
                Submit("acme", "t", "play.steps", "k", {"steps": 1}),
                SetExecution("acme", "k", {"seen": True}),
                Result("acme", "k"),
                SetExecution("acme", "k", {"seen": True, "done": 1}),
            ),
        ),
    ),
    Scenario(
        "closing",
        (
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.steps", "before", {"steps": 3}),
                Close("acme", "s"),
                Refused(Submit("acme", "s", "play.plain", "after", {"n": 1}), "session_closed"),
                Close("acme", "s"),
                Result("acme", "before"),
            ),
        ),
    ),
    Scenario("fan", ((Open("acme", "s"), Submit("acme", "s", "play.fan", "k", {"width": 5})),)),
    Scenario(
        "resting",
        (
            (Open("acme", "s"), Submit("acme", "s", "play.resting", "r")),
            (Open("beta", "s"), Submit("beta", "s", "play.steps", "r", {"steps": 2})),
        ),
    ),
    Scenario(
        "stubborn",
        ((Open("acme", "s"), Submit("acme", "s", "play.stubborn", "k"), Submit("acme", "s", "play.forgiving", "f")),),
    ),
    Scenario("napping", ((Open("acme", "s"), Submit("acme", "s", "play.napping", "k")),)),
    Scenario("napping-passive", ((Open("acme", "s"), Submit("acme", "s", "play.napping", "k")),), resident=0),
    Scenario("signalled", _signalled()),
    Scenario("signalled-passive", _signalled(), resident=0),
    Scenario("signalled-early", _early(), running=1),
    Scenario("signalled-early-passive", _early(), running=1, resident=0),
    Scenario(
        "timed-out",
        (
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.awaiting", "k", {"waits": 2, "limit": 5}),
                Result("acme", "k"),
                Refused(Signal("acme", "k", "x"), "execution_ended"),
            ),
        ),
    ),
    *(
        Scenario(
            f"both-at-once{'' if resident else '-passive'}",
            tuple(
                (
                    Open("acme", "s"),
                    Submit("acme", "s", "play.awaiting", f"k{limit}", {"waits": 1, "limit": limit, "either": True}),
                    Signal("acme", f"k{limit}", "x", late=True),
                )
                for limit in (3, 6, 9)
            ),
            resident=resident,
        )
        for resident in (1000, 0)
    ),
    Scenario(
        "signalled-again",
        tuple(
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.awaiting", "k", {"waits": 2}),
                Signal("acme", "k", "once", 1),
                *((Signal("acme", "k", "last", 1),) * (client == 0)),
                Signal("acme", "k", "once", 1),
            )
            for client in range(3)
        ),
    ),
    Scenario(
        "giving-up",
        ((Open("acme", "s"), Submit("acme", "s", "play.giving_up", "k"), Signal("acme", "k", "x", 7)),),
    ),
    Scenario("trying", ((Open("acme", "s"), Submit("acme", "s", "play.trying", "k")),), running=1),
    Scenario(
        "followed",
        (
            (Open("acme", "s"), Submit("acme", "s", "play.trying", "k"), Follow("acme", "k")),
            (Open("acme", "s"), Submit("acme", "s", "play.awaiting", "w", {"waits": 1}), Signal("acme", "w", "x", 1)),
            (Open("acme", "s"), Submit("acme", "s", "play.awaiting", "w", {"waits": 1}), Follow("acme", "w")),
        ),
    ),
    Scenario("forked", _forked("play.steps", {"steps": 3}, "s2")),
    Scenario(
        "forked-signalled",
        _forked("play.awaiting", {"waits": 2}, "signal(go)[1]", signals=2),
    ),
    Scenario("forked-saga", _forked("sagas.waiting", {"limit": 3_600_000}, "order/charge", signals=1)),
    Scenario("cancelled-in-step", _cancelled("step", "step_completed")),
    Scenario("cancelled-in-sleep", _cancelled("sleep", "timer_set")),
    Scenario("cancelled-in-sleep-passive", _cancelled("sleep", "timer_set"), resident=0),
    Scenario("cancelled-in-wait", _cancelled("signal", "timer_set")),
    Scenario("cancelled-in-wait-passive", _cancelled("signal", "timer_set"), resident=0),
    Scenario("cancelled-in-map", _cancelled("map", "step_completed")),
    Scenario("cancelled-between-attempts", _cancelled("retry", "step_failed", type="play.tidying")),
    Scenario("cancelled-failing", _cancelled("fails", "step_completed", type="play.tidying")),
    Scenario(
        "cancelled-before-start",
        (
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.cleaning", "first", {"kind": "step"}),
                Many(tuple(Submit("acme", "s", "play.plain", f"q{n}", {"n": n}) for n in range(3))),
                Cancel("acme", "q1"),
                Cancel("acme", "first", "step_completed"),
            ),
        ),
        running=1,
        resident=1,
    ),
    Scenario(
        "cancelled-or-ended",
        tuple(
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.plain", f"either{n}", {"n": n}),
                Cancel("acme", f"either{n}", either=True),
            )
            for n in range(3)
        ),
    ),
    Scenario(
        "cancelled-all",
        (
            (
                Open("acme", "s"),
                Open("acme", "t"),
                Submit("acme", "s", "play.cleaning", "k1", {"kind": "sleep"}),
                Submit("acme", "s", "play.cleaning", "k2", {"kind": "signal"}),
                Submit("acme", "t", "play.cleaning", "k3", {"kind": "signal"}),
                CancelAll("acme", "s", ("k1", "k2")),
                CancelAll("acme", "", ("k3",)),
                Submit("acme", "s", "play.plain", "still", {"n": 1}),
            ),
        ),
    ),
    Scenario("cursed", ((Open("acme", "s"), Submit("acme", "s", "play.cursed", "c")),)),
    Scenario(
        "queued",
        (
            (
                Open("acme", "s"),
                Many(tuple(Submit("acme", "s", "play.steps", f"q{n}", {"steps": 1}) for n in range(4))),
                Submit("acme", "s", "play.plain", "last", {"n": 1}),
            ),
        ),
        running=1,
    ),
    Scenario("saga-done", _saga("trip")),
    Scenario("saga-second-fails", _saga("trip", fails="hotel")),
    Scenario("saga-block-fails", _saga("trip", fails="block", stuck="hotel", failures=1)),
    Scenario("saga-not-undone", _saga("trip", fails="car", stuck="hotel", failures=9)),
    Scenario("saga-nested", _saga("nested")),
    Scenario("saga-two", _saga("two")),
    Scenario("saga-fan", _saga("fan")),
    Scenario("saga-again", _saga("again")),
    Scenario("saga-scoped", _saga("scoped")),
    Scenario("saga-timed-out", _saga("waiting", limit=5)),
    Scenario("saga-signalled-passive", _saga_signalled(), resident=0),
    Scenario("saga-timed-out-passive", _saga("waiting", limit=5), resident=0),
    Scenario("saga-cancelled-in-body", _saga_cancelled("body", "saga_started", 2)),
    Scenario("saga-cancelled-in-wait", _saga_cancelled("wait", "timer_set")),
    Scenario("saga-cancelled-in-wait-passive", _saga_cancelled("wait", "timer_set"), resident=0),
    Scenario("saga-cancelled-undoing", _saga_cancelled("undoing", "saga_compensating")),
    Scenario("child-awaited", _child("awaiting", children=2, fails=1)),
    Scenario("child-abroad-passive", _child("awaiting", children=2, fails=1, failures=2, session="t"), resident=0),
    Scenario("child-left", _child("leaving")),
    Scenario("child-stopped", _child("stopping", session="t")),
    Scenario("child-cancelled", _child_cancelled()),
    Scenario("child-cancelled-passive", _child_cancelled(), resident=0),
    Scenario("child-undone", _child("undoing")),
    Scenario("counted", _counted()),
    Scenario("counted-passive", _counted(), resident=0),
    Scenario("crowd", _crowd(), running=4, large=True),
)
