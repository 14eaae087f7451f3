"""What a Redis server gives, by its own settings, and what has to be changed where that is too little."""

from __future__ import annotations

import re
from typing import Any, Final

from msgspec import Struct

from intendant.adapters.redis.connection import Connection, ServerError
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import Durability, Usage

VERSION_MIN: Final = (7, 0)
WAITAOF_SINCE: Final = (7, 2)
EVERYSEC_LOSS_S: Final = 3.0  # an fsync each second, and the write before it may be put off for two
_LINES: Final = re.compile(r"^([^#:\r\n][^:\r\n]*):([^\r\n]*)", re.MULTILINE)
SETTINGS: Final = ("appendfsync", "no-appendfsync-on-rewrite")


class Facts(Struct, frozen=True):
    """What a server tells of itself.

    `settings` is None where it hides some of them (CONFIG is not allowed, or answers with nothing); `appends`, whether
    it keeps a log of writes, where INFO does not tell.
    """

    version: tuple[int, ...]
    role: str
    loading: bool
    replicas: int
    policy: str
    appends: bool | None
    settings: dict[str, str] | None
    clustered: bool = False


class Guarantee(Struct, frozen=True):
    """What a commit gives here. `wait_for` is (local, replicas) for WAITAOF after each one, None without."""

    durability: Durability
    wait_for: tuple[int, int] | None = None

    @property
    def loss_window(self) -> float:
        """Seconds after which a commit is on disk."""
        return 0.0 if self.durability >= Durability.FSYNC else EVERYSEC_LOSS_S


def guarantee(facts: Facts, asked: Durability, assume: Durability | None, server: str) -> Guarantee:
    """What this server gives when `asked` is asked for. Raises StoreUnavailable, saying what to change.

    Never less than asked for, and more only if it costs nothing.
    """
    _check_fit(facts, server)
    given = _given(facts, asked, assume, server)
    waits = facts.version >= WAITAOF_SINCE and given > Durability.MEMORY  # what is never synced is waited for in vain
    if asked is Durability.REPLICATED:
        if not waits or not facts.replicas:
            raise StoreUnavailable(
                f"{server} can't give durability 'replicated': that wants Redis 7.2 or newer with appendonly yes, "
                f"appendfsync everysec or always, and a replica (this is {_dotted(facts.version)}, appendonly "
                f"{'yes' if facts.appends else 'no'}, appendfsync {_appendfsync(facts)}, {facts.replicas} replicas)"
            )
        return Guarantee(Durability.REPLICATED, (1, 1))
    if given >= asked:
        return Guarantee(given)
    if asked is Durability.FSYNC and waits:
        return Guarantee(Durability.FSYNC, (1, 0))
    raise StoreUnavailable(f"{server} can't give durability {asked.name.lower()!r}: {_remedy(facts, asked, given)}")


def _check_fit(facts: Facts, server: str) -> None:
    if facts.version < VERSION_MIN:
        raise StoreUnavailable(f"{server} is Redis {_dotted(facts.version)}, which has no functions; use 7.0 or newer")
    if facts.loading:
        raise StoreUnavailable(f"{server} is loading its data; it answers when that is done")
    if facts.role != "master":
        raise StoreUnavailable(f"{server} is a {facts.role}; name the primary, a replica takes no writes")
    if facts.policy != "noeviction":  # also without a limit: one may be set at any time, and nobody tells us
        raise StoreUnavailable(
            f"{server} has maxmemory-policy {facts.policy}, and once it has a limit throws away what was acknowledged; "
            "set CONFIG SET maxmemory-policy noeviction, and the same in its configuration file"
        )


def _given(facts: Facts, asked: Durability, assume: Durability | None, server: str) -> Durability:
    if facts.appends is False:
        return Durability.MEMORY
    settings = facts.settings
    if settings is None or facts.appends is None:
        return _stated(asked, assume, server)
    if settings.get("appendfsync") == "always":
        return Durability.WRITTEN if settings.get("no-appendfsync-on-rewrite") == "yes" else Durability.FSYNC
    return Durability.WRITTEN if settings.get("appendfsync") == "everysec" else Durability.MEMORY


def _stated(asked: Durability, assume: Durability | None, server: str) -> Durability:
    """What is given where the server does not tell: what the operator states, and nothing otherwise."""
    if assume is not None:
        return assume
    if asked is Durability.MEMORY:
        return asked
    raise StoreUnavailable(
        f"{server} hides its settings (CONFIG GET is not allowed, or INFO tells too little), so that what it gives is "
        "not known; allow +config|get, or state it in the URL (?assume=written, or ?assume=fsync with appendfsync "
        "always), or say durability='memory'"
    )


def _remedy(facts: Facts, asked: Durability, given: Durability) -> str:
    if facts.appends is False:
        return (
            "appendonly is no; set CONFIG SET appendonly yes, and the same in its configuration file, "
            "or say durability='memory'"
        )
    if asked is Durability.WRITTEN:
        return f"appendfsync is {_appendfsync(facts)}; set CONFIG SET appendfsync everysec, or say durability='memory'"
    if _appendfsync(facts) == "always":
        return "no-appendfsync-on-rewrite is yes; set CONFIG SET no-appendfsync-on-rewrite no"
    return (
        f"appendfsync is {_appendfsync(facts)}; set CONFIG SET appendfsync always, use Redis 7.2 "
        f"or newer, or say durability={given.name.lower()!r}"
    )


def _appendfsync(facts: Facts) -> str:
    return (facts.settings or {}).get("appendfsync", "not known")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


async def facts_of(connection: Connection) -> Facts:
    """Ask a server for its facts."""
    [told] = await connection.call(("INFO",))
    info = _parse(told)
    [settings] = await connection.exchange(("CONFIG", "GET", *SETTINGS))
    return Facts(
        version=tuple(int(part) for part in info.get("redis_version", "0").split(".") if part.isdigit()),
        role=info.get("role", "master"),
        loading=info.get("loading") == "1",
        replicas=int(info.get("connected_slaves", "0")),
        policy=info.get("maxmemory_policy", "noeviction"),
        appends=info["aof_enabled"] == "1" if "aof_enabled" in info else None,
        settings=_settings(settings),
        clustered=info.get("cluster_enabled") == "1",
    )


async def usage_of(connection: Connection, own_limit: int) -> Usage:
    """How full a server is; the lower of its limit and `own_limit` counts, where there are any."""
    [told] = await connection.call(("INFO", "memory"))
    info = _parse(told)
    limits = [limit for limit in (int(info.get("maxmemory", "0")), own_limit) if limit]
    return Usage(int(info.get("used_memory", "0")), min(limits, default=0))


async def cpu_of(connection: Connection) -> float:
    """Seconds of processor time that a server has used since it began."""
    [told] = await connection.call(("INFO", "cpu"))
    info = _parse(told)
    return float(info.get("used_cpu_sys", "0")) + float(info.get("used_cpu_user", "0"))


def _parse(told: bytes) -> dict[str, str]:
    return dict(_LINES.findall(told.decode("utf-8", "replace")))


def _settings(reply: Any) -> dict[str, str] | None:
    """All that were asked for, or None: some servers do not refuse, and leave out."""
    if isinstance(reply, ServerError):
        return None
    words: list[str] = [word.decode("utf-8", "replace") for word in reply]
    settings = dict(zip(words[::2], words[1::2], strict=True))
    return settings if settings.keys() >= set(SETTINGS) else None
