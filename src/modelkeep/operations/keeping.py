"""Models in memory: which are loaded, and letting go of those that nobody asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import psutil
from msgspec import Meta, Struct

from modelkeep.errors import BadInput, Conflict, NotFound
from modelkeep.operations.act import DurationText, Operation, stamp
from modelkeep.quantities import seconds

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.runtimes import Loaded
    from modelkeep.serving.shelf import Held

MB = 2**20


class ListLoaded(Struct, frozen=True, kw_only=True):
    """Nothing to say: all models in memory."""


class LoadedVersion(Struct, frozen=True, kw_only=True):
    """A version in memory: who answers it (a runner or the ``library``), and one row's microseconds at loading.

    ``one_us`` is None when the row made up from its signature could not be answered.
    """

    number: int
    runner: str
    one_us: float | None


class LoadedModel(Struct, frozen=True, kw_only=True):
    """A model in memory: since when, when it was last asked (as far as is known), and its versions."""

    model: str
    since: datetime
    used: datetime
    predictions: int
    versions: tuple[LoadedVersion, ...]


class InMemory(Struct, frozen=True, kw_only=True):
    """The models in memory, the one that was asked last first; and those that are loaded at their next question.

    ``limit`` is how many may stay (0 = all), ``memory_mb`` the memory of the whole process in MB.
    """

    models: tuple[LoadedModel, ...]
    asleep: tuple[str, ...]
    limit: int
    memory_mb: float


class Unload(Struct, frozen=True, kw_only=True):
    """A model, or all that nobody has asked for so long."""

    model: Annotated[str, Meta(description="Name of the model", max_length=200)] = ""
    idle: Annotated[DurationText, Meta(description="Let go of every model that was not asked for so long")] = ""
    dry_run: Annotated[bool, Meta(description="Only tell which models would go")] = False


class Unloaded(Struct, frozen=True, kw_only=True):
    """The models that left memory, and the memory of the process in MB before and after."""

    models: tuple[str, ...]
    freed_mb: float
    before_mb: float
    after_mb: float
    dry_run: bool = False


def loaded(app: App, _: ListLoaded) -> InMemory:
    """List the models that are in memory, and who answers each: a runner, or the library that made it."""
    router, uses = app.rooms.router, app.rooms.gateway.counters.uses()
    held, versions = router.shelf.held(), router.shelf.loaded
    here = {one.model for one in held}
    return InMemory(
        models=tuple(_view(one, versions, predictions=uses.get(one.model, 0)) for one in held),
        asleep=tuple(sorted(model for model in app.rooms.gateway.routes if model not in here)),
        limit=router.shelf.keeping.limit,
        memory_mb=_memory(),
    )


def unload(app: App, request: Unload) -> Unloaded:
    """Let go of a model in memory, or of all that nobody asks for; the next question loads it again.

    Its memory goes back to the system; what is freed is measured. Raises BadInput without a model and without
    ``idle``, NotFound naming near models, and Conflict where no server runs.
    """
    if bool(request.model) == bool(request.idle):
        raise BadInput("say which models are to leave memory", remedy="name one, or give --idle 1h")
    if not app.serving:
        raise Conflict("no server runs on this folder: no model is in memory", remedy="modelkeep up")
    router = app.rooms.router
    if request.model:
        if request.model not in app.rooms.gateway.routes:
            raise NotFound("model", request.model, known=app.rooms.gateway.routes)
        models = [request.model] if request.model in router.shelf else []
    else:
        models = router.shelf.idle(seconds(request.idle))
    if request.dry_run or not models:
        return Unloaded(
            models=tuple(models), freed_mb=0.0, before_mb=_memory(), after_mb=_memory(), dry_run=request.dry_run
        )
    done = router.release(models)
    return Unloaded(
        models=done.models,
        freed_mb=round((done.before - done.after) / MB, 1),
        before_mb=round(done.before / MB, 1),
        after_mb=round(done.after / MB, 1),
    )


def _view(held: Held, versions: Mapping[str, Loaded], *, predictions: int) -> LoadedModel:
    known = [versions[name] for number in held.versions if (name := f"{held.model}@{number}") in versions]
    return LoadedModel(
        model=held.model,
        since=stamp(held.since),
        used=stamp(held.used),
        predictions=predictions,
        versions=tuple(
            LoadedVersion(number=one.version.number, runner=one.runner, one_us=_microseconds(one.seconds))
            for one in known
        ),
    )


def _microseconds(taken: float) -> float | None:
    return None if math.isnan(taken) else round(taken * 1e6, 2)


def _memory() -> float:
    rss: int = psutil.Process().memory_info().rss
    return round(rss / MB, 1)


OPERATIONS = (
    Operation(
        name="loaded", method="GET", path="/v1/models/loaded", request=ListLoaded, result=InMemory, run=loaded,
        words=("models", "loaded"),
    ),
    Operation(
        name="unload", method="POST", path="/v1/models/unload", request=Unload, result=Unloaded, run=unload,
        words=("models", "unload"), plain=("model",),
    ),
)  # fmt: skip
