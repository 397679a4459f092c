"""The archive of old predictions: moving them there, and what is in it."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from modelkeep.errors import BadInput, StoreUnavailable
from modelkeep.jobs.archiving import Archived, Archiving, Sealed, foreseen
from modelkeep.operations.act import By, Operation, Why, stamp
from modelkeep.operations.models import sought
from modelkeep.operations.working import worked
from modelkeep.quantities import seconds

if TYPE_CHECKING:
    from modelkeep.app import App


class ArchivePredictions(Struct, frozen=True, kw_only=True):
    """Which predictions: of one model or of all, older than an age (each model's hot window without it)."""

    model: Annotated[str, Meta(description="Only this model", max_length=200)] = ""
    older_than: Annotated[str, Meta(description="A duration such as 90d; each model's hot window without it")] = ""
    dry_run: Annotated[bool, Meta(description="Say what would be done, and do nothing")] = False
    why: Why = ""
    by: By = ""


class ArchivedModel(Struct, frozen=True, kw_only=True):
    """One model: its predictions asked before ``before``, and what became of them.

    ``waiting`` were in the database; ``archived`` are in files now; ``dropped`` were older than the policy keeps them.
    """

    model: str
    before: datetime | None
    waiting: int
    oldest: datetime | None
    archived: int
    dropped: int
    bared: int


class Archival(Struct, frozen=True, kw_only=True):
    """What was archived; ``state`` is ``running`` when it goes on without you (see ``modelkeep jobs show JOB``)."""

    state: Literal["dry_run", "running", "done", "failed"]
    job: str
    models: tuple[ArchivedModel, ...]
    files: int | None = None
    bytes: int | None = None
    bytes_freed: int | None = None
    error: str = ""


class ListArchive(Struct, frozen=True, kw_only=True):
    """Of one model, or of all."""

    model: Annotated[str, Meta(description="Only this model", max_length=200)] = ""


class ArchiveFile(Struct, frozen=True, kw_only=True):
    """One Parquet file: whose predictions, asked from when to when, how many, and its SHA-256.

    ``thawed`` of its rows are back in the database, because something new was told of them; ``features`` is false where
    the policy had them dropped.
    """

    model: str
    period: str
    start: datetime
    end: datetime
    rows: int
    labelled: int
    thawed: int
    features: bool
    bytes: int
    sha256: str


class ArchiveFiles(Struct, frozen=True, kw_only=True):
    """The files of the archive, oldest first."""

    files: tuple[ArchiveFile, ...]
    rows: int
    bytes: int


def archive_predictions(app: App, request: ArchivePredictions) -> Archival:
    """Move old predictions with their outcomes to the archive: Parquet files that answer like the database does.

    Rows leave the database a thousand at a time, in the transaction that lists their file. Also drops what is older
    than the policy's retention. It is durable work: where it takes longer, the answer says ``running``.
    """
    with app.rooms.store.read() as ledger:
        sought(ledger, request.model)
    if app.rooms.store.cold is None:
        raise StoreUnavailable("this store has no folder for an archive", remedy="open it with a data folder")
    age = seconds(request.older_than, "older_than") if request.older_than else None
    if age is not None and age <= 0:
        raise BadInput.of("older_than", expected="a duration such as 90d", got=repr(request.older_than))
    wanted = Archiving(model=request.model or None, older_than=age)
    if request.dry_run:
        found = foreseen(app.rooms, wanted, hot=app.settings.archive.after)
        return Archival(state="dry_run", job="", models=tuple(map(_model, found)))
    job = worked(app, "archive", arguments=wanted, subject=request.model, by=request.by, why=request.why)
    if job.state != "done":
        return Archival(state="failed" if job.state == "failed" else "running", job=job.id, models=(), error=job.error)
    done = msgspec.json.decode(job.result, type=Archived)
    return Archival(
        state="done",
        job=job.id,
        models=tuple(map(_model, done.models)),
        files=done.files,
        bytes=done.bytes,
        bytes_freed=done.freed,
    )


def list_archive(app: App, request: ListArchive) -> ArchiveFiles:
    """List the files of the archive.

    Raises NotFound for an unknown model.
    """
    with app.rooms.store.read() as ledger:
        sought(ledger, request.model)
        found = ledger.archive.partitions(request.model or None)
        struck = ledger.archive.struck(p.number for p in found)
    files = tuple(
        ArchiveFile(
            model=p.model,
            period=p.period or "not merged yet",
            start=stamp(p.at_low),
            end=stamp(p.at_high),
            rows=p.rows,
            labelled=p.labelled,
            thawed=len(struck.get(p.number, ())),
            features=not p.bare,
            bytes=p.size,
            sha256=p.digest,
        )
        for p in sorted(found, key=lambda p: (p.model, p.at_low))
    )
    return ArchiveFiles(files=files, rows=sum(f.rows - f.thawed for f in files), bytes=sum(f.bytes for f in files))


def _model(done: Sealed) -> ArchivedModel:
    return ArchivedModel(
        model=done.model,
        before=stamp(done.before) if math.isfinite(done.before) else None,
        waiting=done.waiting,
        oldest=stamp(done.oldest),
        archived=done.archived,
        dropped=done.dropped,
        bared=done.bared,
    )


def _finding(found: Archival) -> str:
    return f"failed: {found.error}" if found.state == "failed" else ""


OPERATIONS = (
    Operation(
        name="archive", method="POST", path="/v1/archive", request=ArchivePredictions, result=Archival,
        run=archive_predictions, words=("predictions", "archive"), finding=_finding,
    ),
    Operation(
        name="archive_files", method="GET", path="/v1/archive", request=ListArchive, result=ArchiveFiles,
        run=list_archive, words=("archive", "list"), plain=("model",),
    ),
)  # fmt: skip
