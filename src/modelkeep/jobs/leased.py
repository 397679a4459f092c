"""One run of a leased job: what a task sees of it, and how whatever it does is kept under its lease."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from msgspec import Raw, Struct, ValidationError, json, structs

from modelkeep.clock import Clock
from modelkeep.errors import BadInput, LeaseLost, Problem
from modelkeep.nouns import Job, Lease, Step
from modelkeep.store.seams import Ledger, Store

T = TypeVar("T")


class Leased:
    """Implements ``jobs.rooms.Run`` for a job that this process holds a lease on.

    Every write starts from what the store holds and names the lease's token: after the process was frozen beyond its
    lease and another took the job over, it changes nothing and raises LeaseLost.
    """

    def __init__(
        self, job: Job, *, store: Store, clock: Clock, seconds: float, heard: Callable[[Step], None] | None = None
    ) -> None:
        if job.lease is None:
            raise LeaseLost(f"job {job.id!r} is not leased")
        self._job = job
        self._token = job.lease.token
        self._runner = job.lease.runner
        self._store = store
        self._clock = clock
        self._seconds = seconds
        self._heard = heard
        self._stepped = time.perf_counter()
        self._gone = ""

    @property
    def job(self) -> Job:
        """The job with the steps so far."""
        return self._job

    def arguments(self, kind: type[T]) -> T:
        """The job's arguments as the task's own type. Raises BadInput naming the field that is wrong."""
        try:
            return json.decode(self._job.arguments, type=kind)
        except ValidationError as wrong:
            reason, _, place = str(wrong).partition(" - at ")
            field = place.strip("`").removeprefix("$.") or "arguments"
            problem = Problem(
                field=field, expected=reason.replace("`", ""), got=bytes(self._job.arguments).decode()[:200]
            )
            raise BadInput(
                f"task {self._job.task!r}: {reason.replace('`', '')} at {field}", problems=(problem,)
            ) from None

    def memo(self, kind: type[T]) -> T | None:
        """What the task remembered last, or None at its first run."""
        return None if bytes(self._job.memo) == b"null" else json.decode(self._job.memo, type=kind)

    def step(
        self,
        name: str,
        *,
        detail: str = "",
        evidence: Struct | None = None,
        memo: Struct | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """Record a finished step (and the memo), durably; inside ``ledger``'s transaction when one is given."""
        now = time.perf_counter()
        step = Step(
            name=name,
            at=self._clock.now(),
            seconds=now - self._stepped,
            detail=detail,
            evidence=Raw(json.encode(evidence)),
        )
        with self._within(ledger) as inner:
            kept = self._kept(inner)
            self._save(
                inner,
                structs.replace(
                    kept,
                    steps=(*kept.steps, step),
                    memo=kept.memo if memo is None else Raw(json.encode(memo)),
                    lease=self._lease(),
                ),
            )
        self._stepped = now
        if self._heard is not None:
            self._heard(step)

    def renew(self, ledger: Ledger) -> None:
        """Hold the lease for its whole length from now on."""
        self._save(ledger, structs.replace(self._kept(ledger), lease=self._lease()))

    def again(self, ledger: Ledger, *, after: float, memo: Struct | None) -> None:
        """Give the job back to run again in ``after`` seconds; that it came this far clears its failures."""
        kept = self._kept(ledger)
        self._save(
            ledger,
            structs.replace(
                kept,
                state="waiting",
                due=self._clock.now() + max(after, 0.0),
                memo=kept.memo if memo is None else Raw(json.encode(memo)),
                attempts=0,
                error="",
            ),
        )

    def retry(self, ledger: Ledger, *, after: float, error: str) -> None:
        """Give the job back after a fault, to be tried again in ``after`` seconds."""
        kept = self._kept(ledger)
        self._save(ledger, structs.replace(kept, state="waiting", due=self._clock.now() + after, error=error))

    def hand_back(self, ledger: Ledger) -> None:
        """Give the job back unfinished, because this process stops; the task's later writes raise LeaseLost."""
        kept = self._kept(ledger)
        self._save(
            ledger, structs.replace(kept, state="waiting", due=self._clock.now(), attempts=max(kept.attempts - 1, 0))
        )
        self._gone = f"job {kept.id!r} was handed back because its process stops"

    def finish(self, ledger: Ledger, *, result: Struct | None = None, error: str = "") -> None:
        """End the job: done with its result, or failed with its error."""
        self._save(
            ledger,
            structs.replace(
                self._kept(ledger),
                state="failed" if error else "done",
                result=Raw(json.encode(result)),
                error=error,
                finished=self._clock.now(),
            ),
        )

    @contextmanager
    def _within(self, ledger: Ledger | None) -> Iterator[Ledger]:
        if ledger is not None:
            yield ledger
        else:
            with self._store.write("work") as own:
                yield own

    def _kept(self, ledger: Ledger) -> Job:
        """The job as the store has it: a step whose transaction was undone is not in it."""
        if self._gone:
            raise LeaseLost(self._gone)
        kept = ledger.jobs.get(self._job.id)
        if kept.state != "running" or kept.lease is None or kept.lease.token != self._token:
            self._gone = f"job {kept.id!r} is {kept.state} under another lease by now"
            raise LeaseLost(self._gone)
        return kept

    def _lease(self) -> Lease:
        return Lease(runner=self._runner, until=self._clock.now() + self._seconds, token=self._token)

    def _save(self, ledger: Ledger, job: Job) -> None:
        ledger.jobs.save(job, self._token)
        self._job = job
