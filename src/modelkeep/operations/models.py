"""Models and their versions: what there is, how it fares, and how a file becomes a version."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from modelkeep.errors import BadArtifact, NotFound
from modelkeep.nouns import Lineage, Policy, Rollout, Runner, Signature, Version
from modelkeep.operations.act import ModelName, Number, Operation, stamp
from modelkeep.profile import merged
from modelkeep.quantities import DAY

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.store.seams import Ledger

ModelState = Literal["ready", "loading", "slow", "unhealthy", "disabled", "candidate", "stopped", "elsewhere"]
VersionRole = Literal["champion", "challenger", "fallback", "previous", "candidate"]
RECENT = DAY


class Model(Struct, frozen=True, kw_only=True):
    """One model as it stands now.

    ``state``: ``ready``; ``loading`` (released, not loaded yet); ``slow``; ``unhealthy`` (it cannot be loaded, or too
    many of its calls fail); ``disabled``; ``candidate`` (nothing is released yet); ``stopped`` (nothing serves here);
    ``elsewhere`` (another service answers, and sends its records).
    Average and error rate are those of the champion's newest calls, None without calls in the last 24 h.
    """

    model: str
    state: ModelState
    detail: str
    versions: int
    champion: int | None
    challenger: int | None
    mode: str | None
    share: float
    average_processing_time_ms: float | None
    error_rate: float | None
    predictions: int
    outcomes: int
    last_prediction: datetime | None


class Models(Struct, frozen=True, kw_only=True):
    """Every model that has a version."""

    models: tuple[Model, ...]


class ListModels(Struct, frozen=True, kw_only=True):
    """Nothing to say: all models."""


class ShowModel(Struct, frozen=True, kw_only=True):
    """Which model."""

    model: ModelName


class ListVersions(Struct, frozen=True, kw_only=True):
    """Of which model."""

    model: ModelName


class VersionView(Struct, frozen=True, kw_only=True):
    """A version: its file, what it takes and answers, what it was worth when it was made.

    ``runner`` answers in place of the library that made it, with both speeds; None: the library itself answers.
    """

    model: str
    number: int
    name: str
    artifact: str
    size: int
    runtime: str
    features: str | None
    signature: Signature
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    lineage: Lineage
    below: tuple[str, ...]
    note: str
    created: datetime
    role: VersionRole
    runner: Runner | None = None


class Versions(Struct, frozen=True, kw_only=True):
    """The versions of a model, oldest first."""

    versions: tuple[VersionView, ...]


class ShowVersion(Struct, frozen=True, kw_only=True):
    """Which version."""

    model: ModelName
    number: Number


class Verify(Struct, frozen=True, kw_only=True):
    """Which version's files to read again."""

    model: ModelName
    number: Number


class ModelView(Struct, frozen=True, kw_only=True):
    """A model with its rollout, its policy and its versions."""

    summary: Model
    rollout: Rollout | None
    policy: Policy
    versions: tuple[VersionView, ...]


class Verified(Struct, frozen=True, kw_only=True):
    """Whether the bytes on disk are still those that were registered."""

    model: str
    number: int
    state: Literal["ok", "checksum_mismatch", "missing"]
    artifact: str
    size: int
    detail: str


def list_models(app: App, _: ListModels) -> Models:
    """List the models with their state, speed and error rate.

    Figures are those of the champion's newest calls.
    """
    with app.rooms.store.read() as ledger:
        return Models(models=tuple(_summary(app, ledger, model=name) for name in ledger.versions.models()))


def show_model(app: App, request: ShowModel) -> ModelView:
    """Show a model: its rollout, its policy and its versions.

    Raises NotFound naming near models.
    """
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        rollout = ledger.rollouts.get(request.model)
        return ModelView(
            summary=_summary(app, ledger, model=request.model),
            rollout=rollout,
            policy=ledger.versions.policy(request.model, rollout.policy if rollout else None),
            versions=tuple(view(v, rollout) for v in ledger.versions.all(request.model)),
        )


def list_versions(app: App, request: ListVersions) -> Versions:
    """List the versions of a model with their metrics.

    Raises NotFound naming near models.
    """
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        rollout = ledger.rollouts.get(request.model)
        return Versions(versions=tuple(view(v, rollout) for v in ledger.versions.all(request.model)))


def show_version(app: App, request: ShowVersion) -> VersionView:
    """Show one version with its signature, metrics and lineage.

    Raises NotFound naming the versions that exist.
    """
    with app.rooms.store.read() as ledger:
        return view(ledger.versions.get(request.model, request.number), ledger.rollouts.get(request.model))


def verify(app: App, request: Verify) -> Verified:
    """Read a version's files again and compare them with the digests they were registered under.

    Raises NotFound when there is no such version.
    """
    with app.rooms.store.read() as ledger:
        version = ledger.versions.get(request.model, request.number)
    state: Literal["ok", "checksum_mismatch", "missing"] = "ok"
    detail = "every byte is as it was registered"
    try:
        plan = version.runner.plan if version.runner else None
        for digest in (version.artifact, version.features, version.baseline.reference, plan):
            if digest is not None:
                app.rooms.files.path(digest)
    except BadArtifact as error:
        state, detail = "checksum_mismatch", str(error)
    except NotFound as error:
        state, detail = "missing", str(error)
    return Verified(
        model=version.model,
        number=version.number,
        state=state,
        artifact=version.artifact,
        size=version.size,
        detail=detail,
    )


def known(ledger: Ledger, model: str) -> None:
    """Raise NotFound naming near models when no version of ``model`` is registered."""
    models = ledger.versions.models()
    if model not in models:
        raise NotFound("model", model, known=models)


def sought(ledger: Ledger, subject: str) -> None:
    """The same for a filter, where "" means all and ``m@1`` its model: a misspelt one would look well."""
    if subject:
        known(ledger, subject.partition("@")[0])


def _summary(app: App, ledger: Ledger, *, model: str) -> Model:
    rollout = ledger.rollouts.get(model)
    predictions, outcomes, last = ledger.records.counts(model)
    health = _health(app, ledger, rollout=rollout)
    return Model(
        model=model,
        state=health.state,
        detail=health.detail,
        versions=len(ledger.versions.all(model)),
        champion=rollout.champion if rollout else None,
        challenger=rollout.challenger if rollout else None,
        mode=rollout.mode if rollout else None,
        share=rollout.share if rollout else 0.0,
        average_processing_time_ms=None if health.average_seconds is None else health.average_seconds * 1000,
        error_rate=health.error_rate,
        predictions=predictions,
        outcomes=outcomes,
        last_prediction=stamp(last),
    )


class _Health(Struct, frozen=True, kw_only=True):
    state: ModelState
    detail: str = ""
    average_seconds: float | None = None
    error_rate: float | None = None


def _health(app: App, ledger: Ledger, *, rollout: Rollout | None) -> _Health:
    """What the gateway saw lately; of a model that was not asked since the start, what the last 24 h of records say."""
    if rollout is None:
        return _Health(state="candidate", detail="nothing is released yet")
    seen = app.rooms.gateway.health(rollout.model)
    average, errors = seen.average_seconds, seen.error_rate
    if average is None:
        now = app.rooms.clock.now()
        found = ledger.records.slices(rollout.model, rollout.champion, role="champion", start=now - RECENT, end=now + 1)
        profile = merged(s.profile for s in found)
        average, errors = profile.mean_seconds, profile.failures / profile.n if profile.n else None
    if ledger.versions.get(rollout.model, rollout.champion).external:
        return _Health(state="elsewhere", detail=rollout.disabled, average_seconds=average, error_rate=errors)
    state: ModelState = seen.state
    failure = app.rooms.router.failures.get(f"{rollout.model}@{rollout.champion}", "")
    if not app.serving:
        state = "disabled" if rollout.disabled else "stopped"
    elif failure:
        state = "unhealthy"
    detail = rollout.disabled or failure or (seen.detail if app.serving else "no server runs on this folder")
    return _Health(state=state, detail=detail, average_seconds=average, error_rate=errors)


def role_of(version: Version, rollout: Rollout | None) -> VersionRole:
    """What a version is in its model's rollout: a candidate when nothing is."""
    if rollout is None:
        return "candidate"
    roles: dict[int | None, VersionRole] = {
        rollout.previous: "previous",
        rollout.fallback: "fallback",
        rollout.challenger: "challenger",
        rollout.champion: "champion",
    }
    return roles.get(version.number, "candidate")


def view(version: Version, rollout: Rollout | None) -> VersionView:
    """A version as it goes out."""
    return VersionView(
        model=version.model,
        number=version.number,
        name=version.name,
        artifact=version.artifact,
        size=version.size,
        runtime=version.runtime,
        features=version.features,
        signature=version.signature,
        metrics=version.baseline.metrics,
        baselines=version.baseline.rivals,
        lineage=version.lineage,
        below=version.below,
        note=version.note,
        created=stamp(version.created),
        role=role_of(version, rollout),
        runner=version.runner,
    )


OPERATIONS = (
    Operation(
        name="models", method="GET", path="/v1/models", request=ListModels, result=Models, run=list_models,
        words=("models", "list"),
    ),
    Operation(
        name="model", method="GET", path="/v1/models/{model}", request=ShowModel, result=ModelView, run=show_model,
        words=("model",), also=("models", "show"), plain=("model",),
    ),
    Operation(
        name="versions", method="GET", path="/v1/models/{model}/versions", request=ListVersions, result=Versions,
        run=list_versions, words=("versions",), plain=("model",),
    ),
    Operation(
        name="version", method="GET", path="/v1/models/{model}/versions/{number}", request=ShowVersion,
        result=VersionView, run=show_version, words=("version",), plain=("model", "number"),
    ),
    Operation(
        name="verify", method="POST", path="/v1/models/{model}/versions/{number}/verify", request=Verify,
        result=Verified, run=verify, words=("verify",), plain=("model", "number"),
        finding=lambda found: "" if found.state == "ok" else f"{found.state}: {found.detail}",
    ),
)  # fmt: skip
