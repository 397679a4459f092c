"""Scoring a file: every row is answered, in order, as durable work."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from modelkeep.errors import BadInput, Conflict, ModelkeepError
from modelkeep.jobs import scorers, scoring
from modelkeep.jobs.scored_rows import Reading, source_of
from modelkeep.jobs.scoring import Scored, Scoring, Table
from modelkeep.nouns import Job, Step, Version
from modelkeep.operations import jobs, uploads
from modelkeep.operations.act import By, ModelName, Operation
from modelkeep.operations.jobs import JobId, JobView, OneJob
from modelkeep.operations.models import known
from modelkeep.operations.uploads import Digest
from modelkeep.runtimes.streams import columns, suffix
from modelkeep.store import answers
from modelkeep.store.answers import Form, RowAnswer

if TYPE_CHECKING:
    from modelkeep.app import App

_TABLES: dict[str, Table] = {
    ".tsv": "csv", ".txt": "csv", ".pq": "parquet", ".jsonl": "ndjson", ".feather": "arrow", ".ipc": "arrow",
}  # fmt: skip
_OUT: dict[str, Form] = {
    ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
_GLANCE = 0.2


class Score(Struct, frozen=True, kw_only=True):
    """Which model, and the file (sent to ``/v1/files`` before) whose rows it is to answer.

    ``names`` maps inputs, and ``id``, ``key``, ``for`` and ``subject``, to the file's columns where they are called
    differently. ``number`` is the champion by default.
    """

    model: ModelName
    file: Digest
    file_format: Table = "csv"
    source: Annotated[str, Meta(description="What the file is called", max_length=500)] = ""
    number: Annotated[int, Meta(description="Number of the version", ge=1, le=2**31)] | None = None
    names: Annotated[dict[str, str], Meta(description="Our fields to the file's columns")] = {}
    workers: Annotated[int, Meta(description="Processes; 0 = by the cores, at most 2", ge=0, le=64)] = 0
    batch: Annotated[int, Meta(description="Rows that are asked together", ge=1, le=10_000)] = 100
    record: Annotated[bool, Meta(description="Record the answers like any other")] = True
    dry_run: Annotated[bool, Meta(description="Only read the rows and name those that do not fit")] = False
    by: By = ""


class DropAnswers(Struct, frozen=True, kw_only=True):
    """Which job's answers to let go of."""

    id: JobId


class ListAnswers(Struct, frozen=True, kw_only=True):
    """Which job's answers, from where on (the ``next`` of the page before)."""

    id: JobId
    after: Annotated[int, Meta(description="What the page before gave as next", ge=0)] = 0
    limit: Annotated[int, Meta(description="At most so many answers", ge=1, le=10_000)] = 1000


class RowAnswers(Struct, frozen=True, kw_only=True):
    """Answers in the order of the file; ``next`` is where the next page begins, None after the last."""

    answers: tuple[RowAnswer, ...]
    next: int | None


class Dropped(Struct, frozen=True, kw_only=True):
    """Whether there were answers to let go of."""

    id: str
    dropped: bool


def score(app: App, request: Score, *, heard: Callable[[Step], None] | None = None) -> JobView:
    """Answer every row of a file with a model, in the order of the file, by several processes, as durable work.

    Where a server runs the job is answered at once and works on; elsewhere it has ended, and ``heard`` was told each
    step. Raises NotFound naming near models, Conflict when nobody answers for the model, BadInput naming the column
    that is missing, or why the file cannot be read.
    """
    version = _version(app, request)
    scoring.forget(app.rooms)
    name = f"score-{uuid.uuid4().hex[:12]}"
    folder = scoring.folder_of(app.rooms, name)
    folder.mkdir(mode=0o750, parents=True)
    try:
        table = scoring.table_of(folder, request.file_format)
        shutil.move(uploads.received(app, request.file), table)
        _check(table, request, version=version)
        job = _job(app, name, request=request, version=version)
        if not app.serving:
            return jobs.view(app.runner.run_now(job, heard=heard))
        with app.rooms.store.write() as ledger:
            ledger.jobs.add(job)
    except (ModelkeepError, KeyboardInterrupt):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    app.wake()
    return jobs.view(job)


def score_file(app: App, file: Path, *, out: Path, wanted: Score) -> Job:
    """Score a file of this machine, and write its answers to another, which is whole or not there; the ended job.

    Raises as ``score`` does, BadInput for a name that says no format, Conflict when the job did not end well.
    """
    form, kind = out_form(out), table_form(file)
    incoming = uploads.Incoming(app)
    try:
        with file.open("rb") as rows:
            while piece := rows.read(1 << 20):
                incoming.write(piece)
        digest = incoming.done()
    finally:
        incoming.drop()
    job = score(app, msgspec.structs.replace(wanted, file=digest, file_format=kind, source=wanted.source or file.name))
    pause = threading.Event()
    while job.state in {"waiting", "running"} and app.serving:
        pause.wait(_GLANCE)
        job = jobs.show_job(app, OneJob(id=job.id))
    if job.state != "done":
        raise Conflict(f"job {job.id!r} is {job.state}: {job.error}", remedy=f"modelkeep jobs show {job.id}")
    result = msgspec.json.decode(job.result, type=Scored)
    answers.write(out, _pages(app, job.id), form=form, columns=result.columns)
    drop_answers(app, DropAnswers(id=job.id))
    with app.rooms.store.read() as ledger:
        return ledger.jobs.get(job.id)


def _pages(app: App, job: str) -> Iterator[tuple[RowAnswer, ...]]:
    after: int | None = 0
    while after is not None:
        page = list_answers(app, ListAnswers(id=job, after=after, limit=5000))
        yield page.answers
        after = page.next


def table_form(path: Path) -> Table:
    """How a file is read, by its ending. Raises BadInput for another, and when it is not there."""
    ending = suffix(path)
    return _TABLES.get(ending) or msgspec.convert(ending[1:], type=Table)


def out_form(path: Path) -> Form:
    """How answers are written, by the ending. Raises BadInput."""
    found = _OUT.get(path.suffix.lower())
    if found is None:
        raise BadInput.of("out", expected="a .csv, .ndjson or .parquet file", got=str(path))
    return found


def list_answers(app: App, request: ListAnswers) -> RowAnswers:
    """List the answers of a job that has scored a file, in the order of the file; they are kept for a day.

    Raises NotFound, and Conflict when it has not ended well, or its answers were let go.
    """
    job = _scored(app, request.id)
    path = scoring.answers_of(scoring.folder_of(app.rooms, job.id))
    if not path.is_file():
        raise Conflict(f"the answers of job {job.id!r} are not kept any more", remedy="score the file again")
    found, following = answers.page(path, after=request.after, limit=request.limit)
    return RowAnswers(answers=tuple(found), next=following)


def drop_answers(app: App, request: DropAnswers) -> Dropped:
    """Let go of the answers of a job that has scored a file, once they are fetched.

    Raises NotFound, and Conflict when it is no such job or has not ended.
    """
    job = _scored(app, request.id)
    folder = scoring.folder_of(app.rooms, job.id)
    dropped = folder.is_dir()
    shutil.rmtree(folder, ignore_errors=True)
    return Dropped(id=job.id, dropped=dropped)


def _scored(app: App, name: str) -> Job:
    """A job that has scored a file to its end. Raises NotFound, Conflict."""
    with app.rooms.store.read() as ledger:
        job = ledger.jobs.get(name)
    if job.task != scoring.TASK:
        raise Conflict(
            f"job {job.id!r} is a {job.task}: it has scored no file", remedy="modelkeep jobs list --task score"
        )
    if job.state != "done":
        raise Conflict(f"job {job.id!r} is {job.state}", remedy=f"see how far it is: modelkeep jobs show {job.id}")
    return job


def _version(app: App, request: Score) -> Version:
    """The version that answers. Raises NotFound, Conflict."""
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        rollout = ledger.rollouts.get(request.model)
        number = request.number or (rollout.champion if rollout else None)
        found = None if number is None else ledger.versions.get(request.model, number)
    if found is None or found.external:
        raise app.rooms.client.unreleased(request.model)
    if rollout is not None and rollout.disabled and request.number is None:
        raise Conflict(
            f"model {request.model!r} is disabled: {rollout.disabled}", remedy=f"modelkeep enable {request.model}"
        )
    if request.record and not request.dry_run and (rollout is None or rollout.champion != number):
        raise Conflict(
            f"{found.name} is not the champion, and only answers of the champion are recorded",
            remedy="score without recording: --no-record (record false)",
        )
    return found


def _check(table: Path, request: Score, *, version: Version) -> None:
    """Raise BadInput for a file that cannot be read, has no row, or not the columns that the version takes."""
    reading = Reading(signature=version.signature, names=request.names)
    name = request.source or "the file"
    try:
        has = columns(table)
    except BadInput as refusal:
        raise BadInput(refusal.message.replace(table.name, name), remedy=refusal.remedy) from None
    if not has:
        raise BadInput(f"{name} has no row", remedy="is it the file that you mean?")
    reading.check(has, file=name, model=version.name)


def _job(app: App, name: str, *, request: Score, version: Version) -> Job:
    at = app.rooms.clock.now()
    asked = Scoring(
        model=version.model,
        number=version.number,
        form=request.file_format,
        source=source_of(request.file, request.names),
        workers=scorers.count(request.workers),
        batch=request.batch,
        names=request.names,
        record=request.record,
        dry=request.dry_run,
    )
    return Job(
        id=name,
        task=scoring.TASK,
        due=at,
        created=at,
        arguments=Raw(msgspec.json.encode(asked)),
        subject=version.model,
        by=request.by,
    )


OPERATIONS = (
    Operation(
        name="score", method="POST", path="/v1/models/{model}/score", request=Score, result=JobView, run=score,
        status=202,
    ),
    Operation(
        name="answers", method="GET", path="/v1/jobs/{id}/answers", request=ListAnswers, result=RowAnswers,
        run=list_answers, words=("jobs", "answers"), plain=("id",),
    ),
    Operation(
        name="drop_answers", method="DELETE", path="/v1/jobs/{id}/answers", request=DropAnswers, result=Dropped,
        run=drop_answers,
    ),
)  # fmt: skip

__all__ = [
    "OPERATIONS",
    "ListAnswers",
    "Score",
    "Scored",
    "list_answers",
    "out_form",
    "score",
    "score_file",
    "table_form",
]
