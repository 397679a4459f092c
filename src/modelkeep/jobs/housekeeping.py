"""The task ``tidy``: the queue's own history is kept as long as somebody may ask for it, and no longer."""

from msgspec import Struct

from modelkeep.jobs import aside, scoring
from modelkeep.jobs.rooms import Done, Rooms, Run
from modelkeep.quantities import DAY

ROUTINE = ("watch", "deliver", "tidy")
"""Tasks that run all the time: what they find is told, not that they ran."""


class Tidy(Struct, frozen=True, kw_only=True):
    """Arguments of the task ``tidy``: seconds that finished jobs are kept, those of ``frequent`` tasks and others."""

    frequent: tuple[str, ...] = ROUTINE
    short: float = DAY
    long: float = 365 * DAY


class Tidied(Struct, frozen=True, kw_only=True):
    """How many jobs were forgotten, and how many entries of the log of accesses."""

    jobs: int
    accesses: int = 0


def tidy(rooms: Rooms, run: Run, *, accesses: float = 365 * DAY) -> Done:
    """Forget jobs that ended well long ago; the newest of each schedule stays, and what failed for ``long``.

    Answers to scored files are let go after a day, and what killed processes left behind. Who read personal
    records is forgotten after ``accesses`` seconds.
    """
    asked, now = run.arguments(Tidy), rooms.clock.now()
    with rooms.store.write() as ledger:
        gone = sum(ledger.jobs.purge(now - asked.short, task=task) for task in asked.frequent)
        gone += ledger.jobs.purge(now - asked.long)
        seen = ledger.persons.purge_accesses(now - accesses)
    scoring.forget(rooms)
    aside.forget(rooms)
    rooms.files.sweep(now - DAY)
    return Done(result=Tidied(jobs=gone, accesses=seen))
