"""What happened in a replay, read from the store: alerts, and what was decided about each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from modelkeep.jobs.release_memo import Released
from modelkeep.jobs.training import Gathered, Retrained
from modelkeep.jobs.watching import SERVER
from modelkeep.nouns import Alert, Job, Step, gravity, model_of
from modelkeep.quantities import DAY
from modelkeep.replaying.report import Decision, Happening, Test
from modelkeep.replaying.scoring import Answers
from modelkeep.rollout.verdict import Evidence, Verdict
from modelkeep.store.seams import Ledger

AROUND = 28 * DAY
"""Before and after are told over so long."""
LOSSES = ("mean_error", "wrong_answers")
RECENT = 50
"""So many of the newest alerts and jobs are looked at after each step."""
TASKS = ("retrain", "release", "roll_back")
ABOUT_ERRORS = ("error_drift", "skill_fallen", "below_baseline")
"""Rules about errors whose readings do not tell since when: then the errors themselves are asked."""
_RANKED = re.compile(r"Likely causes, most likely first: 1\. (.*?)(?:; 2\. |\.?$|\. Repair)", re.MULTILINE)
_OWN = ("release_", "job_failed")
"""Alerts that tell what was decided: they stand with the event that they are about."""


class Past(Struct, frozen=True, kw_only=True):
    """All alerts, and the trainings, releases and rollbacks of one model, each oldest first."""

    alerts: tuple[Alert, ...]
    retrains: tuple[Job, ...]
    releases: Mapping[str, Job]
    rollbacks: tuple[Job, ...]


class Witness:
    """Looks after every step at what happened: the store forgets jobs after a year, and a replay may be longer."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._alerts: dict[str, Alert] = {}
        self._jobs: dict[str, Job] = {}

    def look(self, ledger: Ledger) -> None:
        """Take in what is new or has changed."""
        for alert in ledger.alerts.all(limit=RECENT):
            self._alerts[alert.id] = alert
        for task in TASKS:
            for job in ledger.jobs.all(task=task, limit=RECENT):
                self._jobs[job.id] = job

    def past(self) -> Past:
        """Everything that was seen of the model."""
        alerts = sorted(self._alerts.values(), key=lambda alert: alert.opened)
        jobs = sorted((job for job in self._jobs.values() if _of(job, self._model)), key=lambda job: job.created)
        # What the workload tells of its own subjects wakes people too; how the machine fares is not the data's doing.
        mine = [a for a in alerts if a.subject != SERVER and not a.rule.startswith(_OWN)]
        return Past(
            alerts=tuple(mine),
            retrains=tuple(job for job in jobs if job.task == "retrain"),
            releases={job.id: job for job in jobs if job.task == "release"},
            rollbacks=tuple(job for job in jobs if job.task == "roll_back"),
        )


def _of(job: Job, model: str) -> bool:
    return model_of(job.subject or str(msgspec.json.decode(job.arguments, type=dict).get("model", ""))) == model


class Story(Struct, frozen=True, kw_only=True):
    """What is needed to tell the events: what was seen, everybody's errors, and the last moment."""

    past: Past
    answers: Answers
    end: float

    def around(self, at: float, *, before: bool) -> float | None:
        """The mean error of what was answered in the 28 days before or after a moment."""
        return self.answers.mean(at - AROUND, at) if before else self.answers.mean(at, at + AROUND)


def happenings(story: Story) -> tuple[Happening, ...]:
    """Every event with its decisions, in the order of detection."""
    found = story.past
    asked = {f"alert {alert.id}" for alert in found.alerts}
    rows = [_alerted(alert, story) for alert in found.alerts]
    # What nobody's alert asked for: a schedule's, or a person's.
    rows += [_unasked(job, story) for job in (*found.retrains, *found.rollbacks) if job.by not in asked]
    return tuple(sorted(rows, key=lambda row: row.detected))


def _alerted(alert: Alert, story: Story) -> Happening:
    first = alert.readings[0] if alert.readings else None
    facts = first.facts if first else {}
    found = story.past
    jobs = [job for job in (*found.retrains, *found.rollbacks) if job.by == f"alert {alert.id}"]
    since = facts.get("since")
    if since is None and alert.rule in ABOUT_ERRORS:
        since = story.answers.onset(alert.opened)
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
        decisions=tuple(_decided(job, story, detected=alert.opened) for job in jobs) or (_told(alert, story),),
    )


def cause_of(alert: Alert) -> str:
    """The likeliest cause in words: what the reading itself names, else what the alert ranks first."""
    for reading in alert.readings:
        causes = [str(value) for name, value in sorted(reading.facts.items()) if name.startswith("cause") and value]
        if causes:
            return "; ".join(causes[:2])
    ranked = _RANKED.search(alert.message)
    return ranked.group(1) if ranked else "unknown"


def _told(alert: Alert, story: Story) -> Decision:
    return Decision(
        at=alert.opened,
        kind="notify",
        detail="people are woken" if gravity(alert.severity) == "critical" else "people are told",
        before=story.around(alert.opened, before=True),
        after=story.around(alert.opened, before=False),
    )


def _unasked(job: Job, story: Story) -> Happening:
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
        decisions=(_decided(job, story, detected=job.created),),
    )


def _decided(job: Job, story: Story, *, detected: float) -> Decision:
    before = story.around(detected, before=True)
    at = job.finished or story.end
    if job.task == "roll_back":
        said = job.error or "back to the version before"
        after = story.around(at, before=False)
        return Decision(at=at, kind="refused" if job.error else "roll_back", detail=said, before=before, after=after)
    if job.state in {"waiting", "running"}:
        return Decision(at=story.end, kind="running", detail=f"retraining is {job.state}", before=before)
    if job.error:
        return Decision(at=at, kind="refused", detail=job.error, before=before)
    made = msgspec.json.decode(job.result, type=Retrained)
    release = story.past.releases.get(made.release or "")
    if release is None:
        said = next((step.detail for step in reversed(job.steps) if step.detail), "not released")
        return Decision(at=at, kind="keep", detail=said, version=made.version, before=before)
    tried = _tried(release, f"version {made.version}{_learnt(job)}", story=story)
    return msgspec.structs.replace(tried, version=made.version, before=before)


def _tried(release: Job, name: str, *, story: Story) -> Decision:
    """What became of a version that was to be released."""
    ended = _released(release)
    test = next(_tests(release.steps), None)
    if ended is None:
        phase = release.steps[-1].name if release.steps else "waiting"
        return Decision(at=story.end, kind="running", detail=f"{name} is on trial ({phase})", test=test)
    at = release.finished or story.end
    kept = f"champion kept: {name} {ended.state.replace('_', ' ')} ({'; '.join(ended.reasons)})"
    promoted = ended.state == "promoted"
    return Decision(
        at=at,
        kind="retrain" if promoted else "keep",
        detail=f"{name} promoted" if promoted else kept,
        test=test,
        after=story.around(at, before=False),
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
