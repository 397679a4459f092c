"""When recurring work is due: cron expressions and plain intervals, exactly one run per slot.

A *slot* is a moment at which a schedule fires. A job's id names its slot, so any number of processes that see the same
slot enqueue one job. Times come from the injected clock; cron expressions are read in an IANA zone (UTC unless said),
with Debian cron's rules for daylight saving: a time that does not exist fires when the gap ends, one that exists
twice fires once.
"""

import math
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from msgspec import Raw, Struct, json

from modelkeep.errors import BadInput
from modelkeep.nouns import Job
from modelkeep.quantities import iso, seconds

_EVERY = "every "


class Schedule(Struct, frozen=True, kw_only=True):
    """Recurring work: ``task`` with ``arguments``, ``when`` as a cron expression or ``every 60s``.

    Five cron fields (minute, hour, day of month, month, day of week; a sixth in front means seconds). Intervals are
    counted from 1970-01-01T00:00:00Z, so that every process sees the same slots.

    >>> weekly = Schedule(task="backup", when="0 2 * * 0")
    >>> iso(weekly.after(0.0)), iso(Schedule(task="watch", when="every 60s").after(90.0))
    ('1970-01-04T02:00:00.000Z', '1970-01-01T00:02:00.000Z')
    """

    task: str
    when: str
    zone: str = "UTC"
    subject: str = ""
    arguments: dict[str, str | float | bool | None] = {}

    def check(self, name: str = "schedule") -> None:
        """Raise BadInput when ``when`` or ``zone`` cannot be read, or the expression never fires."""
        try:
            never = self.after(0.0) == math.inf
        except CronSimError as cause:
            raise BadInput.of(
                f"{name}.when",
                expected="a cron expression such as '0 2 * * 0', or 'every 60s'",
                got=f"{self.when!r}: {cause}",
            ) from None
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise BadInput.of(
                f"{name}.zone", expected="an IANA zone such as Europe/Berlin", got=repr(self.zone)
            ) from None
        if never:
            raise BadInput.of(f"{name}.when", expected="a time that comes at all", got=repr(self.when))

    def after(self, at: float) -> float:
        """The first slot later than ``at``, in seconds since the epoch; infinity when there is none in 50 years."""
        every = self._interval()
        if every:
            slot = (math.floor(at / every) + 1) * every
            return slot if slot > at else slot + every
        slots = CronSim(self.when, datetime.fromtimestamp(math.floor(at), self._tz()))
        # In the hour that autumn repeats, the expression's next local time may already have passed at its first coming.
        return next((slot for slot in (moment.timestamp() for moment in slots) if slot > at), math.inf)

    def newest(self, at: float) -> float:
        """The last slot at or before ``at``; minus infinity when there is none in 50 years."""
        every = self._interval()
        if every:
            return math.floor(at / every) * every
        start = datetime.fromtimestamp(math.floor(at) + 1, self._tz())
        found = next(CronSim(self.when, start, reverse=True), None)
        if found is None:
            return -math.inf
        slot = found.timestamp()
        # A time that exists twice is found at its first occurrence; one before a gap may be found late. Walk forward.
        while (following := self.after(slot)) <= at:
            slot = following
        return slot

    def job(self, name: str, *, slot: float, now: float) -> Job:
        """The job of one slot; its id is the same wherever it is made."""
        return Job(
            id=f"{name}-{iso(slot)}",
            task=self.task,
            due=slot,
            created=now,
            arguments=Raw(json.encode(self.arguments)),
            subject=self.subject,
            schedule=name,
            by=f"schedule {name}",
        )

    def first_seen(self, name: str, *, now: float) -> Job:
        """A finished job that marks since when this schedule is known, so that older slots do not count as missed."""
        return Job(
            id=f"{name}-since-{self.when}-{self.zone}".replace(" ", "_"),
            task=self.task,
            due=now,
            created=now,
            state="done",
            subject=self.subject,
            schedule=name,
            by="scheduled from here on",
            finished=now,
        )

    def _tz(self) -> tzinfo:
        return UTC if self.zone == "UTC" else ZoneInfo(self.zone)

    def _interval(self) -> float:
        return seconds(self.when.removeprefix(_EVERY), "every") if self.when.startswith(_EVERY) else 0.0
