"""Realms: named groups of handlers. A handler says by its types what it takes and gives."""

from __future__ import annotations

import dis
import inspect
import typing
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, TypeVar, overload

import anyio
import msgspec
import msgspec.inspect
from msgspec import Struct
from msgspec.structs import replace

from intendant.context import Context, Facts
from intendant.domain.codec import encode_value
from intendant.domain.errors import InvalidIntent, InvalidValue
from intendant.domain.ids import check_type
from intendant.domain.ports import FileStore
from intendant.domain.retention import Retention
from intendant.domain.retry import ONCE, Policy, Retry
from intendant.domain.state import ExecutionState
from intendant.steps.cancellation import CLEANUP

P = TypeVar("P")
R = TypeVar("R")
HandlerFunction = Callable[[Context, P], Awaitable[R]]
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

PARAMETERS_BYTES_MAX = 64 * 1024
THREADS = 40  # of a realm that does not say how many
THREADS_MAX = 10_000
VERSION_MAX = 1_000_000


class Handler(Struct, frozen=True):
    """A registered handler: its intent type, its function, and the types of its parameters and its result.

    `decode` decodes recorded parameters to their type, and raises msgspec.ValidationError when they no longer fit it.
    """

    type: str
    function: Callable[[Context, Any], Coroutine[Any, Any, Any]]
    parameters: Any
    result: Any
    decode: Callable[[bytes | msgspec.Raw], Any]
    fields: frozenset[str] | None = None  # of the parameters; None when any will do
    policy: Policy = Policy()
    realm: str = ""
    cleanup: timedelta = CLEANUP
    exclusive: bool = False
    version: int = 1
    pure: bool = False

    def encode(self, parameters: object) -> bytes:
        """Encode parameters; raises InvalidIntent when they do not fit the handler's type, or are too large."""
        try:
            if type(parameters) is not dict and isinstance(parameters, Mapping):
                parameters = {**parameters}  # pyright: ignore[reportUnknownVariableType]  # decoding checks
            data = encode_value(parameters, "parameters", PARAMETERS_BYTES_MAX)  # pyright: ignore[reportUnknownArgumentType]
            decoded = self.decode(data)
        except msgspec.ValidationError as error:
            raise InvalidIntent("parameters", f"do not fit {_name(self.parameters)} of {self.type}: {error}") from error
        except InvalidValue as error:
            raise InvalidIntent("parameters", str(error).removeprefix("parameters: ")) from error
        if isinstance(parameters, dict):
            given: dict[Any, Any] = parameters  # pyright: ignore[reportUnknownVariableType]
            if self.fields is not None and not self.fields.issuperset(given):
                raise self._unknown(given, self.fields)
            data = encode_value(decoded, "parameters", PARAMETERS_BYTES_MAX, checked=data)  # one form for both doors
        return data

    def facts(
        self, state: ExecutionState, files: FileStore | None, limiter: anyio.CapacityLimiter | None, attempt: int
    ) -> Facts:
        """What a run of it is told of its execution."""
        return Facts(
            state.tenant,
            state.session,
            state.solution,
            state.id,
            state.started_at,
            self.type,
            self.exclusive,
            files,
            limiter,
            attempt,
        )

    def _unknown(self, parameters: Mapping[str, Any], fields: frozenset[str]) -> InvalidIntent:
        unknown = ", ".join(sorted(repr(name) for name in parameters if name not in fields))
        known = ", ".join(sorted(fields))
        return InvalidIntent(
            "parameters", f"{_name(self.parameters)} of {self.type} has no {unknown:.80}; it has {known}"
        )


class Realm:
    """A named group of handlers.

        content = Realm("content")

        @content.handler
        async def count_words(ctx: Context, document: Document) -> int: ...

    `threads`: how many plain functions of its steps run at a time, in worker threads; beyond, steps wait for one. Each
    realm has threads of its own, so that one whose threads all hang holds no other one up.
    """

    def __init__(self, name: str, *, retention: Retention | None = None, threads: int = THREADS) -> None:
        check_type(f"{name}.handler")
        if type(threads) is not int or not 1 <= threads <= THREADS_MAX:
            raise ValueError(f"threads must be a whole number from 1 to {THREADS_MAX:,}, not {threads!r:.40}")
        self.name = name
        self.retention = retention
        self.threads = threads
        self._handlers: dict[str, Handler] = {}
        self._versions: dict[tuple[str, int], Handler] = {}

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers by intent type, `realm.name`: of each the newest version."""
        return MappingProxyType(self._handlers)

    @property
    def versions(self) -> Mapping[tuple[str, int], Handler]:
        """All handlers, by intent type and version."""
        return MappingProxyType(self._versions)

    @overload
    def handler(self, function: F) -> F: ...
    @overload
    def handler(
        self,
        *,
        name: str | None = None,
        retry: Retry = ONCE,
        timeout: timedelta | None = None,
        deadline: timedelta | None = None,
        cleanup: timedelta = CLEANUP,
        exclusive: bool = False,
        version: int = 1,
        pure: bool = False,
    ) -> Callable[[F], F]: ...
    def handler(
        self,
        function: F | None = None,
        *,
        name: str | None = None,
        retry: Retry = ONCE,
        timeout: timedelta | None = None,
        deadline: timedelta | None = None,
        cleanup: timedelta = CLEANUP,
        exclusive: bool = False,
        version: int = 1,
        pure: bool = False,
    ) -> F | Callable[[F], F]:
        """Register `async def function(ctx, parameters) -> result`; the function itself is returned unchanged.

        The intent type is `realm.name`, by default with the function's name. Parameters are a msgspec Struct, a
        dataclass, a TypedDict or a mapping; the result anything that msgspec can encode.

        When it raises an `Exception`, the attempt has failed; `retry` says whether and when it is called again: steps
        that completed keep their results, steps that failed run again. `timeout` limits each attempt, `deadline` all
        of them from the acceptance on; both run on while the process is down. `cleanup` is how long durable calls may
        go on after a cancel; it begins anew at a resume. An `exclusive` one runs alone in its session: it begins when
        all that began before it have ended, and nothing begins before it has.

        A `pure` one awaits nothing and has no effect outside: it only computes, and may emit events. Where it could
        begin at once it runs while its intent is being accepted, before that is durable, and its end is committed
        together with the acceptance: one commit instead of two, and no task. If that commit fails, or the process dies
        before it, nothing was accepted, and the function may have run all the same.

        Several may be registered for one type, each with a `version` of its own (from 1 on). A new intent gets the
        newest; an execution keeps the one that it began with, and waits as `blocked` while that one is not registered.

        Raises TypeError for a function that can't be a handler, ValueError for a name that is taken or a limit that
        is none.
        """

        policy = Policy(retry, timeout, deadline)
        if type(version) is not int or not 1 <= version <= VERSION_MAX:
            raise ValueError(f"version must be a whole number from 1 to {VERSION_MAX:,}, not {version!r:.40}")
        if pure and exclusive:
            raise ValueError("a pure handler has no effect on its session: it can't be exclusive as well")
        if cleanup <= timedelta(0):
            raise ValueError(f"cleanup must be longer than nothing, not {cleanup}")

        def register(function: F) -> F:
            _check_async(function)
            if pure:
                _check_pure(function)
            type = f"{self.name}.{_given_name(function) if name is None else name}"
            found = _inspect(type, function, policy, cleanup)
            self._add(replace(found, realm=self.name, exclusive=exclusive, version=version, pure=pure))
            return function

        return register if function is None else register(function)

    def _add(self, handler: Handler) -> None:
        type, version = handler.type, handler.version
        if (type, version) in self._versions:
            say = f"say @{self.name}.handler(name=...), or version=..."
            raise ValueError(f"{type} has a handler already of version {version}; {say}")
        self._versions[type, version] = handler
        newest = self._handlers.get(type)
        if newest is None or newest.version < version:
            self._handlers[type] = handler

    def __repr__(self) -> str:
        return f"Realm({self.name!r}, {len(self._versions)} handlers)"


class Repertoire:
    """All handlers of a runtime, found by intent type or by function."""

    def __init__(self, realms: Iterable[Realm]) -> None:
        self._by_type: dict[str, Handler] = {}  # the newest of each
        self.find: Callable[[str], Handler | None] = self._by_type.get
        """The newest handler of an intent type, or None."""
        self._versions: dict[tuple[str, int], Handler] = {}
        self._by_function: dict[Callable[..., Any], Handler] = {}
        self.retentions: dict[str, Retention] = {}  # by realm, of those that have their own
        self.threads: dict[str, int] = {}  # by realm
        for realm in _checked(realms):
            self.threads[realm.name] = max(realm.threads, self.threads.get(realm.name, 0))
            if realm.retention is not None:
                self.retentions[realm.name] = realm.retention
            for handler in realm.handlers.values():
                if handler.type in self._by_type:
                    raise ValueError(f"{handler.type} is in two realms named {realm.name!r}; rename one of them")
                self._by_type[handler.type] = handler
            self._versions.update(realm.versions)
            for handler in realm.versions.values():
                self._by_function[handler.function] = self._by_type[handler.type]

    @property
    def versions(self) -> Mapping[tuple[str, int], Handler]:
        """All handlers, by intent type and version."""
        return MappingProxyType(self._versions)

    def types(self) -> list[Handler]:
        """The newest handler of each intent type, by type."""
        return [self._by_type[type] for type in sorted(self._by_type)]

    def of_version(self, type: str, version: int) -> Handler | None:
        """The handler of an intent type that has this version, or None; of version 0 the newest."""
        return self._versions.get((type, version)) if version else self._by_type.get(type)

    def result_of(self, type: str) -> Any:
        """The type of what the newest handler of an intent type returns; Any where there is none."""
        handler = self._by_type.get(type)
        return Any if handler is None else handler.result

    def missing(self, type: str, version: int) -> str:
        """Why there is no handler of this type and version."""
        there = sorted(each for of, each in self._versions if of == type)
        if not there:
            return f"no realm of this runtime has a handler for {type!r}"
        return f"{type} of version {version} is in no realm of this runtime; it has {', '.join(map(str, there))}"

    def of(self, function: Callable[..., Any]) -> Handler:
        """The handler registered with this function; raises InvalidIntent when there is none."""
        try:
            handler = self._by_function.get(function)
        except TypeError:  # it can't be hashed, so nobody registered it
            handler = None
        if handler is None:
            name = getattr(function, "__qualname__", repr(function))
            raise InvalidIntent(
                "type", f"{name} is no handler of this runtime's realms; decorate it, and pass its realm"
            )
        return handler


def _check_async(function: object) -> None:
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"a handler is an `async def`; {function!r} is not (blocking code belongs into steps)")


def _check_pure(function: Callable[..., Any]) -> None:
    """Only a function that can't wait may run in the task of whoever submits: it ends before anything else runs."""
    code = getattr(function, "__code__", None)
    if code is None or any(each.opname in _AWAITING for each in dis.get_instructions(code)):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"a pure handler awaits nothing, and {name} does: take the await out, or pure=True")


_AWAITING = frozenset({"GET_AWAITABLE", "GET_ANEXT"})  # in the code of every function that awaits something


def _inspect(type: str, function: Callable[..., Any], policy: Policy, cleanup: timedelta) -> Handler:
    check_type(type)
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 2 or any(each.kind not in _POSITIONAL for each in parameters):
        raise TypeError(f"{type}: a handler takes (ctx, parameters), this one takes {inspect.signature(function)}")
    try:
        hints = typing.get_type_hints(function, localns={"Context": Context})
    except NameError as error:
        raise TypeError(
            f"{type}: {error}; types of handlers must be importable at run time, at module level"
        ) from error
    name = parameters[1].name
    if name not in hints:
        raise TypeError(f"{type}: say the type of {name!r}: a Struct, a dataclass, a TypedDict or dict[str, ...]")
    try:
        fields = _fields(msgspec.inspect.type_info(hints[name]))
        decode = msgspec.msgpack.Decoder(hints[name]).decode
    except TypeError as error:
        raise TypeError(
            f"{type}: {name!r} must be a Struct, a dataclass, a TypedDict or a mapping with text keys, "
            f"not {hints[name]}: {error}"
        ) from error
    result = hints.get("return", Any)
    try:
        msgspec.msgpack.Decoder(result)
    except TypeError as error:
        raise TypeError(f"{type}: its result has a type that can't be decoded: {error}") from error
    return Handler(type, function, hints[name], result, decode, fields, policy, cleanup=cleanup)


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _fields(info: msgspec.inspect.Type) -> frozenset[str] | None:
    """The names that a mapping of this type may have, None for any; raises TypeError for what is no mapping."""
    match info:
        case msgspec.inspect.Metadata(type=inner):
            return _fields(inner)
        case msgspec.inspect.StructType(array_like=False, fields=fields, tag_field=tag):
            return frozenset([field.encode_name for field in fields] + ([tag] if tag else []))
        case msgspec.inspect.DataclassType(fields=fields) | msgspec.inspect.TypedDictType(fields=fields):
            return frozenset(field.encode_name for field in fields)
        case msgspec.inspect.DictType(key_type=msgspec.inspect.StrType() | msgspec.inspect.AnyType()):
            return None
        case msgspec.inspect.UnionType(types=types):
            each = [_fields(member) for member in types]
            return frozenset[str]().union(*(names for names in each if names)) if None not in each else None
        case _:
            raise TypeError("it is no mapping")


def _given_name(function: Callable[..., Any]) -> str:
    name: str | None = getattr(function, "__name__", None)
    if name is None:
        raise TypeError(f"{function!r} has no name of its own; say @realm.handler(name=...)")
    return name


def _checked(realms: Iterable[Realm]) -> list[Realm]:
    checked = [] if isinstance(realms, Realm) else list(realms)
    if isinstance(realms, Realm) or not all(isinstance(each, Realm) for each in checked):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise TypeError(f"realms must be a list of Realm objects, not {realms!r:.80}")
    return checked


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", str(annotation))
