"""The release in progress, as a walk through its stages with the judge's evidence of this moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from modelkeep.edge.pages.words import figure, percent
from modelkeep.jobs.release_memo import Release, Walk
from modelkeep.nouns import Job, Rollout, Version, about
from modelkeep.quantities import WEEK
from modelkeep.rollout.verdict import Evidence, Occasion, Verdict, verdict
from modelkeep.store.seams import Ledger

Standing: TypeAlias = Literal["done", "now", "next", "stopped", "skipped"]
STAGES = ("validating", "backed up", "shadow", "canary", "judging", "promoted")
LATELY = WEEK
"""Seconds for which the end of a release is still shown, when no other is under way."""
_ENDS = {"promoted", "rolled_back", "rejected", "inconclusive", "cancelled", "failed"}
_GUARDS = {
    "error_rate": "failed calls",
    "latency_p50": "slower than 1.25 x p50",
    "latency_p95": "slower than 1.25 x p95",
    "latency_p99": "slower than 2 x p99",
    "mean_error": "mean error",
    "wrong_answers": "wrong answers",
    "disagreement": "other answers",
}


class Stage(Struct, frozen=True, kw_only=True):
    """One stage of the walk, and where it stands."""

    name: str
    standing: Standing
    note: str = ""


class Proof(Struct, frozen=True, kw_only=True):
    """One guard: the candidate's figure against the champion's, and whether it is proven to be within its limit."""

    guard: str
    figures: str
    note: str
    proven: bool


class Progress(Struct, frozen=True, kw_only=True):
    """One release: which version, through which stages, since when in this one, on what evidence, what is missing."""

    job: str
    version: str
    headline: str
    stages: tuple[Stage, ...]
    since: float
    proofs: tuple[Proof, ...]
    missing: tuple[str, ...]
    command: str
    over: bool


def releases(ledger: Ledger, rollouts: Mapping[str, Rollout], *, model: str | None, now: float) -> tuple[Progress, ...]:
    """Every release under way (of one model, or of all); without any, the last one that ended within ``LATELY``."""
    found = [job for job in ledger.jobs.all(task="release", limit=50) if about(job.subject, model)]
    moving = [job for job in found if job.state in {"waiting", "running"}]
    ended = [job for job in found if job.finished is not None and now - job.finished < LATELY]
    shown = moving or ended[:1]
    return tuple(_progress(ledger, job, rollout=rollouts.get(job.subject), now=now) for job in shown)


def _progress(ledger: Ledger, job: Job, *, rollout: Rollout | None, now: float) -> Progress:
    asked, walk = _asked(job), _memo(job)
    over = job.state not in {"waiting", "running"}
    name = f"{asked.model}@{asked.number}" if asked else job.subject
    said = _said(walk, now)
    unit = _unit(ledger, asked)
    missing = (
        tuple(r for r in said.reasons if r.partition(":")[0] not in {e.metric for e in said.evidence}) if said else ()
    )
    return Progress(
        job=job.id,
        version=name,
        headline=_headline(job, walk, rollout=rollout),
        stages=_stages(job, walk, rollout=rollout),
        since=job.steps[-1].at if job.steps else job.created,
        proofs=tuple(_proof(e, unit) for e in _deciding(said)) if said else (),
        missing=missing if not over else (),
        command="" if over or not asked else f"modelkeep rollback {asked.model}",
        over=over,
    )


def _asked(job: Job) -> Release | None:
    """What was asked for; None when another version of the product wrote it differently."""
    try:
        return msgspec.json.decode(job.arguments, type=Release)
    except msgspec.ValidationError:
        return None


def _memo(job: Job) -> Walk:
    """Where the job is; at its beginning when it has not run yet, or remembers in another version's words."""
    try:
        return msgspec.json.decode(job.memo, type=Walk | None) or Walk()
    except msgspec.ValidationError:
        return Walk()


def _said(walk: Walk, now: float) -> Verdict | None:
    """The judge's verdict at this moment: the same pure function that the release itself asks."""
    if walk.decided is not None:
        return walk.decided
    if walk.judge is None:
        return None
    return verdict(walk.judge, Occasion(now=now, earliest=walk.earliest, last=walk.last))


def _deciding(said: Verdict) -> list[Evidence]:
    """The evidence that decides: where labels speak, that versions answer differently says nothing."""
    graded = any(e.metric in {"mean_error", "wrong_answers"} and e.rounds for e in said.evidence)
    return [e for e in said.evidence if e.metric != "disagreement" or not graded]


def _unit(ledger: Ledger, asked: Release | None) -> str:
    versions: list[Version] = ledger.versions.all(asked.model) if asked else []
    return next((v.signature.output.unit for v in versions if asked and v.number == asked.number), "")


def _headline(job: Job, walk: Walk, *, rollout: Rollout | None) -> str:
    if job.state == "failed":
        return f"failed: {job.error}"
    if walk.result is not None:
        why = "" if walk.result.state == "promoted" else "; ".join(walk.result.reasons)
        return f"{walk.result.state.replace('_', ' ')}{f': {why}' if why else ''}"
    if rollout is None or rollout.trial != job.id:
        return "is being made ready" if job.steps else "waits for its turn"
    if rollout.mode == "shadow":
        return f"answers in the shadow of v{rollout.champion}: recorded, never given to a caller"
    return f"answers {percent(rollout.share)} of the keys, v{rollout.champion} the others"


def _stages(job: Job, walk: Walk, *, rollout: Rollout | None) -> tuple[Stage, ...]:
    """The six stages; the one that a release ended in takes the place of ``promoted``."""
    steps = {step.name for step in job.steps}
    end = walk.result.state if walk.result else job.state if job.state in _ENDS else ""
    here = len(STAGES) if end else _here(walk)
    share = percent(rollout.share) if rollout and rollout.trial == job.id and rollout.mode == "canary" else ""
    found = []
    for place, name in enumerate(STAGES[:-1]):
        began = name.replace(" ", "_") in steps
        standing: Standing = "now" if place == here else "next" if place > here else "done" if began else "skipped"
        found.append(Stage(name=name, standing=standing, note=share if name == "canary" else ""))
    last = end.replace("_", " ") if end else "promoted"
    closing: Standing = "done" if end == "promoted" else "stopped" if end else "now" if here == len(found) else "next"
    return (*found, Stage(name=last, standing=closing))


def _here(walk: Walk) -> int:
    """The place in ``STAGES`` of what a release does now; a canary that only waits for proof is being judged."""
    if walk.phase == "trial":
        return 2 if walk.stage < 0 else 4 if walk.looked else 3
    return {"validating": 0, "backing_up": 1, "promoting": 5}.get(walk.phase, 0)


def _proof(evidence: Evidence, unit: str) -> Proof:
    error = evidence.metric == "mean_error"
    say = figure if error else percent
    if evidence.canary is None or evidence.baseline is None:
        figures = "unknown"
    else:
        tail = f" {unit}" if error and unit else ""
        figures = f"{say(evidence.canary)} against {say(evidence.baseline)}{tail}"
    return Proof(
        guard=_GUARDS.get(evidence.metric, evidence.metric.replace("_", " ")),
        figures=figures,
        note=evidence.missing or f"proven within its limit, n = {evidence.n:,}",
        proven=not evidence.missing,
    )
