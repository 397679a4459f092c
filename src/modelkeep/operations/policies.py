"""Policies: what the owner of a model wants; every change is a new number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from modelkeep.jobs.changing import adopt
from modelkeep.nouns import Caching, Guards, Policy, Privacy, Retrain, Trial
from modelkeep.operations.act import By, ModelName, Operation, Why
from modelkeep.operations.models import known

if TYPE_CHECKING:
    from modelkeep.app import App

Seconds = Annotated[float, Meta(ge=0)]
T = TypeVar("T", bound=Struct)


class ShowPolicy(Struct, frozen=True, kw_only=True):
    """Which model; without ``number``, the newest policy."""

    model: ModelName
    number: Annotated[int, Meta(description="Number of the policy", ge=1, le=2**31)] | None = None


def _change(kind: type[Struct]) -> type[Struct]:
    """The type of a change to a part of the policy: each field may be left out, and then stays as it is."""
    fields = [(f.name, f.type | UnsetType, UNSET) for f in msgspec.structs.fields(kind)]
    return msgspec.defstruct(f"{kind.__name__}Change", fields, frozen=True, kw_only=True, forbid_unknown_fields=True)


if TYPE_CHECKING:
    from modelkeep.nouns import Caching as CachingChange
    from modelkeep.nouns import Guards as GuardsChange
    from modelkeep.nouns import Privacy as PrivacyChange
    from modelkeep.nouns import Retrain as RetrainChange
    from modelkeep.nouns import Trial as TrialChange
else:
    GuardsChange, TrialChange, RetrainChange, PrivacyChange, CachingChange = map(
        _change, (Guards, Trial, Retrain, Privacy, Caching)
    )


class SetPolicy(Struct, frozen=True, kw_only=True):
    """What to change; everything else stays as it is in the newest policy. Durations are seconds."""

    model: ModelName
    targets: Annotated[dict[str, float], Meta(description="Floors and ceilings of baseline metrics")] | UnsetType = (
        UNSET
    )
    guards: Annotated[GuardsChange, Meta(description="Limits of the release judge")] | UnsetType = UNSET
    trial: Annotated[TrialChange, Meta(description="How a release walks")] | UnsetType = UNSET
    retrain: Annotated[RetrainChange, Meta(description="How it is trained anew")] | UnsetType = UNSET
    horizon: Annotated[Seconds, Meta(description="Age at which labels are mature")] | UnsetType = UNSET
    tolerance: Annotated[Seconds, Meta(description="Largest distance of an outcome's time")] | UnsetType = UNSET
    limit: Annotated[float, Meta(description="Longest time for one call", gt=0)] | UnsetType = UNSET
    drift: Annotated[float, Meta(description="Drift threshold", gt=0)] | UnsetType = UNSET
    window: Annotated[float, Meta(description="Window of the accuracy readings", gt=0)] | UnsetType = UNSET
    quiet: Annotated[float, Meta(description="One false drift alarm at most in so long", gt=0)] | UnsetType = UNSET
    privacy: Annotated[PrivacyChange, Meta(description="What is recorded of people")] | UnsetType = UNSET
    priority: (
        Annotated[Literal["critical", "normal", "batch"], Meta(description="Of requests that name none")] | UnsetType
    ) = UNSET
    lighter: Annotated[int, Meta(description="Version that answers under overload", ge=0)] | UnsetType = UNSET
    isolation: (
        Annotated[Literal["auto", "process", "never"], Meta(description="What runs in a process of its own")]
        | UnsetType
    ) = UNSET
    memory: Annotated[int, Meta(description="Bytes that such a process may hold", gt=0)] | UnsetType = UNSET
    cache: Annotated[CachingChange, Meta(description="Whether equal questions are answered once")] | UnsetType = UNSET
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
    with app.rooms.store.write() as ledger:
        wanted = _changed(ledger.versions.policy(request.model), request)
        policy = adopt(ledger, wanted, who=request.by, why=request.why, at=app.rooms.clock.now())
        in_force = ledger.rollouts.get(request.model) is not None
    return PolicyView(policy=policy, in_force=in_force)


def _changed(part: T, change: Struct) -> T:
    """A part of the policy with the fields that a change names, and theirs in turn."""
    fields = {f.name for f in msgspec.structs.fields(type(part))}
    said = {name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not UNSET}
    changes = {
        name: _changed(getattr(part, name), value) if isinstance(value, Struct) else value
        for name, value in said.items()
        if name in fields and name != "model"
    }
    return msgspec.structs.replace(part, **changes)


def _names_trainer(asked: SetPolicy) -> bool:
    return asked.retrain is not UNSET and isinstance(asked.retrain.trainer, str) and bool(asked.retrain.trainer)


OPERATIONS = (
    Operation(
        name="policy", method="GET", path="/v1/models/{model}/policy", request=ShowPolicy, result=PolicyView,
        run=show_policy, words=("policy", "show"), plain=("model",),
    ),
    Operation(
        name="set_policy", method="PUT", path="/v1/models/{model}/policy", request=SetPolicy, result=PolicyView,
        run=set_policy, words=("policy", "set"), plain=("model",),
        runs_code=_names_trainer,
    ),
)  # fmt: skip
