"""What is done every day: a challenger is made from what was weighed since the last training, when something was."""

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from modelkeep import Done, Job, Match, Prediction, Rooms, Run, Version
from modelkeep.workloads.weight import watching
from modelkeep.workloads.weight.features import material_of

MODEL = "weight"
DAY = 86400.0
NEW, LEAST, PAUSE, WORSE = 5, 20, 7 * DAY, 1.1
"""Five weighed objects of materials that the model does not know are worth a training at once; else it takes twenty, a
week since the last one, and an error a tenth above that of the training: a challenger that has nothing to say would
only stand in the way of one that has."""
OPEN = frozenset({"waiting", "running"})


class Refresh(Struct, frozen=True, kw_only=True):
    """What a training is asked for with."""

    model: str
    why: str
    by: str


def daily(rooms: Rooms, run: Run) -> Done:
    """The task ``weight_daily``: weigh the members anew as a challenger, when objects were weighed since the last time.

    Nothing is trained while the yardstick is in doubt, while a challenger is on trial, or while a training runs.
    """
    said = why_not(rooms)
    if said:
        run.step("skipped", detail=said)
        return Done()
    at = rooms.clock.now()
    asked = Refresh(model=MODEL, why="objects were weighed since the last training", by=f"job {run.job.id}")
    job = Job(
        id=f"retrain-{MODEL}-{run.job.id}",
        task="retrain",
        due=at,
        created=at,
        arguments=Raw(msgspec.json.encode(asked)),
        subject=MODEL,
        by=asked.by,
    )
    with rooms.store.write() as ledger:
        ledger.jobs.add(job)
    run.step("begun", detail=job.id)
    return Done()


def why_not(rooms: Rooms) -> str:
    """Why nothing is to be trained now, or an empty text."""
    doubt = watching.shifted(rooms)
    if doubt:
        return f"the yardstick is in doubt: {doubt}"
    now = rooms.clock.now()
    with rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(MODEL)
        if rollout is None:
            return "no version answers"
        jobs = [job for job in ledger.jobs.all(task="retrain", limit=50) if job.subject == MODEL]
        if rollout.challenger is not None or any(job.state in OPEN for job in jobs):
            return "a training runs, or a challenger is on trial"
        last = max([version.created for version in ledger.versions.all(MODEL)] + [job.created for job in jobs])
        champion = ledger.versions.get(MODEL, rollout.champion)
        found = ledger.records.labelled(MODEL, start=now - 60 * DAY, end=now, limit=1000)
    return _not_worth([(asked, match) for asked, match in found if match.told >= last], champion, waited=now - last)


def _not_worth(told: Sequence[tuple[Prediction, Match]], champion: Version, *, waited: float) -> str:
    """Why what was weighed since the last training is not worth another, or an empty text."""
    known = watching.materials(champion)
    fresh = {(match.key, match.value) for _, match in told}
    new = {(m.key, m.value) for asked, m in told if material_of(dict(asked.features)) not in known}
    if len(new) >= NEW:
        return ""
    if len(fresh) < LEAST or waited < PAUSE:
        few = f"{NEW} of these are worth one, or {LEAST} of all after a week"
        return f"{len(fresh)} objects were weighed since the last training, {len(new)} of them of new materials: {few}"
    trained, error = champion.baseline.metrics.get("mape"), mean_error([match for _, match in told])
    if trained is not None and error is not None and error <= WORSE * trained:
        return f"{len(fresh)} objects were weighed, and the error is {error:.1%} where training promised {trained:.1%}"
    return ""


def mean_error(matches: Sequence[Match]) -> float | None:
    """The mean error of answers as a share of the weight, or None without any."""
    shares = [
        abs(match.output - match.value) / match.value
        for match in matches
        if isinstance(match.output, float | int) and isinstance(match.value, float | int) and match.value > 0
    ]
    return sum(shares) / len(shares) if shares else None
