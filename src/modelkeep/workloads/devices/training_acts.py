"""The acts under /api/predictions/train and /models: training, its schedule, and what the model is worth."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from modelkeep import App, BadInput, Conflict, Job, Operation, Rooms, Value, Version, iso, stamp
from modelkeep.workloads.devices import assessing, keeping, planning
from modelkeep.workloads.devices.fleet import DAY
from modelkeep.workloads.devices.keeping import MODEL, Plan
from modelkeep.workloads.devices.reading_acts import tall

Mode = Literal["full", "incremental"]
SHOWN = ("accuracy", "precision", "recall", "f1_score", "average_precision", "lift", "brier")
"""The metrics that are compared, by the names that the model's status uses."""
FLOORS = {"accuracy": 0.7, "precision": 0.5, "recall": 0.5, "f1_score": 0.6}
LEAST = 100


class Train(Struct, frozen=True, kw_only=True):
    """Train on what was kept in the last ``days_back`` days; without ``force_retrain`` a model of today is kept."""

    force_retrain: bool = False
    days_back: Annotated[int, Meta(ge=15, le=3650, description="Days of readings to learn from")] = 180


class Started(Struct, frozen=True, kw_only=True):
    """The training that was started, as a job of the product; ``status`` is started, skipped or done."""

    message: str
    status: Literal["started", "skipped", "done"]
    started_at: datetime
    job: str = ""
    data_source: str = ""


class SetSchedule(Struct, frozen=True, kw_only=True):
    """Turn the weekly training on (or off), on all that is kept or on recent labelled predictions alone."""

    mode: Mode = "full"
    enabled: bool = True


class Schedule(Struct, frozen=True, kw_only=True):
    """When trainings run and how the last one went; ``next_run_time`` is null while it is turned off."""

    enabled: bool
    schedule: str
    mode: Mode
    running: bool
    next_run_time: datetime | None
    last_training_time: datetime | None
    last_training_status: str | None
    last_training_error: str | None
    message: str = ""


class Update(Struct, frozen=True, kw_only=True):
    """New readings (of either layout), and the devices that they are about (empty: all)."""

    new_data: list[dict[str, Value | list[Any] | dict[str, Any]]] = []
    device_ids: list[str] = []


class Nothing(Struct, frozen=True, kw_only=True):
    """No fields."""


class TrainingData(Struct, frozen=True, kw_only=True):
    """What a version was trained on."""

    sample_count: int | None
    unique_devices: int | None
    date_range: dict[str, str | None]
    days_back: float | None


class Check(Struct, frozen=True, kw_only=True):
    """One number beside the guide's floor."""

    value: float | None
    threshold: float
    passed: bool


class Validation(Struct, frozen=True, kw_only=True):
    """Whether the version meets its own policy (``valid``), and the guide's floors one by one."""

    valid: bool
    reason: str
    checks: dict[str, Check]


class Metadata(Struct, frozen=True, kw_only=True):
    """A version in the words of the device service; performance is that of held-out days, measured once."""

    version: str
    training_date: datetime
    training_data_stats: TrainingData
    model_performance: dict[str, float]
    feature_columns: tuple[str, ...]
    training_parameters: dict[str, str | float]
    data_source: str
    training_duration_seconds: float | None
    libraries: dict[str, str]
    validation: Validation
    note: str


class ModelStatus(Struct, frozen=True, kw_only=True):
    """The model that answers now; everything is null while there is none, with the ``reason``."""

    is_trained: bool
    model_performance: dict[str, float]
    feature_columns: tuple[str, ...]
    model_metadata: Metadata | None
    last_updated: datetime | None
    reason: str = ""


class Change(Struct, frozen=True, kw_only=True):
    """How one metric moved between two versions; ``percent_change`` is null when it was 0."""

    difference: float
    percent_change: float | None
    improved: bool


class Performance(Struct, frozen=True, kw_only=True):
    """Held-out metrics of two versions; each was measured on its own held-out days."""

    current: dict[str, float]
    previous: dict[str, float]
    changes: dict[str, Change]


class Comparison(Struct, frozen=True, kw_only=True):
    """The version that answers, beside the one that answered before it."""

    current_version: str | None
    previous_version: str | None
    backup_timestamp: datetime | None
    comparison_available: bool
    version_change: str | None
    performance: Performance | None
    training_data: dict[str, TrainingData]
    data_source: dict[str, str]
    message: str = ""


class VersionView(Struct, frozen=True, kw_only=True):
    """Which version answers, and which stand behind it."""

    version: str | None
    number: int | None
    training_date: datetime | None
    data_source: str | None
    champion_since: datetime | None
    challenger: str | None
    versions: tuple[str, ...]


class ModelHealth(Struct, frozen=True, kw_only=True):
    """Whether the model can answer: each check with its result, and the size of its file in bytes."""

    status: Literal["healthy", "degraded", "unhealthy"]
    checks: dict[str, bool]
    file_sizes: dict[str, int]
    model_version: str | None
    training_date: datetime | None
    problems: tuple[str, ...]


class ServiceHealth(Struct, frozen=True, kw_only=True):
    """Whether predictions can be given: by the model, or by the rule while there is none."""

    status: Literal["healthy", "degraded"]
    model_loaded: bool
    model_version: str | None
    devices: int
    last_reading_at: datetime | None
    detail: str


def start_training(app: App, request: Train) -> Started:
    """Train a model on the readings and failures that are kept; it is released by the judge if it is worth it.

    Without any failure on record the simulator's sample is used: the version says so and is not released. Raises
    Conflict (409) while a training runs, and Refused with the reason when the data does not suffice.
    """
    now = app.rooms.clock.now()
    refuse_running(app.rooms)
    version = assessing.champion(app.rooms)
    if version is not None and not request.force_retrain and now - version.created < DAY:
        message = f"{version.name} was trained at {iso(version.created)}; force_retrain trains anew"
        return Started(message=message, status="skipped", started_at=stamp(now))
    return _started(planning.train(app, start=now - request.days_back * DAY), at=now)


def _started(job: Job, *, at: float) -> Started:
    status: Literal["started", "done"] = "done" if job.state == "done" else "started"
    asked = msgspec.json.decode(job.arguments, type=dict[str, Any])
    data = str(asked.get("data_source", "database"))
    warning = "; no failure is on record, so simulated devices are learned from" if data == "sample" else ""
    return Started(
        message=f"training {status}{warning}", status=status, started_at=stamp(at), job=job.id, data_source=data
    )


def refuse_running(rooms: Rooms) -> None:
    """Raise Conflict while a training of the model waits or runs."""
    busy = planning.running(rooms)
    if busy is not None:
        raise Conflict(f"{busy.id} trains {MODEL} since {iso(busy.created)}", remedy="wait until it has ended")


def set_schedule(app: App, request: SetSchedule) -> Schedule:
    """Turn the weekly training on or off: Sundays at 02:00 UTC, off until it is turned on."""
    plan = Plan(enabled=request.enabled, mode=request.mode)
    keeping.set_plan(app.rooms, plan, at=app.rooms.clock.now())
    return show_schedule(app, Nothing())


def show_schedule(app: App, request: Nothing) -> Schedule:
    """Show when trainings run, whether one does now, and how the last one went."""
    del request
    plan, now = keeping.plan(app.rooms), app.rooms.clock.now()
    last, version = planning.last(app.rooms), assessing.champion(app.rooms)
    made = version.created if version else None
    return Schedule(
        enabled=plan.enabled,
        schedule=planning.WEEKLY.when,
        mode="incremental" if plan.mode == "incremental" else "full",
        running=planning.running(app.rooms) is not None,
        next_run_time=stamp(planning.WEEKLY.after(now)) if plan.enabled else None,
        last_training_time=stamp(made) if last is None else stamp(last.finished or last.created),
        last_training_status=("success" if version else None)
        if last is None
        else {"done": "success"}.get(last.state, last.state),
        last_training_error=None if last is None else last.error or None,
        message="" if plan.enabled else "the weekly training is turned off; POST to this path turns it on",
    )


def update(app: App, request: Update) -> Started:
    """Take new readings, and train anew on the newest labelled predictions.

    Boosted trees are not updated row by row: this is a retraining on what is recent, judged like every other. Raises
    Conflict (409) while a training runs, and while no model is released.
    """
    now = app.rooms.clock.now()
    refuse_running(app.rooms)
    if request.new_data:
        rows = request.new_data
        if request.device_ids:
            rows = [row for row in rows if str(row.get("device_id", "")) in request.device_ids]
        if not rows:
            raise BadInput.of("device_ids", expected="devices of new_data", got=", ".join(request.device_ids)[:80])
        keeping.ingest(app.rooms, tall(rows, now=now))
    if assessing.champion(app.rooms) is None:
        raise Conflict(f"{MODEL} has no version that answers", remedy="train one first: POST /api/predictions/train")
    job = planning.retrain(app.rooms, why="incremental update", by="devices")
    app.wake()
    return _started(job, at=now)


def show_status(app: App, request: Nothing) -> ModelStatus:
    """Show the model that answers: its version, what it was trained on, and its held-out performance."""
    del request
    version = assessing.champion(app.rooms)
    if version is None:
        return ModelStatus(
            is_trained=False,
            model_performance={},
            feature_columns=(),
            model_metadata=None,
            last_updated=None,
            reason="no version is released; POST /api/predictions/train trains one",
        )
    found = metadata(version)
    return ModelStatus(
        is_trained=True,
        model_performance=found.model_performance,
        feature_columns=found.feature_columns,
        model_metadata=found,
        last_updated=found.training_date,
    )


def metadata(version: Version) -> Metadata:
    """A version in the words of the device service."""
    worth = performance(version)
    checks = {
        name: Check(value=worth.get(name), threshold=floor, passed=worth.get(name, -1.0) > floor)
        for name, floor in FLOORS.items()
    }
    rows = version.lineage.rows
    checks["sample_count"] = Check(value=rows, threshold=LEAST, passed=(rows or 0) > LEAST)
    return Metadata(
        version=version.name,
        training_date=stamp(version.created),
        training_data_stats=trained_on(version),
        model_performance=worth,
        feature_columns=tuple(field.name for field in version.signature.inputs),
        training_parameters={"model_type": version.runtime, "trainer": version.lineage.code, "split": "time"},
        data_source=version.lineage.data_source or "unknown",
        training_duration_seconds=version.lineage.seconds,
        libraries=version.lineage.libraries,
        validation=Validation(
            valid=not version.below,
            reason="; ".join(version.below) or "meets its policy; the checks are the guide's floors",
            checks=checks,
        ),
        note=version.note,
    )


def performance(version: Version) -> dict[str, float]:
    """Held-out metrics, with F1 under the name that device services use."""
    return {"f1_score" if name == "f1" else name: value for name, value in version.baseline.metrics.items()}


def trained_on(version: Version) -> TrainingData:
    """What a version was trained on."""
    lineage = version.lineage
    whole = lineage.start is not None and lineage.end is not None
    return TrainingData(
        sample_count=lineage.rows,
        unique_devices=lineage.groups,
        date_range={
            "start": None if lineage.start is None else iso(lineage.start),
            "end": None if lineage.end is None else iso(lineage.end),
        },
        days_back=round(((lineage.end or 0.0) - (lineage.start or 0.0)) / DAY, 1) if whole else None,
    )


def compare(app: App, request: Nothing) -> Comparison:
    """Compare the version that answers with the one before it, metric by metric."""
    del request
    current = assessing.champion(app.rooms)
    previous = planning.before(app.rooms)
    if current is None or previous is None:
        return Comparison(
            current_version=current.name if current else None,
            previous_version=None,
            backup_timestamp=None,
            comparison_available=False,
            version_change=None,
            performance=None,
            training_data={} if current is None else {"current": trained_on(current)},
            data_source={} if current is None else {"current": current.lineage.data_source or "unknown"},
            message="no version is released" if current is None else "no other version has been made yet",
        )
    now, then = performance(current), performance(previous)
    return Comparison(
        current_version=current.name,
        previous_version=previous.name,
        backup_timestamp=stamp(previous.created),
        comparison_available=True,
        version_change=f"{previous.name} -> {current.name}",
        performance=Performance(
            current=now,
            previous=then,
            changes={name: _change(name, now[name], then=then[name]) for name in SHOWN if name in now and name in then},
        ),
        training_data={"current": trained_on(current), "previous": trained_on(previous)},
        data_source={
            "current": current.lineage.data_source or "unknown",
            "previous": previous.lineage.data_source or "unknown",
        },
    )


def _change(name: str, now: float, *, then: float) -> Change:
    moved = now - then
    better = moved < 0 if name == "brier" else moved > 0
    share = None if not then else round(100 * moved / then, 4)
    return Change(difference=round(moved, 6), percent_change=share, improved=better)


def show_version(app: App, request: Nothing) -> VersionView:
    """Show which version answers, since when, and which others there are."""
    del request
    version = assessing.champion(app.rooms)
    with app.rooms.store.read() as ledger:
        names = tuple(one.name for one in ledger.versions.all(MODEL))
        rollout = ledger.rollouts.get(MODEL)
    challenger = rollout.challenger if rollout else None
    return VersionView(
        version=version.name if version else None,
        number=version.number if version else None,
        training_date=stamp(version.created) if version else None,
        data_source=(version.lineage.data_source or "unknown") if version else None,
        champion_since=stamp(rollout.since) if rollout else None,
        challenger=f"{MODEL}@{challenger}" if challenger else None,
        versions=names,
    )


def show_health(app: App, request: Nothing) -> ModelHealth:
    """Check the files and the state of the model: each check is looked at now."""
    del request
    version = assessing.champion(app.rooms)
    checks = {"released": version is not None, "model_file": False, "reference": False, "meets_policy": False}
    sizes: dict[str, int] = {}
    if version is not None:
        kept = set(app.rooms.files.all())
        checks["model_file"] = version.artifact in kept
        checks["reference"] = version.baseline.reference in kept
        checks["meets_policy"] = not version.below
        digests = {"model": version.artifact, "reference": version.baseline.reference}
        sizes = {name: app.rooms.files.size(digest) for name, digest in digests.items() if digest in kept and digest}
    checks["answers"] = version is not None and MODEL in app.rooms.gateway.routes
    wrong = tuple(name for name, fine in checks.items() if not fine)
    vital = {"released", "model_file", "answers"}
    return ModelHealth(
        status="healthy" if not wrong else "unhealthy" if vital & set(wrong) else "degraded",
        checks=checks,
        file_sizes=sizes,
        model_version=version.name if version else None,
        training_date=stamp(version.created) if version else None,
        problems=wrong,
    )


def show_service(app: App, request: Nothing) -> ServiceHealth:
    """Check whether predictions can be given, and how fresh the readings are."""
    del request
    version = assessing.champion(app.rooms)
    found = keeping.dataset(app.rooms, "readings").sql('SELECT count(DISTINCT device_id), max("at") FROM data')
    devices, newest = (int(found[0][0]), found[0][1]) if found else (0, None)
    return ServiceHealth(
        status="healthy" if version is not None else "degraded",
        model_loaded=version is not None and MODEL in app.rooms.gateway.routes,
        model_version=version.name if version else None,
        devices=devices,
        last_reading_at=None if newest is None else stamp(float(newest)),
        detail="the model answers" if version else "no model is released: the rule stands in, and says so",
    )


_PREDICTIONS = "/api/predictions"
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        name="devices_train", method="POST", path=f"{_PREDICTIONS}/train", request=Train, result=Started,
        run=start_training,
    ),
    Operation(
        name="devices_schedule", method="POST", path=f"{_PREDICTIONS}/train/schedule", request=SetSchedule,
        result=Schedule, run=set_schedule,
    ),
    Operation(
        name="devices_training", method="GET", path=f"{_PREDICTIONS}/train/status", request=Nothing, result=Schedule,
        run=show_schedule,
    ),
    Operation(
        name="devices_update", method="POST", path=f"{_PREDICTIONS}/incremental-update", request=Update,
        result=Started, run=update,
    ),
    Operation(
        name="devices_status", method="GET", path=f"{_PREDICTIONS}/models/status", request=Nothing,
        result=ModelStatus, run=show_status,
    ),
    Operation(
        name="devices_compare", method="GET", path=f"{_PREDICTIONS}/models/compare", request=Nothing,
        result=Comparison, run=compare,
    ),
    Operation(
        name="devices_version", method="GET", path=f"{_PREDICTIONS}/models/version", request=Nothing,
        result=VersionView, run=show_version,
    ),
    Operation(
        name="devices_model_health", method="GET", path=f"{_PREDICTIONS}/models/health", request=Nothing,
        result=ModelHealth, run=show_health,
    ),
    Operation(
        name="devices_health", method="GET", path=f"{_PREDICTIONS}/health", request=Nothing, result=ServiceHealth,
        run=show_service,
    ),
)  # fmt: skip
