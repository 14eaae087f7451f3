"""What clients do, as data: the calls that scenarios are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Open:
    tenant: str
    session: str
    user: str = ""
    must_be_new: bool = False


@dataclass(frozen=True)
class Submit:
    tenant: str
    session: str
    type: str
    key: str
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Many:
    intents: tuple[Submit, ...]


@dataclass(frozen=True)
class SetData:
    tenant: str
    session: str
    version: int


@dataclass(frozen=True)
class SetExecution:
    tenant: str
    key: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Close:
    tenant: str
    session: str


@dataclass(frozen=True)
class Result:
    tenant: str
    key: str


@dataclass(frozen=True)
class Signal:
    """`late`: the execution may have ended by then."""

    tenant: str
    key: str
    id: str
    payload: int = 1
    late: bool = False


@dataclass(frozen=True)
class Follow:
    """Read the stream of what happens to it, to its end."""

    tenant: str
    key: str


@dataclass(frozen=True)
class Cancel:
    """Once the log has so many records of type `after` of it, or at once; `either`: it may have completed by then."""

    tenant: str
    key: str
    after: str = ""
    either: bool = False
    records: int = 1


@dataclass(frozen=True)
class Fork:
    """Fork it from a step on, under a key of its own, once the log has a record of type `after` of it."""

    tenant: str
    key: str
    step: str
    new: str
    after: str = "execution_completed"


@dataclass(frozen=True)
class CancelAll:
    """What is open in a session, or of the tenant, once all of these wait."""

    tenant: str
    session: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    call: Open | Submit | Many | Close | Signal | Cancel
    code: str


Call = (
    Open
    | Submit
    | Many
    | SetData
    | SetExecution
    | Close
    | Result
    | Signal
    | Follow
    | Cancel
    | CancelAll
    | Fork
    | Refused
)
