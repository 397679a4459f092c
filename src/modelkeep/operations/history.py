"""What happened: acts, alerts and steps of jobs on one line of time; the audit chain; backups."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Raw, Struct

from modelkeep.jobs.backup import backups
from modelkeep.jobs.housekeeping import ROUTINE
from modelkeep.nouns import about
from modelkeep.operations.act import Limit, Operation, stamp
from modelkeep.operations.models import sought

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.store.seams import Ledger


class Event(Struct, frozen=True, kw_only=True):
    """One event: an act of a person or of the product, an alert that opened or closed, or a step of a job."""

    at: datetime
    kind: Literal["act", "alert", "job"]
    what: str
    subject: str
    detail: str
    who: str
    id: str


class Timeline(Struct, frozen=True, kw_only=True):
    """Events, newest first."""

    events: tuple[Event, ...]


class ReadTimeline(Struct, frozen=True, kw_only=True):
    """Of one model, or of all."""

    model: Annotated[str, Meta(description="Only events of this model")] = ""
    limit: Limit = 100


class ActView(Struct, frozen=True, kw_only=True):
    """One entry of the audit chain."""

    number: int
    who: str
    what: str
    subject: str
    why: str
    at: datetime
    before: Raw
    after: Raw
    digest: str


class Acts(Struct, frozen=True, kw_only=True):
    """The audit chain, newest first; ``broken_at`` is the first entry that was tampered with, None while all hold."""

    acts: tuple[ActView, ...]
    broken_at: int | None


class ReadActs(Struct, frozen=True, kw_only=True):
    """About one subject (``m`` also finds ``m@1``), or all."""

    subject: Annotated[str, Meta(description="Only acts on this subject")] = ""
    limit: Limit = 100


class BackupView(Struct, frozen=True, kw_only=True):
    """One backup of one version: where the copy is, and its checksum."""

    id: str
    model: str
    version: int
    at: datetime
    path: str
    size: int
    sha256: str


class Backups(Struct, frozen=True, kw_only=True):
    """Backups, newest first."""

    backups: tuple[BackupView, ...]


class ListBackups(Struct, frozen=True, kw_only=True):
    """Of one model, or of all."""

    model: Annotated[str, Meta(description="Only backups of this model")] = ""


def timeline(app: App, request: ReadTimeline) -> Timeline:
    """Tell what happened: acts, alerts and steps of jobs, newest first.

    Raises NotFound for an unknown model.
    """
    with app.rooms.store.read() as ledger:
        sought(ledger, request.model)
        newest_first = [*_acts(ledger, request), *_alerts(ledger, request)]
        told = [*reversed(newest_first), *_steps(ledger, request)]
    # What happened at the same moment was told in its order; read backwards, it stays in it.
    events = sorted(told, key=lambda event: event.at)[::-1]
    return Timeline(events=tuple(events[: request.limit]))


def _acts(ledger: Ledger, request: ReadTimeline) -> Iterator[Event]:
    for act in ledger.acts.all(subject=request.model or None, limit=request.limit):
        yield Event(
            at=stamp(act.at),
            kind="act",
            what=act.what,
            subject=act.subject,
            detail=act.why,
            who=act.who,
            id=str(act.number),
        )


def _alerts(ledger: Ledger, request: ReadTimeline) -> Iterator[Event]:
    for alert in ledger.alerts.all(limit=request.limit):
        if not about(alert.subject, request.model):
            continue
        if alert.resolved is not None:
            yield Event(
                at=stamp(alert.resolved),
                kind="alert",
                what="resolved",
                subject=alert.subject,
                detail=alert.message,
                who=alert.rule,
                id=alert.id,
            )
        yield Event(
            at=stamp(alert.opened),
            kind="alert",
            what=f"{alert.severity} opened",
            subject=alert.subject,
            detail=alert.message,
            who=alert.rule,
            id=alert.id,
        )


def _steps(ledger: Ledger, request: ReadTimeline) -> Iterator[Event]:
    for job in reversed(ledger.jobs.all(limit=1000)):
        if job.task in ROUTINE or not about(job.subject, request.model):
            continue
        for step in job.steps:
            yield Event(
                at=stamp(step.at), kind="job", what=f"{job.task}: {step.name}", subject=job.subject,
                detail=step.detail, who=job.by, id=job.id,
            )  # fmt: skip
        if job.state == "failed" and job.finished is not None:
            yield Event(
                at=stamp(job.finished), kind="job", what=f"{job.task}: failed", subject=job.subject, detail=job.error,
                who=job.by, id=job.id,
            )  # fmt: skip


def read_acts(app: App, request: ReadActs) -> Acts:
    """Read the audit chain, newest first, and check that no entry was changed."""
    with app.rooms.store.read() as ledger:
        found = ledger.acts.all(subject=request.subject or None, limit=request.limit)
        broken = ledger.acts.verify()
    return Acts(
        acts=tuple(
            ActView(
                number=a.number, who=a.who, what=a.what, subject=a.subject, why=a.why, at=stamp(a.at),
                before=a.before, after=a.after, digest=a.digest,
            )
            for a in found
        ),
        broken_at=broken,
    )  # fmt: skip


def list_backups(app: App, request: ListBackups) -> Backups:
    """List the backups of models, newest first."""
    return Backups(
        backups=tuple(
            BackupView(
                id=b.id, model=b.model, version=b.version, at=stamp(b.at), path=b.path, size=b.size, sha256=b.sha256
            )
            for b in backups(app.rooms)
            if request.model in {"", b.model}
        )
    )  # fmt: skip


OPERATIONS = (
    Operation(
        name="timeline", method="GET", path="/v1/timeline", request=ReadTimeline, result=Timeline, run=timeline,
        words=("timeline",),
    ),
    Operation(
        name="acts", method="GET", path="/v1/acts", request=ReadActs, result=Acts, run=read_acts, words=("acts",),
        finding=lambda found: "" if found.broken_at is None else f"entry {found.broken_at} of the chain was changed",
    ),
    Operation(
        name="backups", method="GET", path="/v1/backups", request=ListBackups, result=Backups, run=list_backups,
        words=("backups", "list"),
    ),
)  # fmt: skip
