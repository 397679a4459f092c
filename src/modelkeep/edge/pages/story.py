"""What happened, newest first, in sentences: acts, alerts, and the steps of jobs."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from modelkeep.edge.pages.words import claim, lasting
from modelkeep.nouns import Act, Alert, Job, Level, about, gravity
from modelkeep.store.seams import Ledger

LENGTH = 30
"""How many events a page tells."""
TASKS = ("retrain", "backup", "roll_back", "release")
"""The jobs whose steps are part of the story; the steady ones (watch, deliver) are told by what they find."""
_ACTS = {
    "register": "registered",
    "release": "released",
    "rollback": "rolled back to",
    "acknowledge": "acknowledged",
    "resolve": "resolved",
    "policy": "changed the policy of",
    "cancel": "cancelled",
    "disable": "switched off",
    "enable": "switched on",
    "fallback": "changed what stands in for",
    "run": "started",
}
_STEPS = {
    ("release", "validating"): "{version} was validated",
    ("release", "backed_up"): "The champion was backed up",
    ("release", "shadow"): "{version} began to answer in shadow",
    ("release", "canary"): "{version} answers more keys",
    ("release", "judging"): "{version} was judged",
    ("release", "promoted"): "{version} was promoted",
    ("release", "rolled_back"): "{version} was rolled back",
    ("release", "rejected"): "{version} was rejected",
    ("release", "inconclusive"): "The trial of {version} is inconclusive",
    ("release", "cancelled"): "The release of {version} was cancelled",
    ("retrain", "gathered"): "A training of {subject} began",
    ("retrain", "trained"): "A new version of {subject} was trained",
    ("retrain", "registered"): "It was registered",
    ("retrain", "released"): "Its release was asked for",
}
_LEVELS: dict[str, Level] = {
    "promoted": "ok",
    "rolled_back": "warning",
    "rejected": "warning",
    "inconclusive": "unknown",
}


class Event(Struct, frozen=True, kw_only=True):
    """One thing that happened. ``kind`` (act, alert, step) or its level chooses the icon."""

    at: float
    kind: str
    text: str
    why: str = ""
    level: Level | None = None

    @property
    def icon(self) -> str:
        """The icon of its level, else of its kind."""
        return self.level or self.kind


class _Numbered(Struct, frozen=True, kw_only=True):
    """What the arguments of jobs about one version have in common."""

    model: str = ""
    number: int | None = None


def events(ledger: Ledger, model: str | None = None) -> list[Event]:
    """The newest events of everything, or of one model."""
    newest_first = [*_acts(ledger, model), *_alerts(ledger, model)]
    told = [*reversed(newest_first), *_jobs(ledger, model)]
    # What happened at the same moment was told in its order; read backwards, it stays in it.
    return sorted(told, key=lambda event: event.at)[::-1][:LENGTH]


def _acts(ledger: Ledger, model: str | None) -> Iterator[Event]:
    """What people did; the acts of a running release (``release.shadow`` ...) are told by its steps."""
    for act in ledger.acts.all(subject=model, limit=3 * LENGTH):
        if not act.what.startswith("release."):
            yield Event(at=act.at, kind="act", text=_said(act), why=act.why)


def _said(act: Act) -> str:
    verb = _ACTS.get(act.what, act.what.replace("_", " "))
    return f"{act.who or 'Somebody'} {verb} {act.subject}"


def _alerts(ledger: Ledger, model: str | None) -> Iterator[Event]:
    """Alerts that opened and resolved. Notices (``info``) are not events; that of a release repeats its last step."""
    for alert in ledger.alerts.all():
        if about(alert.subject, model) and alert.severity != "info":
            yield from _alert(alert)


def _alert(alert: Alert) -> Iterator[Event]:
    said, rest = claim(alert.message)
    yield Event(at=alert.opened, kind="alert", level=gravity(alert.severity), text=said, why=rest)
    if alert.resolved is not None and alert.resolved > alert.opened:
        after = lasting(alert.resolved - alert.opened)
        text = f"Over after {after}: {alert.rule.replace('_', ' ')}"
        yield Event(at=alert.resolved, kind="alert", level="ok", text=text, why=f"on {alert.subject}")


def _jobs(ledger: Ledger, model: str | None) -> Iterator[Event]:
    for task in TASKS:
        for job in reversed(ledger.jobs.all(task=task, limit=LENGTH)):
            if about(job.subject, model):
                yield from _job(job)


def _job(job: Job) -> Iterator[Event]:
    subject = job.subject or "everything"
    version = _version(job) or subject
    plain = f"{job.task.replace('_', ' ').capitalize()} of {subject}"
    for step in job.steps:
        if step.name == "judging" and not step.detail.startswith("hold"):
            continue  # what was decided is the next step
        known = _STEPS.get((job.task, step.name), "")
        text = known.format(version=version, subject=subject) if known else f"{plain}: {step.name.replace('_', ' ')}"
        yield Event(at=step.at, kind="step", level=_LEVELS.get(step.name), text=text, why=step.detail)
    if job.state == "failed":
        at = job.created if job.finished is None else job.finished
        yield Event(at=at, kind="step", level="critical", text=f"{plain} failed", why=job.error)


def _version(job: Job) -> str:
    """The version that a job is about, when its arguments name one."""
    try:
        asked = msgspec.json.decode(job.arguments, type=_Numbered)
    except msgspec.ValidationError:
        return ""
    return f"{asked.model}@{asked.number}" if asked.number is not None else ""
