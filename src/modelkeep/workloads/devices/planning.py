"""When the model is trained, and on what: asked for, or every Sunday at 02:00 once it is turned on."""

import uuid
from typing import Any, Literal

import msgspec
from msgspec import Raw

from modelkeep import (
    App,
    Done,
    Field,
    Guards,
    Job,
    Policy,
    Recipe,
    Retrain,
    Rooms,
    Run,
    Schedule,
    Trial,
    Version,
    training_job,
)
from modelkeep.workloads.devices import keeping
from modelkeep.workloads.devices.fleet import DAY
from modelkeep.workloads.devices.keeping import HORIZON, MODEL

WEEKLY = Schedule(task="devices_weekly", when="0 2 * * 0")
MONTHLY = Schedule(task="devices_monthly", when="0 3 1 * *")
WINDOW = 180 * DAY
SAMPLE_ROWS, SAMPLE_SEED = 18_000, 1
_TASKS = ("train", "retrain")

POLICY = Policy(
    model=MODEL,
    # Better than chance by this factor (average precision over the share of positives): a floor that means the same
    # for rare and for common failures. A probability of one half and its accuracy say nothing about rare ones.
    targets={"lift": 2.0},
    horizon=HORIZON,
    window=28 * DAY,
    # A fleet that shrinks teaches a retrained model worse: it follows only when it is proven better on the same devices
    # (no allowance), and what is not proven in 45 days is given up.
    guards=Guards(loss=0.0),
    trial=Trial(shadow=28 * DAY, canary=(), stage=DAY, last=45 * DAY, undecided="roll_back", look=3600.0),
    retrain=Retrain(
        trainer="modelkeep.workloads.devices.training:train", window=WINDOW, least=101, history=True, entities=20
    ),
)


_REPLAY = ("event_time", "entity", "label", "label_time")
RECIPE = Recipe(
    model=MODEL,
    summary="Does a device fail within 14 days? Ranked under an alert budget",
    columns=(
        Field(name="device_id", kind="text", nullable=True),
        Field(name="timestamp", kind="number", unit="s since 1970", nullable=True),
        Field(name="failure", kind="number", low=0, high=1, nullable=True),
    ),
    prepare="modelkeep.workloads.devices.training:prepare",
    policy=POLICY,
    simulate="modelkeep.workloads.devices.simulator:simulate",
    forms=tuple((*_REPLAY, metric) for metric in ("error_rate", "battery_level", "attribute4")),
)


def train(app: App, *, start: float) -> Job:
    """Begin a training on what was kept since ``start``, or on the sample when no device has failed in it."""
    failed = any(at >= start for moments in keeping.failures(app.rooms).values() for at in moments)
    if failed:
        table = keeping.table(app.rooms, start=start)
        data = _source(app.rooms)
        return app.train(MODEL, table, release=True, data_source=data, source="devices.readings", by="devices")
    from modelkeep.workloads.devices.simulator import simulate  # noqa: PLC0415 - only when there is nothing real

    table = simulate(SAMPLE_ROWS, SAMPLE_SEED)
    return app.train(MODEL, table, release=True, data_source="sample", source="simulated devices", by="devices")


def _source(rooms: Rooms) -> Literal["database", "sample"]:
    return "sample" if keeping.simulated(rooms) else "database"


def retrain(rooms: Rooms, *, why: str, by: str) -> Job:
    """Begin a retraining on the labelled predictions of the policy's window."""
    at = rooms.clock.now()
    job = Job(
        id=f"retrain-{MODEL}-{uuid.uuid4().hex[:12]}",
        task="retrain",
        due=at,
        created=at,
        arguments=Raw(msgspec.json.encode({"model": MODEL, "why": why, "by": by})),
        subject=MODEL,
        by=by,
    )
    with rooms.store.write() as ledger:
        ledger.jobs.add(job)
    return job


def running(rooms: Rooms) -> Job | None:
    """The training of the model that waits or runs, if one does."""
    return next((job for job in _trainings(rooms) if job.state in {"waiting", "running"}), None)


def last(rooms: Rooms) -> Job | None:
    """The training that ended last."""
    return next((job for job in _trainings(rooms) if job.state not in {"waiting", "running"}), None)


def _trainings(rooms: Rooms) -> list[Job]:
    with rooms.store.read() as ledger:
        found = [job for task in _TASKS for job in ledger.jobs.all(task=task, limit=50)]
    return sorted((job for job in found if _of(job)), key=lambda job: -job.created)


def _of(job: Job) -> bool:
    asked: dict[str, Any] = msgspec.json.decode(job.arguments, type=dict[str, Any])
    return bool(asked.get("model") == MODEL)


def before(rooms: Rooms) -> Version | None:
    """The version that stands beside the champion: the one that answered before it, else the newest other one."""
    with rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(MODEL)
        others = [one for one in ledger.versions.all(MODEL) if rollout is None or one.number != rollout.champion]
        if rollout is not None and rollout.previous is not None:
            return ledger.versions.get(MODEL, rollout.previous)
    return max(others, key=lambda one: one.number, default=None)


def weekly(rooms: Rooms, run: Run) -> Done:
    """The task ``devices_weekly``: train anew, when the plan is turned on and no training runs."""
    plan = keeping.plan(rooms)
    if not plan.enabled:
        run.step("skipped", detail="the weekly training is turned off")
        return Done()
    busy = running(rooms)
    if busy is not None:
        run.step("skipped", detail=f"{busy.id} runs")
        return Done()
    by = f"job {run.job.id}"
    if plan.mode == "incremental":
        job = retrain(rooms, why="weekly, on what is recent", by=by)
    else:
        table = keeping.table(rooms, start=rooms.clock.now() - WINDOW)
        job = training_job(
            rooms, RECIPE, table=table, data_source=_source(rooms), source="devices.readings", why="weekly", by=by
        )
        with rooms.store.write() as ledger:
            ledger.jobs.add(job)
    run.step("begun", detail=job.id)
    return Done()


def monthly(rooms: Rooms, run: Run) -> Done:
    """The task ``devices_monthly``: make a challenger of what was told since, when a version answers and data came in.

    The release judge decides whether it follows: a fleet that shrinks often teaches it worse.
    """
    with rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(MODEL)
        _, told, newest = ledger.records.counts(MODEL)
    now = rooms.clock.now()
    if rollout is None or told < POLICY.retrain.least or newest is None or now - newest > HORIZON:
        run.step("skipped", detail=f"no version answers, or too little was told lately ({told} outcomes)")
        return Done()
    if rollout.challenger is not None or running(rooms) is not None:
        run.step("skipped", detail="a challenger is on trial, or a training runs")
        return Done()
    run.step("begun", detail=retrain(rooms, why="monthly", by=f"job {run.job.id}").id)
    return Done()


def daily(rooms: Rooms, run: Run) -> Done:
    """The task ``devices_daily``: ask about every device with new readings, and tell what has become of older ones."""
    from modelkeep.workloads.devices import assessing  # noqa: PLC0415 - it stands on this module's policy

    told = keeping.mature(rooms, now=rooms.clock.now())
    found = assessing.assess(rooms)
    run.step("asked", detail=f"{len(found)} devices; {told} questions are answered: no failure in 14 days")
    return Done()
