"""What is kept longer than was said, by place, with the command that takes it away."""

from __future__ import annotations

from collections.abc import Iterator

from modelkeep.jobs.complying import Overdue
from modelkeep.jobs.rooms import Rooms
from modelkeep.nouns import Retention
from modelkeep.quantities import DAY
from modelkeep.store.seams import Ledger

GRACE = DAY
"""What is purged once a day may be so much older."""


def overdue(rooms: Rooms, *, accesses: float, readings: float = 0.0) -> Iterator[Overdue]:
    """Everything that is older than its policy: records of each model, the log of accesses, single readings.

    ``accesses`` and ``readings`` are how long those are kept, in seconds (0 = for ever).
    """
    now = rooms.clock.now()
    with rooms.store.read() as ledger:
        for model in ledger.versions.models():
            yield from _records(ledger, model, keep=ledger.versions.policy(model).retention, now=now)
        seen = ledger.persons.first_access()
        old = ledger.readings.older(now - readings - GRACE) if readings else 0
    if seen is not None and seen < now - accesses - GRACE:
        yield Overdue(what="the log of accesses", oldest=seen, command="modelkeep jobs run tidy")
    if old:
        command = "modelkeep maintenance purge-history"
        yield Overdue(what=f"{old} readings", oldest=now - readings - GRACE, command=command)


def _records(ledger: Ledger, model: str, *, keep: Retention, now: float) -> Iterator[Overdue]:
    command = f"modelkeep predictions archive --model {model}"
    if keep.predictions:
        before = now - keep.predictions - GRACE
        n, oldest = ledger.archive.waiting(model, before=before)
        if n and oldest is not None:
            yield Overdue(what=f"predictions of {model} ({n})", oldest=oldest, command=command)
        late = [p for p in ledger.archive.partitions(model) if p.at_low < before]
        if late:
            oldest = min(p.at_low for p in late)
            yield Overdue(what=f"archived predictions of {model} ({len(late)} files)", oldest=oldest, command=command)
    if keep.features:
        before = now - keep.features - GRACE
        full = [p for p in ledger.archive.partitions(model) if not p.bare and p.period and p.at_high < before]
        if full:
            oldest = min(p.at_low for p in full)
            yield Overdue(what=f"features of {model} ({len(full)} files)", oldest=oldest, command=command)
