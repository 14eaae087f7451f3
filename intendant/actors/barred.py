"""What is being erased in a partition: nothing of it is written meanwhile but what the erasure itself writes.

The WAL writer asks here when it takes up a commit, the last moment at which one can be refused. So what is barred now
is in the log already, in the batch that flies, or never.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from intendant.domain import state as states
from intendant.domain.commit import Commit
from intendant.domain.erasure import Scope
from intendant.domain.errors import BeingErased
from intendant.domain.ports import IndexMember, LogReader
from intendant.domain.state import decode_execution, open_score

_PAGE: Final = 1_000


class Barred:
    """The scopes that are barred, and which executions are known to be theirs."""

    def __init__(self) -> None:
        self._scopes: dict[str, dict[Scope, _Bar]] = {}  # by tenant

    def __bool__(self) -> bool:
        return bool(self._scopes)

    @property
    def scopes(self) -> list[Scope]:
        """All scopes that are barred, those that only take nothing new left out."""
        return [scope for bars in self._scopes.values() for scope, bar in bars.items() if bar.whole]

    async def load(self, log: LogReader) -> None:
        """Bar what is half erased by what the store says, and nothing else."""
        found: set[Scope] = set()
        after: IndexMember | None = None
        while page := await log.index(states.ERASING, after=after, limit=_PAGE):
            for member in page:
                scope = Scope.of(member.tenant, member.member)
                found.add(scope)
                self.bar(scope)
                self.know(scope, await open_executions(log, scope))
            after = page[-1]
        for scope in [each for bars in self._scopes.values() for each in bars if each not in found]:
            self.lift(scope)

    def bar(self, scope: Scope, *, whole: bool = True) -> None:
        """Refuse what is written of it from now on; without `whole` only what is new, not what has been accepted."""
        bar = self._scopes.setdefault(scope.tenant, {}).setdefault(scope, _Bar())
        bar.whole = bar.whole or whole

    def know(self, scope: Scope, executions: Iterable[str]) -> None:
        """These executions are of a session that is barred."""
        self._scopes[scope.tenant][scope].executions.update(executions)

    def lift(self, scope: Scope) -> None:
        """It may be written again."""
        bars = self._scopes.get(scope.tenant, {})
        bars.pop(scope, None)
        if not bars:
            self._scopes.pop(scope.tenant, None)

    def holds(self, tenant: str, *, session: str = "", execution: str = "") -> bool:
        """Whether this is barred as a whole: an execution of it does not run, an event of it does not leave."""
        bars = self._scopes.get(tenant)
        return bars is not None and any(
            bar.whole and (not scope.session or scope.session == session or execution in bar.executions)
            for scope, bar in bars.items()
        )

    def concerns(self, tenant: str) -> bool:
        """Whether anything of a tenant is barred."""
        return tenant in self._scopes

    def refusal(self, commit: Commit, *, new: bool) -> BeingErased | None:
        """Why a commit is not to be made; None if it may be. `new`: it is not of what was accepted before."""
        for scope, bar in self._scopes.get(commit.tenant, {}).items():
            if (new or bar.whole) and bar.concerns(commit, scope.session):
                return BeingErased(scope.tenant, scope.session)
        return None


class _Bar:
    """How one scope is barred."""

    __slots__ = ("executions", "whole")

    def __init__(self) -> None:
        self.whole = False
        self.executions: set[str] = set()

    def concerns(self, commit: Commit, session: str) -> bool:
        return not session or any(
            record.session == session or record.execution in self.executions for record in commit.records
        )


async def open_executions(log: LogReader, scope: Scope) -> list[str]:
    """The executions of a scope that have not ended."""
    found: list[str] = []
    score = open_score(scope.session)
    after = IndexMember(score, scope.tenant, "") if scope.session else None  # a session's stand together
    while page := await log.index(states.OPEN, after=after, limit=_PAGE):
        if scope.session and (page[0].score, page[0].tenant) != (score, scope.tenant):
            break
        own = [each for each in page if each.tenant == scope.tenant and (not scope.session or each.score == score)]
        candidates = [each.member for each in own]
        found += await _of_session(log, scope, candidates) if scope.session else candidates
        after = page[-1]
    return found


async def _of_session(log: LogReader, scope: Scope, candidates: list[str]) -> list[str]:
    """Two sessions may have the same score."""
    documents = await log.fetch([(scope.tenant, states.EXECUTIONS, each) for each in candidates])
    return [each.key for each in documents if each is not None and decode_execution(each.body).session == scope.session]
