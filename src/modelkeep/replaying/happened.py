"""What happened in a replay, read from the store: alerts, and what was decided about each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from modelkeep.jobs.release_memo import Released
from modelkeep.jobs.training import Gathered, Retrained
from modelkeep.nouns import Alert, Job, Step, gravity, model_of
from modelkeep.quantities import DAY
from modelkeep.replaying.report import Decision, Happening, Kind, Test
from modelkeep.replaying.scoring import Answers
from modelkeep.rollout.verdict import Evidence, Verdict
from modelkeep.store.seams import Ledger

AROUND = 28 * DAY
"""Before and after are told over so long."""
LOSSES = ("mean_error", "wrong_answers")
MOST = 10_000
_OWN = ("release_", "job_failed")
"""Alerts that tell what was decided: they stand with the event that they are about."""


class Past(Struct, frozen=True, kw_only=True):
    """Alerts, trainings, releases and rollbacks of one model, each oldest first."""

    alerts: tuple[Alert, ...]
    retrains: tuple[Job, ...]
    releases: Mapping[str, Job]
    rollbacks: tuple[Job, ...]


def past(ledger: Ledger, model: str) -> Past:
    """Everything that the store knows of a model's replay."""
    alerts = [a for a in reversed(ledger.alerts.all(limit=MOST)) if model_of(a.subject) == model or a.subject == model]
    jobs = {task: list(reversed(ledger.jobs.all(task=task, limit=MOST))) for task in ("retrain", "release", "roll_back")}
    return Past(
        alerts=tuple(a for a in alerts if not a.rule.startswith(_OWN)),
        retrains=tuple(job for job in jobs["retrain"] if _of(job, model)),
        releases={job.id: job for job in jobs["release"] if model_of(job.subject) == model},
        rollbacks=tuple(job for job in jobs["roll_back"] if _of(job, model)),
    )


def _of(job: Job, model: str) -> bool:
    return model_of(job.subject or str(msgspec.json.decode(job.arguments, type=dict).get("model", ""))) == model


def happenings(found: Past, answers: Answers, *, end: float) -> tuple[Happening, ...]:
    """Every event with its decisions, in the order of detection."""
    asked = {f"alert {alert.id}": alert for alert in found.alerts}
    rows = [_alerted(alert, found, answers, end=end) for alert in found.alerts]
    # What nobody's alert asked for: a schedule's, or a person's.
    alone = [job for job in (*found.retrains, *found.rollbacks) if job.by not in asked]
    rows += [_unasked(job, found, answers, end=end) for job in alone]
    return tuple(sorted(rows, key=lambda row: row.detected))


def _alerted(alert: Alert, found: Past, answers: Answers, *, end: float) -> Happening:
    first = alert.readings[0] if alert.readings else None
    facts = first.facts if first else {}
    jobs = [job for job in (*found.retrains, *found.rollbacks) if job.by == f"alert {alert.id}"]
    decisions = [_decided(job, found, answers, detected=alert.opened, end=end) for job in jobs]
    since = facts.get("since")
    return Happening(
        event=since if isinstance(since, float) else None,
        detected=alert.opened,
        resolved=alert.resolved,
        name=alert.rule,
        subject=alert.subject,
        severity=alert.severity,
        page=gravity(alert.severity) == "critical",
        cause=cause_of(alert),
        detail=alert.message,
        decisions=tuple(decisions) or (_told(alert, answers),),
    )


def cause_of(alert: Alert) -> str:
    """The likeliest cause in words: what the reading ranks first, else where it looked."""
    for reading in alert.readings:
        causes = [str(value) for name, value in sorted(reading.facts.items()) if name.startswith("cause") and value]
        if causes:
            return "; ".join(causes[:2])
    for reading in alert.readings:
        for name in ("column", "baseline", "worst", "reason"):
            if reading.facts.get(name):
                return f"{name} {reading.facts[name]}"
    return "unknown"


def _told(alert: Alert, answers: Answers) -> Decision:
    return Decision(
        at=alert.opened,
        kind="notify",
        detail="people are woken" if gravity(alert.severity) == "critical" else "people are told",
        before=answers.mean(alert.opened - AROUND, alert.opened),
        after=answers.mean(alert.opened, alert.opened + AROUND),
    )


def _unasked(job: Job, found: Past, answers: Answers, *, end: float) -> Happening:
    decision = _decided(job, found, answers, detected=job.created, end=end)
    return Happening(
        event=None,
        detected=job.created,
        resolved=job.finished,
        name=job.task,
        subject=job.subject,
        severity="info",
        page=False,
        cause=job.by,
        detail=f"{job.task} by {job.by}",
        decisions=(decision,),
    )


def _decided(job: Job, found: Past, answers: Answers, *, detected: float, end: float) -> Decision:
    before = answers.mean(detected - AROUND, detected)
    if job.task == "roll_back":
        at = job.finished or end
        said = job.error or "back to the version before"
        after = answers.mean(at, at + AROUND)
        return Decision(at=at, kind="refused" if job.error else "roll_back", detail=said, before=before, after=after)
    if job.state in {"waiting", "running"}:
        return Decision(at=end, kind="running", detail=f"retraining is {job.state}", before=before)
    if job.error:
        return Decision(at=job.finished or end, kind="refused", detail=job.error, before=before)
    made = msgspec.json.decode(job.result, type=Retrained)
    release = found.releases.get(made.release or "")
    if release is None:
        said = next((step.detail for step in reversed(job.steps) if step.detail), "not released")
        return Decision(at=job.finished or end, kind="keep", detail=said, version=made.version, before=before)
    return _tried(job, release, made, before=before, answers=answers, end=end)


def _tried(
    job: Job, release: Job, made: Retrained, *, before: float | None, answers: Answers, end: float
) -> Decision:
    ended = _released(release)
    test = next(_tests(release.steps), None)
    learnt = _learnt(job)
    if ended is None:
        phase = release.steps[-1].name if release.steps else "waiting"
        said = f"version {made.version}{learnt} is on trial ({phase})"
        return Decision(at=end, kind="running", detail=said, version=made.version, test=test, before=before)
    at = release.finished or end
    kinds: dict[str, Kind] = {"promoted": "retrain"}
    words = {"promoted": f"version {made.version}{learnt} promoted"}
    kept = f"champion kept: version {made.version}{learnt} {ended.state.replace('_', ' ')} ({'; '.join(ended.reasons)})"
    return Decision(
        at=at,
        kind=kinds.get(ended.state, "keep"),
        detail=words.get(ended.state, kept),
        version=made.version,
        test=test,
        before=before,
        after=answers.mean(at, at + AROUND),
    )


def _learnt(job: Job) -> str:
    for step in job.steps:
        if step.name == "gathered":
            gathered = msgspec.json.decode(step.evidence, type=Gathered)
            return f" (from {gathered.rows:,} rows of {(gathered.end - gathered.start) / DAY:.0f} days)"
    return ""


def _released(release: Job) -> Released | None:
    if release.state != "done":
        return None
    return msgspec.json.decode(release.result, type=Released)


def _tests(steps: Sequence[Step]) -> Iterator[Test]:
    """The losses that were compared, the newest first."""
    for step in reversed(steps):
        try:
            said = msgspec.json.decode(step.evidence, type=Verdict)
        except msgspec.ValidationError:
            continue  # other steps bring other evidence
        for evidence in said.evidence:
            test = _test(evidence)
            if test is not None:
                yield test


def _test(evidence: Evidence) -> Test | None:
    if evidence.metric not in LOSSES or evidence.baseline is None or evidence.canary is None or not evidence.interval:
        return None
    return Test(
        n=evidence.n,
        champion=evidence.baseline,
        challenger=evidence.canary,
        interval=evidence.interval,
        method=evidence.method,
    )
