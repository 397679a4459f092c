"""The task ``retrain``: train a model anew on what really happened, register it, and let the release judge it.

Steps: ``gathered``, ``trained``, ``registered``, ``released``. Each is remembered, so a run that is killed goes on
where it was; the version and the step that says so are written together, so it is never registered twice.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from modelkeep.errors import Conflict
from modelkeep.jobs import histories, rivals
from modelkeep.jobs.failpoints import failpoint
from modelkeep.jobs.registering import Registration, register
from modelkeep.jobs.release import Release, enqueue
from modelkeep.jobs.rooms import Again, Done, Rooms, Run
from modelkeep.nouns import Features, Job, Lineage, Match, Policy, Prediction, Version
from modelkeep.profile import Sums
from modelkeep.quantities import DAY, HOUR
from modelkeep.runtimes import examining, kept
from modelkeep.runtimes.making import HISTORY
from modelkeep.runtimes.training import RESULT, Trained, TrainingRows, finished, run_trainer
from modelkeep.store.seams import Ledger

TASK = "retrain"
MOST_ROWS = kept.MOST_ROWS
BETTER = 0.9
"""A version that a simple rule beats is tried when its error is at most this share of that of what is answered."""
LIMIT = HOUR
"""The longest that a trainer may take, in seconds."""

_UNSAFE = re.compile(r"[^\w.-]", re.ASCII)


class Retraining(Struct, frozen=True, kw_only=True):
    """Which model to train anew, why, and who asks."""

    model: str
    why: str = ""
    by: str = ""


class Gathered(Struct, frozen=True, kw_only=True):
    """What the training stands on: ``rows`` labelled predictions asked between the moments ``start`` and ``end``.

    ``known`` of them are rows that the champion was trained on; ``groups`` counts the different entities. ``answered``
    is the mean error (the share of wrong classes) of what was answered in the newest fifth of the predictions.
    """

    start: float
    end: float
    rows: int
    known: int = 0
    groups: int = 0
    answered: float | None = None


class Retrained(Struct, frozen=True, kw_only=True):
    """The version that was made, and the job that releases it; no job when it misses the policy's floors."""

    version: int
    release: str | None
    below: tuple[str, ...] = ()


class Progress(Struct, frozen=True, kw_only=True):
    """How far a training has come."""

    gathered: Gathered
    trainer: str
    trained: bool = False
    number: int | None = None
    result: Retrained | None = None


def retrain(rooms: Rooms, run: Run) -> Again | Done:
    """Train a model anew by its policy. Raises Conflict when the policy forbids it, with what is missing."""
    asked = run.arguments(Retraining)
    folder = rooms.folder / "work" / "training" / _UNSAFE.sub("_", f"job-{run.job.id}")
    with rooms.store.read() as ledger:
        champion = _champion(ledger, asked.model)
        policy = ledger.versions.policy(asked.model)
    progress = run.memo(Progress)
    if progress is None or not progress.trained or _lost(progress, folder):
        progress = _train(rooms, run, champion=champion, policy=policy, folder=folder)
    if progress.number is None:
        progress = _register(rooms, run, champion=champion, folder=folder, progress=progress)
    result = progress.result or _release(rooms, run, asked=asked, progress=progress)
    shutil.rmtree(folder, ignore_errors=True)
    return Done(result=result)


def _champion(ledger: Ledger, model: str) -> Version:
    rollout = ledger.rollouts.get(model)
    if rollout is None:
        raise Conflict(f"model {model!r} has no champion to follow", remedy="release a version of it first")
    return ledger.versions.get(model, rollout.champion)


def _lost(progress: Progress, folder: Path) -> bool:
    return progress.number is None and not (folder / RESULT).exists()


def _train(rooms: Rooms, run: Run, *, champion: Version, policy: Policy, folder: Path) -> Progress:
    now = rooms.clock.now()
    if not policy.retrain.trainer:
        raise Conflict(f"model {champion.model!r} has no trainer", remedy="set retrain.trainer in its policy")
    with rooms.store.read() as ledger:
        _check_budget(ledger, run.job, policy=policy, now=now)
        # A label is mature when its prediction is as old as the horizon; younger ones tell of the easy cases only.
        end = now - policy.horizon
        found = ledger.records.labelled(champion.model, start=now - policy.retrain.window, end=end, limit=MOST_ROWS)
    rows = rows_from(found, champion, code=_code(rooms, champion))
    told, known = len(rows.truth), 0
    if policy.retrain.history and champion.lineage.history and told:
        rows = kept.together(histories.read(rooms, champion.lineage.history), rows)
        known = max(len(rows.truth) - told, 0)
    if len(rows.truth) < policy.retrain.least:
        raise Conflict(
            f"{champion.model!r} has {told} labelled, mature predictions; {policy.retrain.least} are needed",
            remedy="tell more outcomes, or lower retrain.least or lengthen retrain.window in its policy",
        )
    gathered = Gathered(
        start=rows.at[0],
        end=rows.at[-1],
        rows=len(rows.truth),
        known=known,
        groups=examining.groups_of(rows),
        answered=_erred(found),
    )
    run.step("gathered", evidence=gathered, memo=Progress(gathered=gathered, trainer=policy.retrain.trainer))
    failpoint("retrain.gathered")
    folder.mkdir(parents=True, exist_ok=True)
    trained = run_trainer(policy.retrain.trainer, rows, folder=folder, limit=LIMIT)
    examining.result(trained, rows, policy=policy.retrain)
    if policy.retrain.history:
        kept.write(folder / HISTORY, rows)
    progress = Progress(gathered=gathered, trainer=policy.retrain.trainer, trained=True)
    run.step("trained", detail=f"{policy.retrain.trainer} took {trained.seconds or 0.0:.1f} s", memo=progress)
    failpoint("retrain.trained")
    return progress


def rows_from(found: list[tuple[Prediction, Match]], champion: Version, *, code: bytes | None = None) -> TrainingRows:
    """Labelled predictions as the columns that a trainer takes."""
    names = [field.name for field in champion.signature.inputs]
    features: list[Features] = [prediction.features for prediction, _ in found]
    return TrainingRows(
        columns={name: [row.get(name) for row in features] for name in names},
        truth=[match.value for _, match in found],
        keys=[prediction.key for prediction, _ in found],
        at=[prediction.at for prediction, _ in found],
        targets=[prediction.target for prediction, _ in found],
        told=[match.told for _, match in found],
        code=code,
    )


def _check_budget(ledger: Ledger, job: Job, *, policy: Policy, now: float) -> None:
    """Raise Conflict when the trainings of the last 24 h, this job's own aside, have used up the policy's budget."""
    others = [other for other in ledger.jobs.all(task=TASK) if other.id != job.id]
    mine = [other for other in others if _model_of(other) == policy.model]
    begun = [step.at for other in mine for step in other.steps if step.name == "gathered" and step.at > now - DAY]
    if len(begun) >= policy.retrain.per_day:
        raise Conflict(
            f"{len(begun)} trainings of {policy.model!r} began in the last 24 h, at most {policy.retrain.per_day} may",
            remedy="wait, or raise retrain.per_day in its policy",
        )


def _model_of(job: Job) -> str:
    return msgspec.json.decode(job.arguments, type=Retraining).model


def _register(rooms: Rooms, run: Run, *, champion: Version, folder: Path, progress: Progress) -> Progress:
    trained = finished(folder)
    remembered = progress

    def remember(ledger: Ledger, version: Version) -> None:
        nonlocal remembered
        remembered = msgspec.structs.replace(progress, number=version.number)
        run.step("registered", detail=version.name, memo=remembered, ledger=ledger)

    register(
        rooms,
        _registration(
            run.arguments(Retraining),
            trained,
            champion=champion,
            progress=progress,
            code=trained.code.read_bytes() if trained.code else _code(rooms, champion) if trained.prepared else None,
            history=folder / HISTORY if (folder / HISTORY).exists() else None,
        ),
        also=remember,
    )
    failpoint("retrain.registered")
    return remembered


def _code(rooms: Rooms, champion: Version) -> bytes | None:
    return rooms.files.path(champion.features).read_bytes() if champion.features else None


def _registration(
    asked: Retraining,
    trained: Trained,
    *,
    champion: Version,
    progress: Progress,
    code: bytes | None,
    history: Path | None,
) -> Registration:
    gathered = progress.gathered
    return Registration(
        model=asked.model,
        path=trained.path,
        runtime=trained.runtime,
        trust=True,  # the trainer is code that the model's owner named; what it makes is no stranger's
        code=code,
        signature=trained.signature or champion.signature,
        metrics=trained.metrics,
        rivals=trained.rivals,
        history=history,
        columns=trained.sample or None,
        key=trained.key,
        time=trained.time,
        lineage=Lineage(
            start=gathered.start,
            end=gathered.end,
            rows=gathered.rows,
            source=f"labelled predictions of {asked.model}",
            code=progress.trainer,
            seconds=trained.seconds,
            libraries=trained.libraries,
            split=trained.split,
            data_source="database",
            groups=gathered.groups,
        ),
        note=trained.note,
        why=asked.why,
        by=asked.by,
    )


def _erred(found: Sequence[tuple[Prediction, Match]]) -> float | None:
    """The mean error, or the share of wrong classes, of the newest fifth of what was answered; None without any."""
    newest = found[len(found) - max(len(found) // 5, 1) :]
    pairs = [Sums.of(p.output, match.value) for p, match in newest if p.output is not None]
    return _error(sum(pairs, Sums()).metrics()) if pairs else None


def _error(metrics: Mapping[str, float]) -> float | None:
    return metrics.get("mae", 1 - metrics["accuracy"] if "accuracy" in metrics else None)


def better_than_answered(version: Version, answered: float | None) -> str:
    """Why a version that only a simple rule beats is tried all the same: what answers now errs far more. Else "".

    To keep a champion that errs twice as much, because its successor is not yet as good as a simple rule, helps nobody;
    the trial decides, and the readings go on to say who is below which baseline. Targets of the policy stay binding.
    """
    own = _error(version.baseline.metrics)
    if not version.below or answered is None or own is None or own > BETTER * answered:
        return ""
    if not all(rivals.about_baselines(reason) for reason in version.below):
        return ""
    return f"{', '.join(version.below)}, but it errs {own:.4g} where what was answered errs {answered:.4g}"


def _release(rooms: Rooms, run: Run, *, asked: Retraining, progress: Progress) -> Retrained:
    """Ask for the release, once, unless the version misses the policy's floors or another release is under way."""
    number = progress.number or 0
    job = None
    with rooms.store.write() as ledger:
        version = ledger.versions.get(asked.model, number)
        detail = f"{version.name} stays a candidate: {', '.join(version.below)}"
        better = better_than_answered(version, progress.gathered.answered)
        if better or not version.below:
            why = f"{asked.why}; {better}".strip("; ")
            wanted = Release(model=asked.model, number=number, why=why, by=asked.by, force=bool(better))
            try:
                job = enqueue(ledger, wanted, at=rooms.clock.now()).id
                detail = job
            except Conflict as busy:
                detail = f"{version.name} stays a candidate: {busy}"
        result = Retrained(version=number, release=job, below=version.below)
        run.step("released", detail=detail, memo=msgspec.structs.replace(progress, result=result), ledger=ledger)
    failpoint("retrain.released")
    return result
