"""The log of one execution as tests ask it: what was recorded, in which order, and what became of each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import Raw

from intendant.domain.codec import decode_plain
from intendant.domain.records import LogRecord

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_WIDTH: Final = 100  # letters of a value that are shown
_STEPS: Final = ("step_completed", "step_failed")


class Kinds(list[str]):
    """The types of an execution's records, oldest first. Compared in an `assert`, it shows the whole history."""

    def __init__(self, kinds: Iterable[str], log: ExecutionLog) -> None:
        super().__init__(kinds)
        self.log = log

    def explain(self, expected: Sequence[object]) -> list[str]:
        """How it differs from what was expected, line by line."""
        lines = [f"the kinds of {self.log.title} are not what was expected (+ recorded, - expected):"]
        rows = self.log.rows()
        for place in range(max(len(self), len(expected))):
            is_kind = self[place] if place < len(self) else None
            wanted = expected[place] if place < len(expected) else None
            if is_kind == wanted:
                lines.append(f"    {rows[place]}")
                continue
            lines += [] if is_kind is None else [f"  + {rows[place]}"]
            lines += [] if wanted is None else [f"  -       {wanted}"]
        return lines


class Count:
    """How often something happened. Its methods raise AssertionError with the history, and return True."""

    def __init__(self, what: str, count: int, log: ExecutionLog) -> None:
        self.count = count
        self._what = what
        self._log = log

    def once(self) -> bool:
        """Exactly one time."""
        return self.times(1)

    def never(self) -> bool:
        """Not at all."""
        return self.times(0)

    def times(self, count: int) -> bool:
        """Exactly so often."""
        if self.count != count:
            raise AssertionError(f"{self._what} {_times(self.count)}, not {_times(count)}\n{self._log}")
        return True

    def __bool__(self) -> bool:
        return self.count > 0

    def __int__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"<{self._what} {_times(self.count)}>\n{self._log}"


class StepLog:
    """What was recorded of the step at a path."""

    def __init__(self, path: str, log: ExecutionLog) -> None:
        self.path = path
        self._log = log
        self._rows = [row for row in log.records if row.type in _STEPS and _path(row) == path]
        self._payloads = [row.payload for row in self._rows]

    @property
    def succeeded(self) -> Count:
        """How often its result was recorded: at most once, in any log."""
        return self._count("succeeded", lambda row: row.type == "step_completed")

    @property
    def failed(self) -> Count:
        """How many of its attempts failed, the last one included."""
        return self._count("failed", lambda row: row.type == "step_failed")

    @property
    def attempts(self) -> int:
        """How many attempts were recorded."""
        return len(self._rows)

    @property
    def result(self) -> Any:
        """What it returned, as plain data. Raises AssertionError when it has not."""
        done = [payload for payload in self._payloads if "result" in payload]
        if not done:
            raise AssertionError(f"step {self.path} has no result\n{self._log}")
        return done[-1]["result"]

    @property
    def errors(self) -> list[str]:
        """What its attempts failed with, `code: message`, oldest first."""
        return [_error(payload) for payload in self._payloads if "error" in payload]

    def before(self, other: str) -> bool:
        """It was recorded before that step was. Raises AssertionError with the history otherwise."""
        mine, theirs = self._place(self.path), self._place(other)
        if mine >= theirs:
            raise AssertionError(f"step {self.path} was recorded after {other}, not before\n{self._log}")
        return True

    def _place(self, path: str) -> int:
        places = [place for place, row in enumerate(self._log.records) if row.type in _STEPS and _path(row) == path]
        if not places:
            raise AssertionError(f"step {path} was not recorded\n{self._log}")
        return places[0]

    def _count(self, what: str, fits: Callable[[LogRecord], bool]) -> Count:
        return Count(f"step {self.path} {what}", sum(map(fits, self._rows)), self._log)

    def __repr__(self) -> str:
        return f"<step {self.path}: {self.attempts} attempts>\n{self._log}"


class ExecutionLog:
    """The records of one execution, oldest first. Printed, it is its history, one line a record."""

    def __init__(self, execution: str, records: Sequence[LogRecord]) -> None:
        self.execution = execution
        self.records = list(records)

    @property
    def title(self) -> str:
        """The execution by its type and id."""
        types = [row.payload.get("type") for row in self.records if row.type == "intent_received"]
        return f"{types[0] if types else 'execution'} {self.execution}"

    @property
    def kinds(self) -> Kinds:
        """The types of its records."""
        return Kinds((row.type for row in self.records), self)

    @property
    def steps(self) -> list[str]:
        """The paths of the steps whose results were recorded, in that order."""
        return [_path(row) for row in self.records if row.type == "step_completed"]

    @property
    def events(self) -> list[tuple[str, Any]]:
        """Names and payloads of what its handler has emitted, in that order."""
        return [(each["name"], each["payload"]) for row in self.records for each in row.payload.get("events") or ()]

    @property
    def signals(self) -> list[str]:
        """The names of the signals that it received, in that order."""
        return [row.payload["name"] for row in self.records if row.type == "signal_received"]

    def step(self, path: str) -> StepLog:
        """What was recorded of a step, by its path: `charge`, `charge[key]`, `place/charge`, `undo(place/charge)`."""
        return StepLog(path, self)

    def count(self, kind: str) -> Count:
        """How many of its records are of a type."""
        return Count(f"{kind} of {self.title} was recorded", sum(row.type == kind for row in self.records), self)

    def rows(self) -> list[str]:
        """A line for each record."""
        began = self.records[0].time if self.records else 0
        return [_line(number, row, began) for number, row in enumerate(self.records, 1)]

    def __str__(self) -> str:
        if not self.records:
            return f"{self.title} has no records"
        began = _EPOCH + timedelta(microseconds=self.records[0].time)
        head = f"the history of {self.title}, from {began:%Y-%m-%d %H:%M:%S} UTC:"
        return "\n".join([head, *(f"  {row}" for row in self.rows())])

    __repr__ = __str__


def _line(number: int, record: LogRecord, began: int) -> str:
    payload, after = record.payload, timedelta(microseconds=record.time - began)
    seconds = f"+{after.total_seconds():.3f}".rstrip("0").rstrip(".")
    return f"{number:>3}  {seconds:>8} s  {record.type:<20} {_said(record.type, payload)}".rstrip()


def _said(type: str, payload: dict[str, Any]) -> str:
    path = payload.get("path", "")
    match type:
        case "intent_received":
            return _short(payload["parameters"])
        case "step_completed":
            return f"{path} = {_short(payload['result'])}"
        case "step_failed":
            last = "" if payload.get("final", True) else ", to be tried again"
            return f"{path or '(the handler)'}: {_error(payload)} (attempt {payload.get('attempt', 1)}{last})"
        case "signal_received":
            return f"{payload['name']} = {_short(payload['payload'])}"
        case "execution_completed":
            return _short(payload["result"])
        case "execution_failed":
            return _error(payload)
        case _:
            return str(path)


def _short(value: Any) -> str:
    plain = decode_plain(value) if isinstance(value, Raw) else value
    text = repr(plain)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _error(payload: dict[str, Any]) -> str:
    error = payload["error"]
    return f"{error['code']}: {error['message']}"


def _path(record: LogRecord) -> str:
    return str(record.payload.get("path", ""))


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")
