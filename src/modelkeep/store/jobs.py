"""The shelf of jobs: a queue whose leases carry a token, so that a runner that was given up cannot write."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, and_, delete, exists, insert, or_, select, update

from modelkeep.errors import Conflict, LeaseLost, NotFound
from modelkeep.nouns import Job, Lease
from modelkeep.store.tables import jobs

BATCH = 5000


class SqlJobs:
    """``seams.Jobs`` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, job: Job) -> bool:
        """See ``seams.Jobs.add``."""
        if self._connection.execute(select(jobs.c.id).where(jobs.c.id == job.id)).first() is not None:
            return False
        token = 0 if job.lease is None else job.lease.token
        self._connection.execute(insert(jobs).values(id=job.id, created=job.created, token=token, **_columns(job)))
        return True

    def get(self, id: str) -> Job:
        """See ``seams.Jobs.get``."""
        return self._row(id)[1]

    def _row(self, id: str) -> tuple[int, Job]:
        row = self._connection.execute(select(jobs.c.token, jobs.c.body).where(jobs.c.id == id)).first()
        if row is None:
            newest = select(jobs.c.id).order_by(jobs.c.created.desc()).limit(1000)
            raise NotFound("job", id, known=self._connection.execute(newest).scalars())
        return row.token, _job(row.body)

    def all(self, *, task: str | None = None, state: str | None = None, limit: int = 200) -> list[Job]:
        """See ``seams.Jobs.all``."""
        c = jobs.c
        query = select(c.body).order_by(c.created.desc(), c.id.desc()).limit(limit)
        if task is not None:
            query = query.where(c.task == task)
        if state is not None:
            query = query.where(c.state == state)
        return [_job(body) for body in self._connection.execute(query).scalars()]

    def lease(self, runner: str, *, now: float, seconds: float) -> Job | None:
        """See ``seams.Jobs.lease``."""
        c, other = jobs.c, jobs.alias("other")
        taken = exists().where(
            other.c.task == c.task,
            other.c.subject == c.subject,
            other.c.id != c.id,
            other.c.state == "running",
            other.c.until > now,
        )
        ready = or_(and_(c.state == "waiting", c.due <= now), and_(c.state == "running", c.until <= now))
        query = select(c.token, c.body).where(ready, ~taken).order_by(c.due, c.created, c.id).limit(1)
        row = self._connection.execute(query).first()
        if row is None:
            return None
        lease = Lease(runner=runner, until=now + seconds, token=row.token + 1)
        leased = replace(_job(row.body), state="running", lease=lease)
        self._write(leased, token=lease.token)
        return leased

    def save(self, job: Job, token: int) -> None:
        """See ``seams.Jobs.save``."""
        kept, found = self._row(job.id)
        if kept != token:
            held = "nobody" if found.lease is None else found.lease.runner
            raise LeaseLost(
                f"job {job.id} is {found.state} and held by {held}: lease {token} is over, it is {kept} now"
            )
        self._write(job, token=token)

    def cancel(self, id: str, now: float) -> Job:
        """See ``seams.Jobs.cancel``. A running job's lease ends, so its runner stops at its next step."""
        token, job = self._row(id)
        if job.state not in {"waiting", "running"}:
            raise Conflict(
                f"job {id} is {job.state} already", remedy="only a job that has not finished can be cancelled"
            )
        stopped = replace(job, state="cancelled", lease=None, finished=now)
        self._write(stopped, token=token + 1)
        return stopped

    def purge(self, before: float, *, task: str | None = None) -> int:
        """See ``seams.Jobs.purge``. At most ``BATCH`` go at once, so that no other writer waits long."""
        c = jobs.c
        ended = ("done",) if task is not None else ("done", "failed", "cancelled")
        query = select(c.body).where(c.state.in_(ended), c.created < before).order_by(c.created.desc())
        if task is not None:
            query = query.where(c.task == task)
        newest: set[str] = set()
        gone = []
        for job in map(_job, self._connection.execute(query).scalars()):
            if job.attempts and (not job.schedule or job.schedule in newest):
                gone.append(job.id)
            newest.add(job.schedule)
        if gone:
            self._connection.execute(delete(jobs).where(jobs.c.id.in_(gone[-BATCH:])))
        return len(gone[-BATCH:])

    def _write(self, job: Job, *, token: int) -> None:
        self._connection.execute(update(jobs).where(jobs.c.id == job.id).values(token=token, **_columns(job)))


def _columns(job: Job) -> dict[str, str | float | None]:
    return {
        "task": job.task,
        "subject": job.subject,
        "state": job.state,
        "due": job.due,
        "until": None if job.lease is None else job.lease.until,
        "body": msgspec.json.encode(job).decode(),
    }


def _job(body: str) -> Job:
    return msgspec.json.decode(body, type=Job)
