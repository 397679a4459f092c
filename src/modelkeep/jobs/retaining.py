"""What is kept longer than was said, by place, with the command that takes it away."""

from __future__ import annotations

from collections.abc import Iterator

from modelkeep.jobs.complying import Overdue
from modelkeep.jobs.rooms import Rooms
from modelkeep.quantities import DAY

GRACE = DAY
"""What is purged once a day may be so much older."""


def overdue(rooms: Rooms, *, accesses: float) -> Iterator[Overdue]:
    """Everything that is older than its policy; ``accesses`` is how long it is kept who read records, in seconds."""
    now = rooms.clock.now()
    with rooms.store.read() as ledger:
        seen = ledger.persons.first_access()
    if seen is not None and seen < now - accesses - GRACE:
        yield Overdue(what="the log of accesses", oldest=seen, command="modelkeep jobs run tidy")
