"""Releases: a version takes over on trial, or an earlier one comes back at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from modelkeep.errors import Conflict
from modelkeep.jobs import release as releasing
from modelkeep.jobs.changing import change, in_force
from modelkeep.jobs.forecasting import forecast_release, stages
from modelkeep.jobs.rolling_back import planned, roll_back_now
from modelkeep.jobs.validating import below_policy
from modelkeep.nouns import Rollout
from modelkeep.operations import jobs
from modelkeep.operations.act import By, DurationText, Limit, ModelName, Number, Operation, Why, stamp
from modelkeep.operations.jobs import JobId, JobView
from modelkeep.operations.models import known, sought
from modelkeep.quantities import seconds
from modelkeep.quantities import share as share_of

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.store.seams import Ledger


class Release(Struct, frozen=True, kw_only=True):
    """Which version, and how it walks; without ``share`` and ``stage``, as the model's policy says.

    ``force`` releases a version that misses its policy's floors, and then ``why`` must say the reason. ``dry_run``
    only plans.
    """

    model: ModelName
    number: Number
    share: Annotated[str, Meta(description="One canary of this share, such as 1% or 0.1; 100% is all")] = ""
    stage: Annotated[DurationText | None, Meta(description="Least time of each stage, such as 24h")] = None
    force: Annotated[bool, Meta(description="Release although the policy's floors are missed")] = False
    dry_run: Annotated[bool, Meta(description="Only plan; change nothing")] = False
    why: Why = ""
    by: By = ""


class ReleasePlan(Struct, frozen=True, kw_only=True):
    """What is going to happen: ``plan`` says how long a verdict takes at today's traffic; ``job`` walks it.

    ``job`` is empty in a dry run. ``first`` says that nothing answers yet, so the version takes over at once.
    """

    model: str
    number: int
    job: str
    first: bool
    shadow: float
    canary: tuple[float, ...]
    stage: float
    last: float
    seconds_to_proof: float | None
    plan: tuple[str, ...]


class ListReleases(Struct, frozen=True, kw_only=True):
    """Of one model, or of all."""

    model: Annotated[str, Meta(description="Only releases of this model")] = ""
    limit: Limit = 50


class ReleaseView(Struct, frozen=True, kw_only=True):
    """A release: its job with every step and its evidence, and how it ended (``result``)."""

    model: str
    number: int
    share: float | None
    stage: float | None
    force: bool
    why: str
    job: JobView


class Releases(Struct, frozen=True, kw_only=True):
    """Releases, newest first."""

    releases: tuple[ReleaseView, ...]


class OneRelease(Struct, frozen=True, kw_only=True):
    """Which release, by the id of its job."""

    id: JobId


class RollBack(Struct, frozen=True, kw_only=True):
    """Go back: end a running trial, or bring back version ``to`` (the previous champion when not named)."""

    model: ModelName
    to: Annotated[int, Meta(description="Number of the version to bring back", ge=1, le=2**31)] | None = None
    dry_run: Annotated[bool, Meta(description="Only say what would happen")] = False
    why: Why = ""
    by: By = ""


class RolledBack(Struct, frozen=True, kw_only=True):
    """What answers now, which version answers no longer, and how many answers it had given.

    ``predictions`` are the newest of those answers (at most 100); ``ended`` is the release job that was cancelled.
    """

    model: str
    champion: int
    left: int
    policy: int
    at: datetime
    done: bool
    made: int
    predictions: tuple[str, ...]
    ended: str | None


class Disable(Struct, frozen=True, kw_only=True):
    """Stop a model from answering; ``why`` is what callers are told."""

    model: ModelName
    why: Annotated[str, Meta(description="The reason: callers are told it", min_length=1, max_length=2000)]
    by: By = ""


class SetFallback(Struct, frozen=True, kw_only=True):
    """Which version answers when the champion cannot; without ``to`` the automatic baseline does again."""

    model: ModelName
    to: Annotated[int, Meta(description="Number of the version that stands in", ge=1, le=2**31)] | None = None
    why: Why = ""
    by: By = ""


class Enable(Struct, frozen=True, kw_only=True):
    """Let a model answer again."""

    model: ModelName
    why: Why = ""
    by: By = ""


class RolloutView(Struct, frozen=True, kw_only=True):
    """Which versions of a model answer now, and since when."""

    model: str
    champion: int
    challenger: int | None
    mode: str | None
    share: float
    fallback: int | None
    previous: int | None
    policy: int
    trial: str | None
    disabled: str
    since: datetime


class Rollouts(Struct, frozen=True, kw_only=True):
    """Rollouts: every model's that is in force, or one model's past, oldest first."""

    rollouts: tuple[RolloutView, ...]


class ListRollouts(Struct, frozen=True, kw_only=True):
    """Every model's, or with ``model`` that model's past."""

    model: Annotated[str, Meta(description="The past of this model's rollout")] = ""


def release(app: App, request: Release) -> ReleasePlan:
    """Release a version: validated, backed up, tried, judged, then promoted or rolled back, as durable work.

    Answers at once with the plan and the job that walks it. Raises NotFound for an unknown version, Conflict when it is
    the champion or another release is under way, BelowPolicy when it misses a floor and is not forced.
    """
    now = app.rooms.clock.now()
    asked = releasing.Release(
        model=request.model,
        number=request.number,
        share=share_of(request.share) if request.share else None,
        stage=None if request.stage is None else seconds(request.stage, "stage"),
        force=request.force,
        why=request.why,
        by=request.by,
    )
    with app.rooms.store.read() as ledger:
        plan = _plan(ledger, asked, now=now)
    if request.dry_run:
        return plan
    with app.rooms.store.write() as ledger:
        job = releasing.enqueue(ledger, asked, at=now)
    app.wake()
    wait = () if app.serving else ("no server runs here: it begins when one does (modelkeep up)",)
    return msgspec.structs.replace(plan, job=job.id, plan=(*plan.plan, *wait))


def _plan(ledger: Ledger, asked: releasing.Release, *, now: float) -> ReleasePlan:
    known(ledger, asked.model)
    version = ledger.versions.get(asked.model, asked.number)
    refusal = below_policy(version, force=asked.force, why=asked.why)
    if refusal is not None:
        raise refusal
    rollout = ledger.rollouts.get(asked.model)
    policy = ledger.versions.policy(asked.model)
    trial = stages(policy.trial, share=asked.share, stage=asked.stage)
    found = forecast_release(ledger, asked.model, trial=trial, guards=policy.guards, at=now) if rollout else None
    return ReleasePlan(
        model=asked.model,
        number=asked.number,
        job="",
        first=rollout is None,
        shadow=trial.shadow,
        canary=trial.canary,
        stage=trial.stage,
        last=trial.last,
        seconds_to_proof=found.good if found else 0.0,
        plan=found.lines() if found else ("nothing answers yet: it takes over as soon as it is validated",),
    )


def list_releases(app: App, request: ListReleases) -> Releases:
    """List releases, newest first.

    Raises NotFound for an unknown model.
    """
    with app.rooms.store.read() as ledger:
        sought(ledger, request.model)
        found = ledger.jobs.all(task="release", limit=1000)
    chosen = [_view(jobs.view(job)) for job in found if request.model in {"", job.subject}]
    return Releases(releases=tuple(chosen[: request.limit]))


def show_release(app: App, request: OneRelease) -> ReleaseView:
    """Show a release: every step with its time and evidence, the verdict, and the alerts that it raised.

    Raises NotFound.
    """
    with app.rooms.store.read() as ledger:
        job = ledger.jobs.get(request.id)
    if job.task != "release":
        raise Conflict(
            f"job {request.id!r} is a {job.task}, not a release", remedy=f"see: modelkeep jobs show {request.id}"
        )
    return _view(jobs.view(job))


def _view(job: JobView) -> ReleaseView:
    asked = msgspec.json.decode(job.arguments, type=releasing.Release)
    return ReleaseView(
        model=asked.model,
        number=asked.number,
        share=asked.share,
        stage=asked.stage,
        force=asked.force,
        why=asked.why,
        job=job,
    )


def roll_back(app: App, request: RollBack) -> RolledBack:
    """Roll a model back: end its trial, or bring back an earlier version whole, at once.

    A version comes back with its feature code and its policy. The answer lists the predictions that the version which
    left had made. Raises NotFound for an unknown model or version, Conflict when there is nothing to go back to.
    """
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
    if request.dry_run:
        did = planned(app.rooms, request.model, to=request.to)
    else:
        did = roll_back_now(app.rooms, request.model, to=request.to, why=request.why, by=request.by)
    return RolledBack(
        model=did.model, champion=did.champion, left=did.left, policy=did.policy, at=stamp(did.at),
        done=not request.dry_run, made=did.made, predictions=did.ids, ended=did.ended,
    )  # fmt: skip


def disable(app: App, request: Disable) -> RolloutView:
    """Stop a model from answering; callers get the reason, and its versions stay as they are.

    Raises NotFound for an unknown model, Conflict when nothing of it is released or it is disabled already.
    """
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        if in_force(ledger, request.model).disabled:
            raise Conflict(f"{request.model} is disabled already", remedy=f"modelkeep enable {request.model}")
    return _changed(app, request, what="disable", fields={"disabled": request.why})


def enable(app: App, request: Enable) -> RolloutView:
    """Let a disabled model answer again.

    Raises NotFound for an unknown model, Conflict when nothing of it is released or it is not disabled.
    """
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        if not in_force(ledger, request.model).disabled:
            raise Conflict(f"{request.model} is not disabled", remedy="nothing is left to do")
    return _changed(app, request, what="enable", fields={"disabled": ""})


def set_fallback(app: App, request: SetFallback) -> RolloutView:
    """Name the version that answers when the champion fails, is too slow or is disabled.

    Without one the automatic baseline answers; either is marked so. Raises NotFound for an unknown model or version,
    Conflict when nothing of the model is released.
    """
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        in_force(ledger, request.model)
        if request.to is not None:
            ledger.versions.get(request.model, request.to)
    return _changed(app, request, what="fallback", fields={"fallback": request.to})


def _changed(
    app: App, asked: Disable | Enable | SetFallback, *, what: str, fields: Mapping[str, str | int | None]
) -> RolloutView:
    """Change some fields of a model's rollout as one act; it is in force when this returns."""
    with app.rooms.store.write() as ledger:
        was = in_force(ledger, asked.model)
        after = msgspec.structs.replace(was, **fields, since=app.rooms.clock.now())
        change(ledger, after, was=was, what=what, who=asked.by, why=asked.why)
    app.rooms.router.refresh()
    return rollout_view(after)


def list_rollouts(app: App, request: ListRollouts) -> Rollouts:
    """List which versions answer now, or the past of one model.

    Raises NotFound for an unknown model.
    """
    with app.rooms.store.read() as ledger:
        if request.model:
            known(ledger, request.model)
        found = ledger.rollouts.history(request.model) if request.model else ledger.rollouts.all()
    return Rollouts(rollouts=tuple(rollout_view(rollout) for rollout in found))


def rollout_view(rollout: Rollout) -> RolloutView:
    """A rollout as it goes out."""
    values = {name: getattr(rollout, name) for name in RolloutView.__struct_fields__ if name != "since"}
    return RolloutView(**values, since=stamp(rollout.since))


OPERATIONS = (
    Operation(
        name="release", method="POST", path="/v1/models/{model}/releases", request=Release, result=ReleasePlan,
        run=release, words=("release",), plain=("model", "number"), status=202,
    ),
    Operation(
        name="releases", method="GET", path="/v1/releases", request=ListReleases, result=Releases, run=list_releases,
        words=("releases", "list"),
    ),
    Operation(
        name="release_details", method="GET", path="/v1/releases/{id}", request=OneRelease, result=ReleaseView,
        run=show_release, words=("releases", "show"), plain=("id",),
    ),
    Operation(
        name="rollback", method="POST", path="/v1/models/{model}/rollback", request=RollBack, result=RolledBack,
        run=roll_back, words=("rollback",), plain=("model",),
    ),
    Operation(
        name="disable", method="POST", path="/v1/models/{model}/disable", request=Disable, result=RolloutView,
        run=disable, words=("disable",), plain=("model",),
    ),
    Operation(
        name="enable", method="POST", path="/v1/models/{model}/enable", request=Enable, result=RolloutView, run=enable,
        words=("enable",), plain=("model",),
    ),
    Operation(
        name="fallback", method="POST", path="/v1/models/{model}/fallback", request=SetFallback, result=RolloutView,
        run=set_fallback, words=("fallback",), plain=("model",),
    ),
    Operation(
        name="rollouts", method="GET", path="/v1/rollouts", request=ListRollouts, result=Rollouts, run=list_rollouts,
        words=("rollouts",),
    ),
)  # fmt: skip
