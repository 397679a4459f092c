"""What is done every day: a challenger is made from what was weighed since the last training, when something was."""

import msgspec
from msgspec import Raw, Struct

from modelkeep import Done, Job, Rooms, Run
from modelkeep.workloads.weight import watching
from modelkeep.workloads.weight.features import material_of

MODEL = "weight"
DAY = 86400.0
NEW, LEAST, PAUSE = 5, 20, 7 * DAY
"""Five weighed objects of materials that the model does not know are worth a training at once; else it takes twenty,
and a week since the last one."""
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
        if rollout.challenger is not None:
            return f"{MODEL}@{rollout.challenger} is on trial"
        jobs = [job for job in ledger.jobs.all(task="retrain", limit=50) if job.subject == MODEL]
        if any(job.state in OPEN for job in jobs):
            return "a training runs"
        last = max([version.created for version in ledger.versions.all(MODEL)] + [job.created for job in jobs])
        known = watching.materials(ledger.versions.get(MODEL, rollout.champion))
        found = ledger.records.labelled(MODEL, start=now - 60 * DAY, end=now, limit=1000)
    fresh = {(match.key, match.value) for _, match in found if match.told >= last}
    new = {
        (match.key, match.value)
        for prediction, match in found
        if match.told >= last and material_of(dict(prediction.features)) not in known
    }
    if len(new) >= NEW or (len(fresh) >= LEAST and now - last >= PAUSE):
        return ""
    return (
        f"{len(fresh)} objects were weighed since the last training, {len(new)} of them of new materials: "
        f"{NEW} of these are worth one, or {LEAST} of all after a week"
    )
