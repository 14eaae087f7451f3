"""Hot store, cold store and log, held against each other: what `intendant archive verify` does.

    ahead       cold state has something newer than the hot store: the hot one has lost what it had acknowledged
    stale       cold state has an older version than the one it claims to have archived
    different   both have the same version, and it is not the same
    missing     it is not where it must be: an archived record or document, or records that are nowhere
    foreign     it lies under another tenant than it says of itself
    diverged    a document is not what the log leads to

It only reads, and may be used beside a running owner: what changes meanwhile has a higher version, and what looks wrong
is looked at again. Memory is bounded by sessions and open executions, a page of each tenant's log, and the findings.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

from msgspec import Struct

from intendant.actors.state_writer import CHECKPOINT
from intendant.domain.ports import ColdStore, Log
from intendant.runtime.contents import END_OF_TIME
from intendant.runtime.folding import Folding
from intendant.runtime.history import WholeContents
from intendant.runtime.tiering import compare_chunks, compare_documents

FINDINGS_MAX: Final = 100  # that are told one by one; all are counted

Kind = Literal["ahead", "stale", "different", "missing", "foreign", "diverged"]

REMEDIES: Final[dict[Kind, str]] = {
    "ahead": "bring back the hot store's newest copy; no runtime may archive before",
    "stale": "the state writer goes on from its checkpoint: write the hot document into the cold store by hand",
    "different": "one of the two was changed by somebody else: take the one that the log leads to",
    "missing": "bring it back from a copy of the cold store; what the hot store still has can be archived again",
    "foreign": "somebody else wrote it: remove it, and look who may write to the store",
    "diverged": "somebody else changed the document: the log tells what it was",
}


class Fault(Struct, frozen=True):
    """Something that should not be, in a sentence that names what it is about."""

    kind: Kind
    tenant: str
    text: str

    @property
    def remedy(self) -> str:
        """What to do."""
        return REMEDIES[self.kind]


class Verification:
    """What was compared, and found. `lag` is how many records cold state was behind when it began."""

    def __init__(self) -> None:
        self.records = self.chunks = self.documents = self.lag = 0
        self.faults: list[Fault] = []  # the first of each kind and tenant
        self.counts: Counter[tuple[str, Kind]] = Counter()  # by tenant

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.counts

    def find(self, kind: Kind, tenant: str, text: str) -> None:
        """Note a fault."""
        self.counts[tenant, kind] += 1
        if self.counts[tenant, kind] <= 3 and len(self.faults) < FINDINGS_MAX:
            self.faults.append(Fault(kind, tenant, text))

    async def run(self, logs: list[Log], cold: ColdStore) -> None:
        """Compare all partitions. Raises StoreUnavailable when a store can't be asked any more."""
        for number, log in enumerate(logs):
            archived = await log.checkpoint(CHECKPOINT)
            end = await log.position_at(END_OF_TIME)
            self.lag += max(end - 1 - archived, 0)
            contents = WholeContents(log, number, len(logs), history=cold, files=None)
            await contents.load(end)
            for tenant in contents.tenants:
                await compare_documents(self, contents, tenant, settled=archived >= end - 1)
                await compare_chunks(self, contents, tenant, archived)
            await Folding(self, contents, end).run()
