"""The runner: worker threads that lease due jobs, run their tasks and keep what came of it.

Any number of processes may run on one store. A job is run by whoever leases it; leases are renewed while it runs, so
one that was killed or frozen loses its job to another, whose new token makes the old runner's writes fail. A
``ModelkeepError`` fails the job with its text; ``Unavailable`` and everything unforeseen is tried again with growing
pauses, a few times, and then fails the job and opens an alert.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

import psutil
from msgspec import Struct, structs

from modelkeep.clock import SystemClock
from modelkeep.errors import LeaseLost, ModelkeepError, NotFound, StoreUnavailable, Unavailable
from modelkeep.jobs.leased import Leased
from modelkeep.jobs.rooms import Again, Done, Rooms, Task
from modelkeep.jobs.schedule import Schedule
from modelkeep.jobs.slots import Slots, Wanted
from modelkeep.nouns import Job, Lease, Step
from modelkeep.store.seams import Ledger

log = logging.getLogger("modelkeep.jobs")

FAILED = "job_failed"
"""The name under which a job that failed for good opens its alert; the next good run resolves it."""
_JUMPY = 0.05  # a clock that is moved by hand may pass any due moment at once
_PAUSES = (0.1, 0.3, 1.0, 3.0, 10.0)  # between attempts to write down how a job ended, while the store is away


class Pace(Struct, frozen=True, kw_only=True):
    """How a runner works: threads, the longest pause between looks at the queue, lease seconds, tries of a fault.

    ``backoff`` is the pause after the first fault in seconds; it doubles with each, up to ``longest``.
    """

    workers: int = 2
    poll: float = 0.5
    lease: float = 30.0
    attempts: int = 5
    backoff: float = 2.0
    longest: float = 300.0


_PACE = Pace()
NOTHING: Mapping[str, Wanted] = MappingProxyType({})
_PROCESS = secrets.token_hex(4)
"""Tells this process from an earlier one that had the same number, as in a container that was started again."""


def _ended(runner: str) -> bool:
    """True when ``runner`` was in a process of this machine that is no more."""
    host, number, process = [*runner.rsplit(":", 2), "", ""][:3]
    if host != socket.gethostname() or not number.isdigit():
        return False
    if int(number) == os.getpid():
        return process != _PROCESS
    return not psutil.pid_exists(int(number))


def _about(job: Job) -> str:
    return f"job {job.task} {job.subject}".strip()


class Runner:
    """Runs what is due.

    ``start`` begins worker threads, ``stop`` ends them: running tasks get ``grace`` seconds to finish, then their jobs
    are handed back. ``run_due`` does the due work in the caller's thread instead, for tests and one-shot commands.
    """

    def __init__(
        self,
        rooms: Rooms,
        tasks: Mapping[str, Task],
        *,
        schedules: Mapping[str, Schedule],
        pace: Pace = _PACE,
        wanted: Mapping[str, Wanted] = NOTHING,
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{_PROCESS}"
        self._rooms = rooms
        self._tasks = dict(tasks)
        self._slots = Slots(schedules, wanted)
        self._pace = pace
        self._pause = pace.poll if isinstance(rooms.clock, SystemClock) else min(_JUMPY, pace.poll)
        self._held: dict[str, Leased] = {}
        self._guard = threading.Lock()
        self._turn = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._troubled = ""
        self.looked = float("-inf")
        """The moment, by the injected clock, at which the queue was last looked at."""
        self._looked_at = time.perf_counter()

    # ------------------------------------------------------------------------------------------ from outside

    def start(self) -> None:
        """Begin to work in threads; schedules whose slot passed while nobody was running fire once."""
        self._stopping.clear()
        self._looked_at = time.perf_counter()
        self._take_over()
        works = [self._work] * self._pace.workers + [self._beat]
        self._threads = [threading.Thread(target=w, name=f"jobs-{i}", daemon=True) for i, w in enumerate(works)]
        for thread in self._threads:
            thread.start()

    def stop(self, grace: float = 10.0) -> None:
        """Take no more work; give running tasks ``grace`` seconds, then hand their jobs back."""
        self._stopping.set()
        self._wake.set()
        until = time.perf_counter() + grace
        for thread in self._threads:
            thread.join(max(until - time.perf_counter(), 0.0))
        self._threads = []
        with self._guard:
            left = list(self._held.values())
        for run in left:
            log.warning("handed back unfinished", extra={"job": run.job.id, "task": run.job.task})
            self._settle(run, run.hand_back)

    @property
    def silent(self) -> float:
        """Seconds of real time since the queue was last looked at; 0 while every worker is busy."""
        with self._guard:
            busy = len(self._held) >= self._pace.workers
        return 0.0 if busy else time.perf_counter() - self._looked_at

    def wake(self) -> None:
        """Look at the queue now."""
        self._wake.set()

    def run_due(self, limit: int = 10_000) -> list[Job]:
        """Run everything that is due now, in this thread, until nothing is; the jobs in the order they ran.

        Raises StoreUnavailable. A job that asks to run again at once is run again; ``limit`` bounds that.
        """
        ran: list[Job] = []
        self._slots.restart()
        while len(ran) < limit and (run := self._take()) is not None:
            self._run(run)
            ran.append(run.job)
        return ran

    def run_now(self, job: Job, *, heard: Callable[[Step], None] | None = None) -> Job:
        """Run one new job in this thread, past the queue; how it ended. ``heard`` is told each step.

        It is kept, shown and cancelled like any other. Ctrl-C cancels it. Raises StoreUnavailable.
        """
        clock, seconds = self._rooms.clock, self._pace.lease
        lease = Lease(runner=self.name, until=clock.now() + seconds, token=1)
        mine = structs.replace(job, state="running", lease=lease, attempts=1)
        with self._rooms.store.write("work") as ledger:
            ledger.jobs.add(mine)
        run = Leased(mine, store=self._rooms.store, clock=clock, seconds=seconds, heard=heard)
        with self._guard:
            self._held[job.id] = run
        beat = threading.Thread(target=self._beat, name="jobs-beat", daemon=True)
        self._threads.append(beat)
        beat.start()
        try:
            self._run(run)
        except KeyboardInterrupt:
            with self._rooms.store.write("work") as ledger:
                ledger.jobs.cancel(job.id, clock.now())
            raise
        with self._rooms.store.read() as ledger:
            return ledger.jobs.get(job.id)

    @property
    def running(self) -> list[Job]:
        """The jobs that this process runs at the moment."""
        with self._guard:
            return [run.job for run in self._held.values()]

    # ------------------------------------------------------------------------------------------- the threads

    def _work(self) -> None:
        while not self._stopping.is_set():
            run = self._next()
            if run is not None:
                self._run(run)

    def _next(self) -> Leased | None:
        """The next job; one worker looks at a time while the others work or wait for their turn to look."""
        with self._turn:
            while not self._stopping.is_set():
                self._wake.clear()
                pause = self._pause
                try:
                    run = self._take()
                except StoreUnavailable as cause:
                    self._say_trouble(str(cause))
                    run, pause = None, max(pause, 1.0)
                if run is not None:
                    return run
                self._wake.wait(max(min(pause, self._slots.following - self._rooms.clock.now()), 0.005))
        return None

    def _beat(self) -> None:
        """Renew the leases of what runs, three times in a lease's length of real time."""
        while not self._stopping.wait(self._pace.lease / 3):
            with self._guard:
                busy = bool(self._held)
            if busy:
                try:
                    with self._rooms.store.write("work") as ledger:
                        self._renew(ledger)
                except StoreUnavailable as cause:
                    self._say_trouble(str(cause))

    def _say_trouble(self, cause: str) -> None:
        if cause != self._troubled:
            log.error("jobs wait: the store is not available", extra={"cause": cause})
        self._troubled = cause

    # ----------------------------------------------------------------------------------------------- leasing

    def _take(self) -> Leased | None:
        """Enqueue due slots, and lease the job that is due longest."""
        now = self._rooms.clock.now()
        try:
            with self._rooms.store.write("work") as ledger:
                self._slots.enqueue(ledger, now)
                # If the clock jumped past our own leases, hold them again before they look abandoned.
                self._renew(ledger)
                job = self._leased(ledger, now)
        except StoreUnavailable:
            self._slots.restart()  # whatever was enqueued is undone
            raise
        self.looked, self._looked_at, self._troubled = now, time.perf_counter(), ""
        if job is None:
            return None
        run = Leased(job, store=self._rooms.store, clock=self._rooms.clock, seconds=self._pace.lease)
        with self._guard:
            self._held[job.id] = run
        return run

    def _leased(self, ledger: Ledger, now: float) -> Job | None:
        job = ledger.jobs.lease(self.name, now=now, seconds=self._pace.lease)
        if job is None or job.lease is None:
            return None
        # Counted before it runs: a job that ends its process each time must not be tried for ever.
        counted = structs.replace(job, attempts=job.attempts + 1)
        ledger.jobs.save(counted, job.lease.token)
        return counted

    def _take_over(self) -> None:
        """Give back at once what a killed process of this machine held, instead of waiting for its lease."""
        try:
            with self._rooms.store.write("work") as ledger:
                for job in ledger.jobs.all(state="running", limit=1000):
                    if job.lease is not None and _ended(job.lease.runner):
                        waiting = structs.replace(job, state="waiting", due=self._rooms.clock.now())
                        ledger.jobs.save(waiting, job.lease.token)
        except StoreUnavailable as cause:
            self._say_trouble(str(cause))

    def _renew(self, ledger: Ledger) -> None:
        with self._guard:
            held = list(self._held.values())
        for run in held:
            try:
                run.renew(ledger)
            except LeaseLost as lost:
                log.warning("lost a job", extra={"job": run.job.id, "task": run.job.task, "cause": str(lost)})
                self._let_go(run)

    def _let_go(self, run: Leased) -> None:
        with self._guard:
            if self._held.get(run.job.id) is run:
                del self._held[run.job.id]

    # ----------------------------------------------------------------------------------------------- running

    def _run(self, run: Leased) -> None:
        job, started = run.job, time.perf_counter()
        try:
            self._settle(run, self._outcome(run))
        finally:
            self._let_go(run)
        told = {"job": job.id, "task": job.task, "state": run.job.state, "seconds": time.perf_counter() - started}
        log.log(logging.WARNING if run.job.error else logging.DEBUG, "job ran", extra=told | {"error": run.job.error})

    def _outcome(self, run: Leased) -> Callable[[Ledger], None]:
        """Run the task; how its end is to be written down."""
        job = run.job
        if job.attempts > self._pace.attempts:
            why = job.error or "the process that ran it ended each time"
            return self._failing(run, f"gave up after {self._pace.attempts} attempts: {why}", alert=True)
        try:
            return self._ending(run, self._task(job.task)(self._rooms, run))
        except LeaseLost as lost:
            log.warning("stopped", extra={"job": job.id, "task": job.task, "cause": str(lost)})
            return lambda _: None
        except Unavailable as cause:
            return self._trying_again(run, str(cause))
        except ModelkeepError as refusal:
            return self._failing(run, str(refusal), alert=bool(job.schedule))
        except Exception as fault:  # noqa: BLE001 - a job's run: its fault must not end the worker that serves all others
            return self._faulty(run, fault)

    def _task(self, name: str) -> Task:
        if name not in self._tasks:
            raise NotFound("task", name, known=self._tasks)
        return self._tasks[name]

    def _ending(self, run: Leased, result: Again | Done) -> Callable[[Ledger], None]:
        if isinstance(result, Again):
            return lambda ledger: run.again(ledger, after=result.after, memo=result.memo)

        def write(ledger: Ledger) -> None:
            run.finish(ledger, result=result.result)
            self._rooms.book.settle(ledger, rule=FAILED, subject=_about(run.job))

        return write

    def _faulty(self, run: Leased, fault: Exception) -> Callable[[Ledger], None]:
        told = {"job": run.job.id, "task": run.job.task, "attempt": run.job.attempts}
        log.warning("a task failed", exc_info=fault, extra=told)
        return self._trying_again(run, f"{type(fault).__name__}: {fault}")

    def _trying_again(self, run: Leased, error: str) -> Callable[[Ledger], None]:
        tries = run.job.attempts
        if tries >= self._pace.attempts:
            return self._failing(run, f"{error} (after {tries} attempts)", alert=True)
        pause = min(self._pace.backoff * 2 ** (tries - 1), self._pace.longest)
        return lambda ledger: run.retry(ledger, after=pause, error=error)

    def _failing(self, run: Leased, error: str, *, alert: bool) -> Callable[[Ledger], None]:
        job = run.job

        def write(ledger: Ledger) -> None:
            run.finish(ledger, error=error)
            if alert:
                self._rooms.book.raise_event(
                    ledger,
                    rule=FAILED,
                    subject=_about(job),
                    kind="maintenance",
                    severity="error",
                    message=f"the job {job.task} failed: {error}",
                    command=f"modelkeep jobs show {job.id}",
                )

        return write

    def _settle(self, run: Leased, write: Callable[[Ledger], None]) -> None:
        """Write down how a run ended, waiting a while for a store that is away; else its lease runs out by itself."""
        for pause in _PAUSES:
            try:
                with self._rooms.store.write("work") as ledger:
                    write(ledger)
            except StoreUnavailable as cause:
                self._say_trouble(str(cause))
                if self._stopping.wait(pause):
                    return
            except LeaseLost as lost:
                log.warning("lost a job", extra={"job": run.job.id, "task": run.job.task, "cause": str(lost)})
                return
            else:
                return
