"""Which slots of which schedules have come, and one job for each."""

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from modelkeep.jobs.schedule import Schedule
from modelkeep.store.seams import Ledger

Wanted: TypeAlias = Callable[[Ledger, float], bool]
"""Whether a task has anything to do at a moment."""


class Slots:
    """Enqueues the newest slot of each schedule once it has come.

    Slots that passed unseen (nobody was running, or the clock jumped ahead) count as one missed run: only the newest is
    enqueued. What passed before a schedule was first seen was never missed. ``wanted`` says by task what a slot is for:
    without it the slot passes and leaves no job.
    """

    def __init__(self, schedules: Mapping[str, Schedule], wanted: Mapping[str, Wanted]) -> None:
        self._schedules = dict(schedules)
        self._wanted = dict(wanted)
        self._following: dict[str, float] = {}
        self._seen = -math.inf

    @property
    def following(self) -> float:
        """When the next slot comes; minus infinity before the first look, infinity without schedules."""
        if len(self._following) < len(self._schedules):
            return -math.inf
        return min(self._following.values(), default=math.inf)

    def restart(self) -> None:
        """Look at every schedule anew."""
        self._following.clear()

    def enqueue(self, ledger: Ledger, now: float) -> None:
        """Add the jobs of the slots that have come; those that exist stay as they are."""
        if now < self._seen:
            # The clock was set back: slots that come again are known by their jobs, those that were skipped are due.
            self._following.clear()
        self._seen = now
        for name, schedule in self._schedules.items():
            if self._following.get(name, -math.inf) > now:
                continue
            first = schedule.first_seen(name, now=now)
            slot = schedule.newest(now)
            since = now if ledger.jobs.add(first) else ledger.jobs.get(first.id).created
            wanted = self._wanted.get(schedule.task)
            if slot > since and (wanted is None or wanted(ledger, now)):
                ledger.jobs.add(schedule.job(name, slot=slot, now=now))
            self._following[name] = schedule.after(now)
