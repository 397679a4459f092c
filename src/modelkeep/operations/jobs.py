"""Jobs: what was, is and will be done, and starting one by hand."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from modelkeep.errors import Conflict, NotFound
from modelkeep.nouns import Job
from modelkeep.operations.act import By, Limit, Operation, Why, stamp

if TYPE_CHECKING:
    from modelkeep.app import App

JobId = Annotated[str, Meta(description="Id of the job", min_length=1, max_length=400)]
TaskName = Annotated[str, Meta(description="Name of the task or of its schedule", min_length=1, max_length=200)]


class StepView(Struct, frozen=True, kw_only=True):
    """One finished step of a job with its evidence."""

    name: str
    at: datetime
    seconds: float
    detail: str
    evidence: Raw


class JobView(Struct, frozen=True, kw_only=True):
    """A job: what, for whom, in which state, every step with its time and evidence, and the result.

    ``seconds`` is the time from the first due moment to the end, None while it is not finished.
    """

    id: str
    task: str
    subject: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    created: datetime
    due: datetime
    finished: datetime | None
    seconds: float | None
    attempts: int
    runner: str
    schedule: str
    by: str
    error: str
    arguments: Raw
    result: Raw
    steps: tuple[StepView, ...]


class Jobs(Struct, frozen=True, kw_only=True):
    """Jobs, newest first."""

    jobs: tuple[JobView, ...]


class ListJobs(Struct, frozen=True, kw_only=True):
    """Which jobs: of one task, in one state."""

    task: Annotated[str, Meta(description="Only jobs of this task")] = ""
    state: Literal["waiting", "running", "done", "failed", "cancelled"] | None = None
    limit: Limit = 50


class OneJob(Struct, frozen=True, kw_only=True):
    """Which job."""

    id: JobId


class CancelJob(Struct, frozen=True, kw_only=True):
    """Which job is not wanted any more, and why."""

    id: JobId
    why: Why = ""
    by: By = ""


class TaskView(Struct, frozen=True, kw_only=True):
    """A task or schedule: when it runs next, how it went last; ``when`` is empty for work that nothing schedules."""

    name: str
    task: str
    when: str
    zone: str
    next_run: datetime | None
    last_run: datetime | None
    last_state: str
    last_seconds: float | None
    running: bool


class Tasks(Struct, frozen=True, kw_only=True):
    """Every task that can run here."""

    tasks: tuple[TaskView, ...]


class ListTasks(Struct, frozen=True, kw_only=True):
    """Nothing to say: all tasks and schedules."""


class TaskHistory(Struct, frozen=True, kw_only=True):
    """Which task or schedule."""

    name: TaskName
    limit: Limit = 50


class RunTask(Struct, frozen=True, kw_only=True):
    """Which task or schedule to run now; ``arguments`` are those of the task (a schedule brings its own)."""

    name: TaskName
    arguments: Annotated[dict[str, str | float | bool | None], Meta(description="The task's own arguments")] = {}
    subject: Annotated[str, Meta(description="What it is about, such as a model", max_length=300)] = ""
    by: By = ""


def list_jobs(app: App, request: ListJobs) -> Jobs:
    """List jobs, newest first."""
    with app.rooms.store.read() as ledger:
        found = ledger.jobs.all(task=request.task or None, state=request.state, limit=request.limit)
    return Jobs(jobs=tuple(view(job) for job in found))


def show_job(app: App, request: OneJob) -> JobView:
    """Show one job with every step and its evidence.

    Raises NotFound.
    """
    with app.rooms.store.read() as ledger:
        return view(ledger.jobs.get(request.id))


def cancel_job(app: App, request: CancelJob) -> JobView:
    """Stop a job that has not finished.

    Raises NotFound, or Conflict when it has finished.
    """
    now = app.rooms.clock.now()
    with app.rooms.store.write() as ledger:
        job = ledger.jobs.cancel(request.id, now)
        ledger.acts.append(who=request.by, what="cancel", subject=f"job {job.id}", why=request.why, at=now)
    return view(job)


def list_tasks(app: App, _: ListTasks) -> Tasks:
    """List tasks and schedules with their last and next run."""
    now = app.rooms.clock.now()
    with app.rooms.store.read() as ledger:
        found = []
        for name, schedule in sorted(app.schedules.items()):
            past = [job for job in ledger.jobs.all(task=schedule.task, limit=200) if job.schedule == name]
            found.append(
                _task(
                    name,
                    schedule.task,
                    past=past,
                    when=schedule.when,
                    zone=schedule.zone,
                    following=schedule.after(now),
                )
            )
        scheduled = {schedule.task for schedule in app.schedules.values()}
        found += [
            _task(name, name, past=ledger.jobs.all(task=name, limit=1), when="", zone="", following=None)
            for name in sorted(set(app.tasks) - scheduled)
        ]
    return Tasks(tasks=tuple(found))


def task_history(app: App, request: TaskHistory) -> Jobs:
    """List the past runs of a task or schedule with duration and result, newest first.

    Raises NotFound naming near tasks.
    """
    task = _resolve(app, request.name)
    with app.rooms.store.read() as ledger:
        found = ledger.jobs.all(task=task, limit=10_000 if request.name in app.schedules else request.limit)
    if request.name in app.schedules and request.name != task:
        found = [job for job in found if job.schedule == request.name]
    return Jobs(jobs=tuple(view(job) for job in found[: request.limit]))


def run_task(app: App, request: RunTask) -> JobView:
    """Run a task or a schedule's work now, once.

    Raises NotFound naming near tasks, or Conflict while a run of the same task and subject is waiting or running.
    """
    task = _resolve(app, request.name)
    schedule = app.schedules.get(request.name)
    now = app.rooms.clock.now()
    arguments = {**(schedule.arguments if schedule else {}), **request.arguments}
    subject = request.subject or (schedule.subject if schedule else str(arguments.get("model") or ""))
    job = Job(
        id=f"{request.name}-by-hand-{uuid.uuid4().hex[:12]}",
        task=task,
        due=now,
        created=now,
        arguments=Raw(msgspec.json.encode(arguments)),
        subject=subject,
        schedule=request.name if schedule else "",
        by=request.by or "by hand",
    )
    with app.rooms.store.write() as ledger:
        for state in ("running", "waiting"):
            for other in ledger.jobs.all(task=task, state=state, limit=1000):
                if other.subject == subject and other.due <= now:
                    raise Conflict(
                        f"task {task!r} is {state} already as job {other.id!r}",
                        remedy=f"see: modelkeep jobs show {other.id}",
                    )
        ledger.jobs.add(job)
        ledger.acts.append(who=request.by, what="run", subject=f"task {request.name}", why="", at=now)
    app.wake()
    return view(job)


def _resolve(app: App, name: str) -> str:
    if name in app.schedules:
        return app.schedules[name].task
    if name not in app.tasks:
        raise NotFound("task", name, known=[*app.tasks, *app.schedules])
    return name


def _task(name: str, task: str, *, past: list[Job], when: str, zone: str, following: float | None) -> TaskView:
    finished = [job for job in past if job.finished is not None and job.attempts]
    last = finished[0] if finished else None
    return TaskView(
        name=name,
        task=task,
        when=when,
        zone=zone,
        next_run=None if following is None or following == float("inf") else stamp(following),
        last_run=stamp(last.finished) if last else None,
        last_state=last.state if last else "",
        last_seconds=_seconds(last) if last else None,
        running=any(job.state == "running" for job in past),
    )


def _seconds(job: Job) -> float | None:
    return None if job.finished is None else max(job.finished - job.created, 0.0)


def view(job: Job) -> JobView:
    """A job as it goes out."""
    return JobView(
        id=job.id,
        task=job.task,
        subject=job.subject,
        state=job.state,
        created=stamp(job.created),
        due=stamp(job.due),
        finished=stamp(job.finished),
        seconds=_seconds(job),
        attempts=job.attempts,
        runner=job.lease.runner if job.lease else "",
        schedule=job.schedule,
        by=job.by,
        error=job.error,
        arguments=job.arguments,
        result=job.result,
        steps=tuple(
            StepView(name=s.name, at=stamp(s.at), seconds=s.seconds, detail=s.detail, evidence=s.evidence)
            for s in job.steps
        ),
    )


OPERATIONS = (
    Operation(
        name="jobs", method="GET", path="/v1/jobs", request=ListJobs, result=Jobs, run=list_jobs,
        words=("jobs", "list"),
    ),
    Operation(
        name="job", method="GET", path="/v1/jobs/{id}", request=OneJob, result=JobView, run=show_job,
        words=("jobs", "show"), plain=("id",),
        finding=lambda job: f"failed: {job.error}" if job.state == "failed" else "",
    ),
    Operation(
        name="cancel", method="POST", path="/v1/jobs/{id}/cancel", request=CancelJob, result=JobView, run=cancel_job,
        words=("jobs", "cancel"), plain=("id",),
    ),
    Operation(
        name="tasks", method="GET", path="/v1/tasks", request=ListTasks, result=Tasks, run=list_tasks,
        words=("jobs", "tasks"),
    ),
    Operation(
        name="history", method="GET", path="/v1/tasks/{name}/history", request=TaskHistory, result=Jobs,
        run=task_history, words=("jobs", "history"), plain=("name",),
    ),
    Operation(
        name="run", method="POST", path="/v1/tasks/{name}/run", request=RunTask, result=JobView, run=run_task,
        words=("jobs", "run"), plain=("name",), status=202,
    ),
)  # fmt: skip
