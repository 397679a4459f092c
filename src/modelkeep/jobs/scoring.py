"""The task ``score``: every row of a file is answered by one version, in batches, by several processes, in order.

Steps: ``started`` with the processes, then ``scored`` at every twentieth of the file, with what was reached and a memo
from which a run that was killed goes on: answers behind the last memo are made again, and are the same.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct, structs

from modelkeep.errors import Conflict, LeaseLost, NotFound, Refused, StoreUnavailable
from modelkeep.jobs.rooms import Done, Rooms, Run
from modelkeep.jobs.scored_rows import Reading, Recording, Row, line
from modelkeep.jobs.scorers import THREADS, Scorers
from modelkeep.nouns import Policy, Prediction, Version
from modelkeep.quantities import DAY
from modelkeep.runtimes.streams import pieces
from modelkeep.serving.calling import Got
from modelkeep.serving.discretion import marked, unnamed
from modelkeep.store.answers import Answers

TASK = "score"
Table: TypeAlias = Literal["csv", "gz", "parquet", "ndjson", "arrow"]
KEPT = DAY
"""So long, in seconds, answers wait to be fetched."""
NAMED = 100
"""So many rows with problems are named; all are counted."""
_STEPS = 20
_TOGETHER = 2000
_LOOK = 0.5
_PREFIX = "score-"


class Scoring(Struct, frozen=True, kw_only=True):
    """Arguments of the task ``score``.

    ``source`` names the file's content and how it is read (see ``Recording``), ``workers`` is at least 1.
    """

    model: str
    number: int
    form: Table
    source: str
    workers: int
    batch: int
    names: dict[str, str] = {}
    record: bool = True
    dry: bool = False


class RowProblem(Struct, frozen=True, kw_only=True):
    """Why one row (the first is 1) has no answer."""

    row: int
    message: str


class Scored(Struct, frozen=True, kw_only=True):
    """How far a file is scored, and as the result of the job: what became of it.

    ``workers`` is how many processes have really answered, ``threads`` what each may use. ``rows`` = ``answered`` +
    ``refused`` (no row that the model takes) + ``failed`` (the model did not answer). Of the answered and failed ones
    ``recorded`` are new records, ``repeated`` were recorded before, ``withheld`` may not be kept. ``rate`` is rows a
    second since the run began, ``peak_mb`` the most that one of the processes ever had in memory; None is not known.
    ``columns`` are those in which something is told.
    """

    model: str
    version: int
    workers: int = 0
    threads: int = THREADS
    batch: int = 0
    rows: int = 0
    done: float = 0.0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    recorded: int = 0
    repeated: int = 0
    withheld: int = 0
    rate: float | None = None
    peak_mb: float | None = None
    columns: tuple[str, ...] = ("row", "prediction", "error")
    problems: tuple[RowProblem, ...] = ()
    dry_run: bool = False


class Reached(Struct, frozen=True, kw_only=True):
    """What a run remembers: the answers so far, the last row and the bytes that they take."""

    scored: Scored
    last: int = 0
    size: int = 0
    ended: bool = False


class Started(Struct, frozen=True, kw_only=True):
    """Evidence of ``started``: processes, threads of each, rows in a batch, and the row after which it goes on."""

    workers: int
    threads: int
    batch: int
    after: int


def folder_of(rooms: Rooms, job: str) -> Path:
    """Where a job has its file and its answers: any server of the store may work on it."""
    return rooms.common / "work" / f"{_PREFIX}{job.removeprefix(_PREFIX)}"


def table_of(folder: Path, form: Table) -> Path:
    """The file that is scored, named so that its reader knows it."""
    return folder / f"rows.{form}"


def answers_of(folder: Path) -> Path:
    """The answers so far."""
    return folder / "answers.ndjson"


def forget(rooms: Rooms) -> int:
    """Let go of answers that nobody has fetched in time, and of what cancelled jobs have left; how many."""
    before, gone = rooms.clock.now() - KEPT, 0
    for folder in sorted((rooms.common / "work").glob(f"{_PREFIX}*")):
        with rooms.store.read() as ledger:
            try:
                job = ledger.jobs.get(folder.name)
            except NotFound:
                job = None
        ended = before + KEPT if job is None else job.finished
        if job is None and folder.stat().st_mtime > before:
            continue  # it is being laid out
        if ended is not None and (job is None or job.state != "done" or ended < before):
            shutil.rmtree(folder, ignore_errors=True)
            gone += 1
    return gone


def score(rooms: Rooms, run: Run) -> Done:
    """Answer every row of the file in the job's folder; see the module.

    Raises NotFound, BadArtifact, ModelFailed when a process did not survive a batch, BadInput when the file cannot be
    read, Unavailable when answers or records cannot be kept now.
    """
    asked, folder = run.arguments(Scoring), folder_of(rooms, run.job.id)
    reached = run.memo(Reached) or Reached(scored=Scored(model=asked.model, version=asked.number, dry_run=asked.dry))
    if not reached.ended:
        table = table_of(folder, asked.form)
        if not table.is_file():
            raise Conflict(f"the file of job {run.job.id!r} is gone", remedy="score it again")
        try:
            reached = _course(rooms, run, asked=asked, reached=reached)
        except Refused:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except LeaseLost:
            if _cancelled(rooms, run):
                shutil.rmtree(folder, ignore_errors=True)
            raise
    if asked.dry:
        shutil.rmtree(folder, ignore_errors=True)
    table_of(folder, asked.form).unlink(missing_ok=True)
    return Done(result=reached.scored)


def _course(rooms: Rooms, run: Run, *, asked: Scoring, reached: Reached) -> Reached:
    with rooms.store.read() as ledger:
        version = ledger.versions.get(asked.model, asked.number)
        policy = ledger.versions.policy(asked.model)
    course = Course(rooms, run, asked=asked, version=version, policy=policy, reached=reached)
    if asked.dry:
        return course.checked()
    with closing(Answers(answers_of(folder_of(rooms, run.job.id)), size=reached.size)) as answers:
        locate = rooms.files.path
        with Scorers(version, locate, workers=asked.workers, memory=policy.memory) as scorers:
            return course.scored(scorers, answers)


def _cancelled(rooms: Rooms, run: Run) -> bool:
    with rooms.store.read() as ledger:
        return ledger.jobs.get(run.job.id).state == "cancelled"


class Waiting(NamedTuple):
    """A batch on its way: its rows, the answers to those that the model is asked, and the share of the file."""

    rows: list[Row]
    got: Future[list[Got]]
    done: float


class Course:
    """One run over a file."""

    def __init__(
        self, rooms: Rooms, run: Run, *, asked: Scoring, version: Version, policy: Policy, reached: Reached
    ) -> None:
        self._rooms, self._run, self._asked = rooms, run, asked
        self._version, self._policy = version, policy
        self._reached = reached
        self._reading = Reading(signature=marked(version.signature, policy.privacy), names=asked.names)
        self._recording = Recording(version=version, at=run.job.created, request=run.job.id, source=asked.source)
        self._began = self._looked = time.monotonic()
        self._first = reached.scored.rows
        self._unkept: list[Prediction] = []
        self._told = int(reached.scored.done * _STEPS)

    def checked(self) -> Reached:
        """Read every row and ask nobody."""
        for piece in pieces(table_of(self._folder, self._asked.form), size=self._asked.batch):
            rows = [self._reading.row(*found) for found in piece.rows]
            self._note(rows, [], done=piece.done)
            self._alive()
        return self._reached

    def scored(self, scorers: Scorers, answers: Answers) -> Reached:
        """Answer every row after the last that was reached."""
        asked, last = self._asked, self._reached.last
        evidence = Started(workers=scorers.size, threads=THREADS, batch=asked.batch, after=last)
        words = f"{scorers.size} worker{'s' * (scorers.size > 1)}, batches of {asked.batch}"
        self._run.step("started", detail=f"{words}{f', after row {last}' if last else ''}", evidence=evidence)
        waiting: deque[Waiting] = deque()
        for piece in pieces(table_of(self._folder, asked.form), size=asked.batch, skip=last):
            rows = [self._reading.row(*found) for found in piece.rows]
            got = scorers.ask([row.features for row in rows if not row.problem])
            waiting.append(Waiting(rows, got, piece.done))
            if len(waiting) > scorers.size:
                self._take(waiting.popleft(), scorers, answers=answers)
        while waiting:
            self._take(waiting.popleft(), scorers, answers=answers)
        self._step(answers, ended=True)
        return self._reached

    @property
    def _folder(self) -> Path:
        return folder_of(self._rooms, self._run.job.id)

    def _take(self, batch: Waiting, scorers: Scorers, *, answers: Answers) -> None:
        """The answers to the oldest batch, in their place."""
        found = iter(self._awaited(batch.got))
        every = [Got() if row.problem else next(found) for row in batch.rows]
        self._hush(batch.rows, every)
        ids = self._record(batch.rows, every)
        answers.add(
            [line(row, got, prediction_id=ids.get(row.number, "")) for row, got in zip(batch.rows, every, strict=True)]
        )
        self._note(batch.rows, every, done=batch.done, recorded=bool(ids))
        seconds = time.monotonic() - self._began
        peak = scorers.peak
        self._reached = structs.replace(
            self._reached,
            scored=structs.replace(
                self._reached.scored,
                workers=scorers.working,
                rate=round((self._reached.scored.rows - self._first) / seconds, 1) if seconds else None,
                peak_mb=self._reached.scored.peak_mb if peak is None else round(peak / 2**20, 2),
            ),
        )
        self._alive()
        if int(batch.done * _STEPS) > self._told:
            self._told = int(batch.done * _STEPS)
            if batch.done < 1:
                self._step(answers)

    def _awaited(self, got: Future[list[Got]]) -> list[Got]:
        while True:
            try:
                return got.result(_LOOK)
            except FutureTimeout:
                if got.done():
                    raise
                self._alive()

    def _alive(self) -> None:
        """Raise LeaseLost when the job was cancelled, or taken over; looks twice a second at most."""
        now = time.monotonic()
        if now < self._looked + _LOOK:
            return
        self._looked = now
        try:
            with self._rooms.store.read() as ledger:
                job = ledger.jobs.get(self._run.job.id)
        except StoreUnavailable:
            return  # whether it goes on is known when the store is back
        mine = self._run.job.lease
        if job.state != "running" or job.lease is None or mine is None or job.lease.token != mine.token:
            raise LeaseLost(f"job {job.id!r} is {job.state} by now")

    def _hush(self, rows: Sequence[Row], every: Sequence[Got]) -> None:
        """Take values that tell who somebody is out of what the model said of its failures."""
        personal = self._reading.signature.personal
        for row, got in zip(rows, every, strict=True):
            if got.why and personal:
                got.why = unnamed(got.why, row.features, personal=personal)

    def _record(self, rows: Sequence[Row], every: Sequence[Got]) -> dict[int, str]:
        """Record what was answered; the ids by the numbers of rows. Nothing while collection is off."""
        if not self._asked.record or not self._rooms.recorder.enabled:
            return {}
        pairs = [(row, got) for row, got in zip(rows, every, strict=True) if not row.problem]
        made = {row.number: self._recording.prediction(row, got) for row, got in pairs}
        self._unkept += made.values()
        if len(self._unkept) >= _TOGETHER:
            self._keep()
        return {number: prediction.id for number, prediction in made.items()}

    def _keep(self) -> None:
        """Wait until the records that have gathered are on disk: one wait for many batches."""
        if not self._unkept:
            return
        taken = self._rooms.intake.take(self._unkept, elsewhere=False)
        self._unkept = []
        scored = self._reached.scored
        self._reached = structs.replace(
            self._reached,
            scored=structs.replace(
                scored,
                recorded=scored.recorded + taken.kept,
                repeated=scored.repeated + taken.repeated,
                withheld=scored.withheld + taken.withheld,
            ),
        )

    def _note(self, rows: Sequence[Row], every: Sequence[Got], *, done: float, recorded: bool = False) -> None:
        """Count what became of some rows."""
        before = self._reached.scored
        failed = [got.value is None for got in every] or [False] * len(rows)
        refused = sum(bool(row.problem) for row in rows)
        lost = sum(failed) - (refused if every else 0)
        texts = (row.problem or (every[i].error or "" if failed[i] else "") for i, row in enumerate(rows))
        found = [RowProblem(row=row.number, message=text) for row, text in zip(rows, texts, strict=True) if text]
        scored = structs.replace(
            before,
            batch=self._asked.batch,
            rows=before.rows + len(rows),
            done=round(min(done, 1.0), 4),
            answered=before.answered + (len(rows) - refused - lost if every else 0),
            refused=before.refused + refused,
            failed=before.failed + lost,
            columns=_columns(before.columns, rows, every, recorded=recorded),
            problems=(*before.problems, *found)[:NAMED],
        )
        self._reached = structs.replace(self._reached, scored=scored, last=rows[-1].number)

    def _step(self, answers: Answers, *, ended: bool = False) -> None:
        """Remember what is on disk, and say how far it is."""
        self._keep()  # what the memo passes over is on disk, answers and records
        self._reached = structs.replace(self._reached, size=answers.certain(), ended=ended)
        scored = self._reached.scored
        share = "" if ended else f", {scored.done:.0%}"
        detail = f"{scored.rows:,} rows by {scored.workers} worker{'s' * (scored.workers != 1)}{share}"
        evidence = structs.replace(scored, problems=())
        self._run.step("scored", detail=detail, evidence=evidence, memo=self._reached)


def _columns(known: tuple[str, ...], rows: Sequence[Row], every: Sequence[Got], *, recorded: bool) -> tuple[str, ...]:  # noqa: PLR0917
    """The columns in which something is told, in the order of a line."""
    told = {
        "id": any(row.id for row in rows),
        "prediction_id": recorded,
        "key": any(row.key for row in rows),
        "score": any(got.score is not None for got in every),
        "low": any(got.interval is not None for got in every),
    }
    told["high"] = told["low"]
    order = ("row", "id", "prediction_id", "key", "prediction", "score", "low", "high", "error")
    return tuple(name for name in order if name in known or told.get(name))
