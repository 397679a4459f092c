"""Running a task for whoever asked: on the server when one runs here, else in this process; it is in the history."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from modelkeep.errors import ModelkeepError, Unavailable
from modelkeep.jobs.rooms import Again
from modelkeep.nouns import Job
from modelkeep.operations.training import Alone

if TYPE_CHECKING:
    from modelkeep.app import App

PATIENCE = 45.0
"""Seconds that an act waits for its job; then the job goes on by itself, and the answer says so."""
_LOOK = 0.05


def worked(app: App, task: str, *, arguments: Struct, subject: str = "", by: str = "", why: str = "") -> Job:
    """A job of ``task`` as it ended, or as it stands after ``PATIENCE``.

    Raises the job's own error where no server runs.
    """
    now = app.rooms.clock.now()
    job = Job(
        id=f"{task}-by-hand-{uuid.uuid4().hex[:12]}",
        task=task,
        due=now,
        created=now,
        arguments=Raw(msgspec.json.encode(arguments)),
        subject=subject,
        by=by or "by hand",
    )
    with app.rooms.store.write() as ledger:
        ledger.acts.append(who=by, what=task, subject=subject or "server", why=why, at=now, after=job.arguments)
        if app.serving:
            ledger.jobs.add(job)
    if not app.serving:
        return _here(app, job)
    app.wake()
    until = time.perf_counter() + PATIENCE
    while time.perf_counter() < until:
        with app.rooms.store.read() as ledger:
            found = ledger.jobs.get(job.id)
        if found.finished is not None:
            return found
        time.sleep(_LOOK)
    return found


def _here(app: App, job: Job) -> Job:
    run = Alone(job, app=app, say=lambda *_: None)
    try:
        result = app.tasks[job.task](app.rooms, run)
    except ModelkeepError as refusal:
        _kept(app, msgspec.structs.replace(run.job, state="failed", error=str(refusal)))
        raise
    if isinstance(result, Again):
        raise Unavailable(f"{job.task} is not finished", remedy="start the server: it goes on there")
    return _kept(app, msgspec.structs.replace(run.job, state="done", result=Raw(msgspec.json.encode(result.result))))


def _kept(app: App, job: Job) -> Job:
    """The job, in the history."""
    ended = msgspec.structs.replace(job, finished=app.rooms.clock.now(), attempts=1)
    with app.rooms.store.write() as ledger:
        ledger.jobs.add(ended)
    return ended
