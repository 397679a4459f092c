"""Reports: how models, server, users and business did, what changed for certain, what to do next; the task ``report``.

A report is made of what is kept already (hourly profiles, readings, alerts, jobs, feedback), and is written as JSON,
Markdown and one HTML file into ``reports`` of the data folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct, ValidationError, json, structs

from modelkeep.errors import BadArtifact, StoreUnavailable
from modelkeep.jobs.reports import wording
from modelkeep.jobs.reports.advice import Standing, insights, note, recommendations
from modelkeep.jobs.reports.of_models import Looked, looked
from modelkeep.jobs.reports.of_system import MANY, Around, around
from modelkeep.jobs.reports.parts import Delivery, Figure, Kind, Report
from modelkeep.jobs.reports.spans import Span
from modelkeep.jobs.rooms import Done, Rooms, Run
from modelkeep.nouns import gravity
from modelkeep.quantities import DAY, HOUR, iso
from modelkeep.store import durable
from modelkeep.store.seams import Ledger

FOLDER = "reports"
RULE = "report"
"""The rule of the notices that tell of a report; one of that name in a file of rules chooses their channels."""
DAYS = {"daily": 1, "weekly": 7, "monthly": 30, "performance": 7}
LONGEST = 366


class Wanted(Struct, frozen=True, kw_only=True):
    """Arguments of the task ``report``: which one, of how many days up to now (0: as its kind has), and tell of it."""

    kind: Kind = "weekly"
    days: int = 0
    tell: bool = True


class Reported(Struct, frozen=True, kw_only=True):
    """What the task made: the report's id, its files, and how much it found."""

    id: str
    files: tuple[str, ...]
    insights: int
    recommendations: int


def report(rooms: Rooms, run: Run, *, base: Callable[[], str] = str) -> Done:
    """The task ``report``: make one, write its files, and tell of it."""
    made = make(rooms, run.arguments(Wanted), base=base())
    result = Reported(
        id=made.id,
        files=made.delivery.files,
        insights=len(made.insights),
        recommendations=len(made.recommendations),
    )
    run.step("written", detail=", ".join(made.delivery.files), evidence=result)
    return Done(result=result)


def make(rooms: Rooms, wanted: Wanted, *, base: str = "") -> Report:
    """Make a report on the last whole hours, write it, and tell of it; its numbers link to queries at ``base``.

    Raises StoreUnavailable when it cannot be read or written.
    """
    now = rooms.clock.now()
    days = min(wanted.days or DAYS[wanted.kind], LONGEST)
    end = now // HOUR * HOUR
    span = Span(start=end - days * DAY, end=end)
    with rooms.store.read() as ledger:
        rollouts = sorted(ledger.rollouts.all(), key=lambda one: one.model)
        models = [looked(ledger, one, files=rooms.files, span=span) for one in rollouts]
        beside = around(rooms, ledger, models=models, span=span)
        standing = _standing(ledger, span=span)
    found = _gathered(wanted.kind, span, now=now, models=models, beside=beside, standing=standing)
    return _delivered(rooms, found, tell=wanted.tell, base=base)


def kept(rooms: Rooms) -> list[Report]:
    """Every report that is kept, newest first. Raises BadArtifact naming one that cannot be read."""
    found = []
    for path in (rooms.folder / FOLDER).glob("*.json"):
        try:
            found.append(json.decode(path.read_bytes(), type=Report))
        except (ValidationError, ValueError) as wrong:
            raise BadArtifact(f"{path} is not a report: {wrong}", remedy="move it away") from None
    return sorted(found, key=lambda one: (one.made, one.id), reverse=True)


def page_of(rooms: Rooms, id: str) -> Path | None:
    """The HTML file of a report, None when there is none of that id."""
    path = rooms.folder / FOLDER / f"{id}.html"
    return path if re.fullmatch(r"[a-z]+-[0-9TZ-]+", id) and path.is_file() else None


def _gathered(
    kind: Kind, span: Span, *, now: float, models: list[Looked], beside: Around, standing: Standing
) -> Report:
    drafts = [*(draft for model in models for draft in model.drafts), *beside.drafts]
    comparisons = sum(draft.comparable for draft in drafts)
    told = [model.settled(comparisons) for model in models]
    figures: list[Figure] = [draft.settled(comparisons) for draft in drafts]
    found = insights(figures)
    advised = recommendations(list(zip(models, told, strict=True)), found, standing=standing, span=span)
    return Report(
        id=f"{kind}-{re.sub(r'[-:]|[.]000', '', iso(now))}".replace(".", "-"),
        kind=kind,
        start=_stamp(span.start),
        end=_stamp(span.end),
        made=_stamp(now),
        model_metrics=tuple(told),
        system_metrics=beside.system(comparisons),
        user_metrics=beside.users(comparisons),
        business_metrics=beside.business(comparisons),
        insights=found,
        insights_note=note(found, comparisons),
        recommendations=advised,
        recommendations_note=""
        if advised
        else "nothing needs doing: no alert is open, no job failed, nothing got worse",
        delivery=Delivery(files=(), alert="", channels=()),
    )


def _standing(ledger: Ledger, *, span: Span) -> Standing:
    active = tuple(a for a in ledger.alerts.all(active=True, limit=MANY) if gravity(a.severity) != "ok")
    failed = [job for job in ledger.jobs.all(state="failed", limit=MANY) if (job.finished or 0.0) >= span.start]
    safe = [
        job for job in ledger.jobs.all(task="backup", state="done", limit=10) if (job.finished or 0.0) >= span.start
    ]
    return Standing(alerts=active, failed=tuple(failed[:5]), backed_up=bool(safe))


def _delivered(rooms: Rooms, found: Report, *, tell: bool, base: str) -> Report:
    """Write the files and tell of them, in this order: nobody is told of what is not there."""
    files = tuple(f"{FOLDER}/{found.id}.{ending}" for ending in ("html", "md", "json"))
    if not tell:
        nobody = Delivery(files=files, alert="", channels=())
        return _written(rooms.folder, found, delivery=nobody, base=base)
    with rooms.store.write() as ledger:
        # The files say who is told, and the outbox tells only once they are there: both or neither.
        notice = rooms.book.raise_event(
            ledger, rule=RULE, subject="server", kind="report", severity="info",
            message=_notice(rooms, found, base=base), command=f"modelkeep reports show {found.id}",
        )  # fmt: skip
        told = Delivery(files=files, alert=notice.id, channels=tuple(one.channel for one in notice.deliveries))
        return _written(rooms.folder, found, delivery=told, base=base)


def _notice(rooms: Rooms, found: Report, *, base: str) -> str:
    place = rooms.folder / FOLDER / f"{found.id}.html"
    lines = [f"{wording.title(found)}: {place}"]
    lines += [f"{base}/reports/{found.id}"] if base else []
    lines += [one.text for one in found.insights[:5]] or [found.insights_note]
    lines += [f"{one.text}: {one.command}" for one in found.recommendations[:5]] or [found.recommendations_note]
    return "\n".join(lines)


def _written(folder: Path, found: Report, *, delivery: Delivery, base: str) -> Report:
    whole = structs.replace(found, delivery=delivery)
    contents = {
        "html": wording.page(whole, base=base).encode(),
        "md": wording.markdown(whole, base=base).encode(),
        "json": json.format(json.encode(whole), indent=2),
    }
    try:
        for ending, content in contents.items():
            with durable.beside(folder / FOLDER) as part:
                durable.write(part, content)
                durable.settle(part, folder / FOLDER / f"{found.id}.{ending}")
    except OSError as cause:
        raise StoreUnavailable(f"cannot write {folder / FOLDER}: {cause.strerror or cause}") from cause
    return whole


def _stamp(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
