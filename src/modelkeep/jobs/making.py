"""The task ``train``: a raw table becomes a version of a workload's model, by its recipe.

Steps: those of the process that reads, examines and trains (``read``, ``mapped``, ``prepared``, ``examined``,
``trained``), then ``registered`` and ``released``. A run that is killed begins again, but registers once.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from modelkeep.errors import Conflict
from modelkeep.jobs import rivals
from modelkeep.jobs.changing import adopt
from modelkeep.jobs.recipes import Recipe
from modelkeep.jobs.registering import Registration, register
from modelkeep.jobs.release import Release, enqueue
from modelkeep.jobs.rivals import Compared
from modelkeep.jobs.rooms import Done, Rooms, Run
from modelkeep.nouns import Job, Lineage, Policy, Value, Version
from modelkeep.quantities import HOUR
from modelkeep.runtimes.making import HISTORY, MADE, MAKING, PROGRESS, Made, Making
from modelkeep.runtimes.training import path_of, supervised
from modelkeep.store.seams import Ledger

TASK = "train"
LIMIT = HOUR
"""The longest that a training may take, in seconds."""
SIMULATED = "trained on simulated data"
_UNSAFE = re.compile(r"[^\w.-]", re.ASCII)


class Training(Struct, frozen=True, kw_only=True):
    """What is asked of a training; the table and the recipe stand in the job's folder.

    ``policy`` is the recipe's, for a model that has none of its own. ``force`` overrules what speaks against the data
    and against releasing the version; ``why`` says why.
    """

    model: str
    policy: Policy
    source: str
    data_source: Literal["database", "file", "sample"]
    release: bool = False
    dry: bool = False
    force: bool = False
    why: str = ""
    by: str = ""


class TrainingResult(Struct, frozen=True, kw_only=True):
    """What a training made.

    ``version`` is None after a dry run; ``released`` the job of its release, or empty, and ``detail`` says why.
    ``table`` has every metric of the held-out data with the simple baselines beside it; ``below`` why the version is
    not released without force. ``raw`` rows were read, ``rows`` learned from, of ``groups`` entities, between the
    moments ``start`` and ``end``.
    """

    model: str
    version: int | None
    released: str
    detail: str
    raw: int
    rows: int
    groups: int
    start: float | None
    end: float | None
    dropped: int
    unused: tuple[str, ...]
    notes: tuple[str, ...]
    split: str
    data_source: str
    seconds: float | None
    table: tuple[Compared, ...]
    below: tuple[str, ...] = ()


class Remembered(Struct, frozen=True, kw_only=True):
    """How far a training has come."""

    number: int | None = None


def folder_of(rooms: Rooms, job: str) -> Path:
    """Where the table and the results of a training stand while it runs."""
    return rooms.folder / "work" / "training" / _UNSAFE.sub("_", f"job-{job}")


def training_job(
    rooms: Rooms,
    recipe: Recipe,
    *,
    table: Mapping[str, Sequence[Value]],
    data_source: Literal["database", "file", "sample"] = "database",
    source: str = "",
    why: str = "",
    by: str = "",
) -> Job:
    """Lay out a training on a table for a task that has rooms and no app; the job is to be added to the ledger.

    What comes of it is registered and, unless ``data_source`` is ``sample``, put before the release judge.
    """
    at = rooms.clock.now()
    with rooms.store.read() as ledger:
        own = ledger.versions.policy(recipe.model)
    retrain = own.retrain if own.retrain.trainer else recipe.policy.retrain
    asked = Training(
        model=recipe.model, policy=recipe.policy, source=source, data_source=data_source, release=True, why=why, by=by
    )
    job = Job(
        id=f"train-{recipe.model}-{uuid.uuid4().hex[:12]}",
        task=TASK,
        due=at,
        created=at,
        arguments=Raw(msgspec.json.encode(asked)),
        subject=recipe.model,
        by=by,
    )
    folder = folder_of(rooms, job.id)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "table.msgpack"
    path.write_bytes(msgspec.msgpack.encode({name: list(values) for name, values in table.items()}))
    making = Making(
        model=recipe.model,
        trainer=retrain.trainer,
        prepare=recipe.prepare,
        columns=recipe.columns,
        retrain=retrain,
        time=recipe.time,
        table=str(path),
    )
    (folder / MAKING).write_bytes(msgspec.msgpack.encode(making))
    return job


def train(rooms: Rooms, run: Run) -> Done:
    """Make a version of a raw table. Raises Refused and its kinds with what speaks against the data."""
    asked, folder = run.arguments(Training), folder_of(rooms, run.job.id)
    memo = run.memo(Remembered)
    if memo is None or memo.number is None:
        made = _made(run, asked, folder=folder)
        version = None if made.trained is None else _registered(rooms, run, asked=asked, made=made, folder=folder)
    else:
        with rooms.store.read() as ledger:
            version = ledger.versions.get(asked.model, memo.number)
        made = _left(folder)
    result = _result(asked, made, version=version)
    if version is not None and asked.release:
        result = _released(rooms, run, asked=asked, version=version, result=result)
    shutil.rmtree(folder, ignore_errors=True)
    return Done(result=result)


def _made(run: Run, asked: Training, *, folder: Path) -> Made:
    if not (folder / MAKING).exists():
        raise Conflict(f"the table of {asked.model!r} is gone", remedy="train again")
    (folder / PROGRESS).unlink(missing_ok=True)
    making = msgspec.msgpack.decode((folder / MAKING).read_bytes(), type=Making)
    supervised(making.trainer, folder=folder, limit=LIMIT, look=_teller(run, folder))
    return _left(folder)


def _teller(run: Run, folder: Path) -> Callable[[], None]:
    """What tells the stages that the process has ended since it was last looked at."""
    told = 0

    def look() -> None:
        nonlocal told
        progress = folder / PROGRESS
        lines = progress.read_bytes().split(b"\n")[:-1] if progress.exists() else []
        for line in lines[told:]:
            stage, detail = msgspec.json.decode(line, type=tuple[str, str])
            run.step(stage, detail=detail)
        told = len(lines)

    return look


def _left(folder: Path) -> Made:
    return msgspec.msgpack.decode((folder / MADE).read_bytes(), type=Made, dec_hook=path_of)


def _registered(rooms: Rooms, run: Run, *, asked: Training, made: Made, folder: Path) -> Version:
    with rooms.store.write() as ledger:
        if ledger.versions.policy(asked.model) == Policy(model=asked.model):
            adopt(ledger, asked.policy, who=asked.by, why="the recipe's policy", at=rooms.clock.now())

    def remember(ledger: Ledger, version: Version) -> None:
        run.step("registered", detail=version.name, memo=Remembered(number=version.number), ledger=ledger)

    return register(rooms, _registration(asked, made, folder=folder), also=remember)


def _registration(asked: Training, made: Made, *, folder: Path) -> Registration:
    trained = made.trained
    if trained is None:
        raise Conflict("nothing was trained")
    simulated = asked.data_source == "sample"
    return Registration(
        model=asked.model,
        path=trained.path,
        runtime=trained.runtime,
        trust=True,  # the trainer came with a workload that the owner installed; what it makes is no stranger's
        code=None if trained.code is None else trained.code.read_bytes(),
        signature=trained.signature,
        metrics=trained.metrics,
        rivals=trained.rivals,
        columns=trained.sample or None,
        key=trained.key,
        time=trained.time,
        lineage=Lineage(
            start=made.start,
            end=made.end,
            rows=made.rows,
            source=asked.source,
            code=_trainer(folder),
            seconds=trained.seconds,
            libraries=trained.libraries,
            split=trained.split,
            data_source=asked.data_source,
            groups=made.groups,
        ),
        against=(SIMULATED,) if simulated else (),
        history=folder / HISTORY if (folder / HISTORY).exists() else None,
        note="; ".join(filter(None, ("SIMULATED" if simulated else "", trained.note))),
        force=asked.force,
        why=asked.why,
        by=asked.by,
    )


def _trainer(folder: Path) -> str:
    return msgspec.msgpack.decode((folder / MAKING).read_bytes(), type=Making).trainer


def _result(asked: Training, made: Made, *, version: Version | None) -> TrainingResult:
    trained = made.trained
    metrics, others = {}, {}
    if version is not None:
        metrics, others = version.baseline.metrics, version.baseline.rivals
    return TrainingResult(
        model=asked.model,
        version=None if version is None else version.number,
        released="",
        detail="nothing was trained: a dry run" if version is None else f"{version.name} is a candidate",
        raw=made.raw,
        rows=made.rows,
        groups=made.groups,
        start=made.start,
        end=made.end,
        dropped=made.dropped,
        unused=made.unused,
        notes=made.notes,
        split=trained.split if trained else "",
        data_source=asked.data_source,
        seconds=trained.seconds if trained else None,
        table=rivals.compared(metrics, others),
        below=version.below if version else (),
    )


def _released(rooms: Rooms, run: Run, *, asked: Training, version: Version, result: TrainingResult) -> TrainingResult:
    """Ask for the release, unless the version is below something or another release is under way."""
    if version.below and not (asked.force and asked.why.strip()):
        detail = f"{version.name} stays a candidate: {', '.join(version.below)}"
        return msgspec.structs.replace(result, detail=detail)
    wanted = Release(model=asked.model, number=version.number, force=asked.force, why=asked.why, by=asked.by)
    with rooms.store.write() as ledger:
        try:
            job = enqueue(ledger, wanted, at=rooms.clock.now()).id
            detail = f"{version.name} is being released by {job}"
        except Conflict as busy:
            job, detail = "", f"{version.name} stays a candidate: {busy}"
        run.step("released", detail=detail, ledger=ledger)
    return msgspec.structs.replace(result, released=job, detail=detail)
