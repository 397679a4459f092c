"""Policies: what the owner of a model wants; every change is a new number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from modelkeep.jobs.changing import adopt
from modelkeep.nouns import Guards, Policy, Retrain, Trial
from modelkeep.operations.act import By, ModelName, Operation, Why
from modelkeep.operations.models import known

if TYPE_CHECKING:
    from modelkeep.app import App

Seconds = Annotated[float, Meta(ge=0)]


class ShowPolicy(Struct, frozen=True, kw_only=True):
    """Which model; without ``number``, the newest policy."""

    model: ModelName
    number: Annotated[int, Meta(description="Number of the policy", ge=1, le=2**31)] | None = None


class SetPolicy(Struct, frozen=True, kw_only=True):
    """What to change; everything else stays as it is in the newest policy. Durations are seconds."""

    model: ModelName
    targets: Annotated[dict[str, float], Meta(description="Floors and ceilings of baseline metrics")] | UnsetType = (
        UNSET
    )
    guards: Guards | UnsetType = UNSET
    trial: Trial | UnsetType = UNSET
    retrain: Retrain | UnsetType = UNSET
    horizon: Annotated[Seconds, Meta(description="Age at which labels are mature")] | UnsetType = UNSET
    tolerance: Annotated[Seconds, Meta(description="Largest distance of an outcome's time")] | UnsetType = UNSET
    limit: Annotated[float, Meta(description="Longest time for one call", gt=0)] | UnsetType = UNSET
    drift: Annotated[float, Meta(description="Drift threshold", gt=0)] | UnsetType = UNSET
    window: Annotated[float, Meta(description="Window of the accuracy readings", gt=0)] | UnsetType = UNSET
    why: Why = ""
    by: By = ""


class PolicyView(Struct, frozen=True, kw_only=True):
    """A policy, and whether the model's rollout stands on it now."""

    policy: Policy
    in_force: bool


def show_policy(app: App, request: ShowPolicy) -> PolicyView:
    """Show what the owner of a model wants: targets, guards, trial, retraining.

    Raises NotFound for an unknown number, or for a model of which neither a version nor a policy is known.
    """
    with app.rooms.store.read() as ledger:
        policy = ledger.versions.policy(request.model, request.number)
        if not policy.since:
            known(ledger, request.model)
        rollout = ledger.rollouts.get(request.model)
    return PolicyView(policy=policy, in_force=rollout is not None and rollout.policy == policy.number)


def set_policy(app: App, request: SetPolicy) -> PolicyView:
    """Change what the owner of a model wants; the change is in force at once and comes back with a rollback.

    Raises BadInput naming the field.
    """
    changes = {
        name: value
        for name in ("targets", "guards", "trial", "retrain", "horizon", "tolerance", "limit", "drift", "window")
        if (value := getattr(request, name)) is not UNSET
    }
    with app.rooms.store.write() as ledger:
        wanted = msgspec.structs.replace(ledger.versions.policy(request.model), **changes)
        policy = adopt(ledger, wanted, who=request.by, why=request.why, at=app.rooms.clock.now())
        in_force = ledger.rollouts.get(request.model) is not None
    return PolicyView(policy=policy, in_force=in_force)


OPERATIONS = (
    Operation(
        name="policy", method="GET", path="/v1/models/{model}/policy", request=ShowPolicy, result=PolicyView,
        run=show_policy, words=("policy", "show"), plain=("model",),
    ),
    Operation(
        name="set_policy", method="PUT", path="/v1/models/{model}/policy", request=SetPolicy, result=PolicyView,
        run=set_policy, words=("policy", "set"), plain=("model",),
        runs_code=lambda asked: asked.retrain is not UNSET and bool(asked.retrain.trainer),
    ),
)  # fmt: skip
