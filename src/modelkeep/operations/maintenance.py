"""Maintenance by hand: what the daily and weekly jobs do, now, with what it did."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from modelkeep.errors import BadInput
from modelkeep.jobs import upkeep
from modelkeep.jobs.rooms import Done
from modelkeep.jobs.upkeep import bytes_said
from modelkeep.nouns import Job
from modelkeep.operations.act import By, DurationText, Operation, stamp
from modelkeep.operations.training import Alone
from modelkeep.operations.working import worked
from modelkeep.quantities import seconds
from modelkeep.store import vacuuming

if TYPE_CHECKING:
    from modelkeep.app import App

T = TypeVar("T", bound=Struct)
State = Literal["dry_run", "running", "done", "failed"]
Age = Annotated[DurationText, Meta(description="A duration such as 30d; the setting's without it")]
DryRun = Annotated[bool, Meta(description="Say what would go, and delete nothing")]


class Vacuum(Struct, frozen=True, kw_only=True):
    """Who asks for it."""

    by: By = ""


class Vacuumed(Struct, frozen=True, kw_only=True):
    """What a vacuum did: bytes of the database before and after, how long, and the longest that a writer waited."""

    state: State
    job: str
    bytes_before: int | None = None
    bytes_after: int | None = None
    seconds: float | None = None
    longest_wait: float | None = None
    text: str = ""


class PurgeHistory(Struct, frozen=True, kw_only=True):
    """How old readings may be."""

    older_than: Age = ""
    dry_run: DryRun = False
    by: By = ""


class PurgedHistory(Struct, frozen=True, kw_only=True):
    """How many readings went; what they were folded into by the day stays."""

    state: State
    job: str
    readings: int | None = None
    before: datetime | None = None
    error: str = ""


class PurgeLogs(Struct, frozen=True, kw_only=True):
    """How long ago a log file may have been written to."""

    older_than: Age = ""
    dry_run: DryRun = False
    by: By = ""


class PurgedLogs(Struct, frozen=True, kw_only=True):
    """The files that went, and their bytes; the open one stays."""

    state: State
    job: str
    files: tuple[str, ...] = ()
    bytes_freed: int | None = None
    text: str = ""


def vacuum(app: App, request: Vacuum) -> Vacuumed:
    """Give the database's free space back to the disk; the server answers and records meanwhile."""
    job = worked(app, "vacuum", arguments=upkeep.Vacuuming(alone=not app.serving), by=request.by)
    if job.state != "done":
        return Vacuumed(state=_state(job), job=job.id, text=job.error)
    done = msgspec.json.decode(job.result, type=vacuuming.Vacuumed)
    freed = bytes_said(max(done.before - done.after, 0))
    said = f"{bytes_said(done.before)} before, {bytes_said(done.after)} after: {freed} freed in {done.seconds:.2f} s"
    return Vacuumed(
        state="done",
        job=job.id,
        bytes_before=done.before,
        bytes_after=done.after,
        seconds=done.seconds,
        longest_wait=done.longest,
        text=f"{said}; {done.note}" if done.note else said,
    )


def purge_history(app: App, request: PurgeHistory) -> PurgedHistory:
    """Delete old readings one by one, and keep their daily sums.

    The newest reading of each name and subject stays, however old.
    """
    wanted = upkeep.PurgeHistory(older_than=_age(request.older_than), dry_run=request.dry_run)
    if request.dry_run:
        found = _looked(app, "purge_history", wanted=wanted, kind=upkeep.PurgedHistory)
        return PurgedHistory(state="dry_run", job="", readings=found.readings, before=stamp(found.before))
    job = worked(app, "purge_history", arguments=wanted, by=request.by)
    if job.state != "done":
        return PurgedHistory(state=_state(job), job=job.id, error=job.error)
    found = msgspec.json.decode(job.result, type=upkeep.PurgedHistory)
    return PurgedHistory(state="done", job=job.id, readings=found.readings, before=stamp(found.before))


def purge_logs(app: App, request: PurgeLogs) -> PurgedLogs:
    """Delete log files to which nothing was written for long; the open one stays."""
    wanted = upkeep.PurgeLogs(older_than=_age(request.older_than), dry_run=request.dry_run)
    if request.dry_run:
        found = _looked(app, "purge_logs", wanted=wanted, kind=upkeep.PurgedLogs)
        return _logs("dry_run", job="", found=found)
    job = worked(app, "purge_logs", arguments=wanted, by=request.by)
    if job.state != "done":
        return PurgedLogs(state=_state(job), job=job.id, text=job.error)
    return _logs("done", job=job.id, found=msgspec.json.decode(job.result, type=upkeep.PurgedLogs))


def _logs(state: State, *, job: str, found: upkeep.PurgedLogs) -> PurgedLogs:
    kept = f"; {found.kept} is open and stays" if found.kept else ""
    return PurgedLogs(
        state=state,
        job=job,
        files=found.files,
        bytes_freed=found.bytes,
        text=f"{len(found.files)} files, {bytes_said(found.bytes)} freed{kept}",
    )


def _looked(app: App, task: str, *, wanted: Struct, kind: type[T]) -> T:
    """What a task would do: run here, for it changes nothing."""
    job = Job(id="", task=task, due=0.0, created=0.0, arguments=Raw(msgspec.json.encode(wanted)))
    found = app.tasks[task](app.rooms, Alone(job, app=app, say=lambda *_: None))
    assert isinstance(found, Done)  # noqa: S101 - these tasks end at once
    assert isinstance(found.result, kind)  # noqa: S101 - with this result
    return found.result


def _state(job: Job) -> State:
    return "failed" if job.state == "failed" else "running"


def _age(text: str) -> float | None:
    if not text:
        return None
    found = seconds(text, "older_than")
    if found <= 0:
        raise BadInput.of("older_than", expected="a duration such as 30d", got=repr(text))
    return found


def _failed(found: Vacuumed | PurgedLogs) -> str:
    return f"failed: {found.text}" if found.state == "failed" else ""


def _failed_history(found: PurgedHistory) -> str:
    return f"failed: {found.error}" if found.state == "failed" else ""


OPERATIONS = (
    Operation(
        name="vacuum", method="POST", path="/v1/maintenance/vacuum", request=Vacuum, result=Vacuumed, run=vacuum,
        words=("maintenance", "vacuum"), finding=_failed,
    ),
    Operation(
        name="purge_history", method="POST", path="/v1/maintenance/history", request=PurgeHistory,
        result=PurgedHistory, run=purge_history, words=("maintenance", "purge-history"), finding=_failed_history,
    ),
    Operation(
        name="purge_logs", method="POST", path="/v1/maintenance/logs", request=PurgeLogs, result=PurgedLogs,
        run=purge_logs, words=("maintenance", "purge-logs"), finding=_failed,
    ),
)  # fmt: skip
