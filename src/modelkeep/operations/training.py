"""Training: a raw table becomes a version of a workload's model, by its recipe."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from modelkeep.errors import BadInput, NotFound
from modelkeep.jobs import making
from modelkeep.jobs.making import Training, TrainingResult, folder_of
from modelkeep.jobs.recipes import Recipe
from modelkeep.jobs.rooms import Done
from modelkeep.nouns import Job, Step, Value
from modelkeep.operations import jobs, uploads
from modelkeep.operations.act import By, Operation, Why
from modelkeep.operations.jobs import JobView
from modelkeep.operations.uploads import Digest
from modelkeep.runtimes.making import MAKING, Making

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.store.seams import Ledger

T = TypeVar("T")
MOST_SIMULATED = 1_000_000
DataSource: TypeAlias = Literal["database", "file", "sample"]
Say: TypeAlias = Callable[[str, str], None]
"""Hears each stage as it ends, and what is to be said of it."""


def silent(_stage: str, _detail: str) -> None:
    """Nobody listens."""


class Train(Struct, frozen=True, kw_only=True):
    """Which recipe, and on what: a table sent to ``/v1/files`` before, or ``simulate`` rows from ``seed``.

    ``names`` maps the recipe's columns to the table's where they are called differently.
    """

    name: Annotated[str, Meta(description="A workload, or workload/model", min_length=1, max_length=200)]
    file: Digest | None = None
    file_format: Literal["csv", "parquet", "json"] = "csv"
    source: Annotated[str, Meta(description="What the table is called", max_length=500)] = ""
    names: Annotated[dict[str, str], Meta(description="Our columns to theirs")] = {}
    simulate: Annotated[int, Meta(description="So many simulated rows instead", ge=0, le=MOST_SIMULATED)] = 0
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 0
    release: Annotated[bool, Meta(description="Release what is made")] = False
    dry_run: Annotated[bool, Meta(description="Read, prepare and examine, but train nothing")] = False
    force: Annotated[bool, Meta(description="Despite what speaks against the data; why must say the reason")] = False
    why: Why = ""
    by: By = ""


class ColumnView(Struct, frozen=True, kw_only=True):
    """A column that a recipe takes."""

    name: str
    expected: str
    required: bool


class RecipeView(Struct, frozen=True, kw_only=True):
    """One recipe: its name, what it makes, and the columns that it takes with kind, unit and range."""

    name: str
    model: str
    summary: str
    simulated: bool
    columns: tuple[ColumnView, ...]


class Recipes(Struct, frozen=True, kw_only=True):
    """What can be trained."""

    recipes: tuple[RecipeView, ...]


class ListRecipes(Struct, frozen=True, kw_only=True):
    """Every recipe, or those of one workload."""

    workload: Annotated[str, Meta(description="Only those of this workload", max_length=200)] = ""


def list_recipes(app: App, request: ListRecipes) -> Recipes:
    """List what can be trained: each recipe with the columns that it takes."""
    found = [
        _recipe_view(extension.name, recipe)
        for extension in app.extensions
        for recipe in extension.recipes
        if request.workload in {"", extension.name}
    ]
    return Recipes(recipes=tuple(found))


def train(app: App, request: Train, *, say: Say = silent) -> JobView:
    """Train a workload's model on a raw table, examine and register what comes of it, and release it if asked.

    Answers at once with the job that does it; its steps tell how far it is. Raises NotFound naming near workloads and
    models, and BadInput when neither a file nor a simulation is named.
    """
    recipe = found(app, request.name)
    if bool(request.file) == bool(request.simulate):
        raise BadInput("a training needs either a table or a simulation", remedy="give --data FILE, or --simulate ROWS")
    if request.simulate and not recipe.simulate:
        raise BadInput(f"{recipe.model} has no simulator", remedy="give --data FILE")
    if request.force and not request.why.strip():
        raise BadInput("a training that is forced needs its reason", remedy="say why: --why REASON")
    simulated = f"simulated, seed {request.seed}" if request.simulate else ""
    job = _job(app, recipe, wanted=request, source=simulated or request.source or "a file")
    folder = _laid_out(app, job)
    told = _making(app, recipe, wanted=request)
    if request.file:
        table = folder / f"table.{request.file_format}"
        uploads.received(app, request.file).replace(table)
        told = msgspec.structs.replace(told, table=str(table), names=request.names, force=request.force)
    else:
        told = msgspec.structs.replace(told, simulate=recipe.simulate, rows=request.simulate, seed=request.seed)
    return jobs.view(_begun(app, job, told=told, folder=folder, say=say))


def train_table(app: App, table: Mapping[str, Sequence[Value]], *, wanted: Train, data_source: DataSource) -> Job:
    """Train a workload's model on a table in memory.

    Answers with the job at once where a server runs, and with the ended job where none does. ``data_source`` is
    ``sample`` for simulated rows: then the version is not released without ``force`` and its ``why``. Raises as
    ``train`` does.
    """
    recipe = found(app, wanted.name)
    job = _job(app, recipe, wanted=wanted, source=wanted.source or f"a table of {wanted.name}", data_source=data_source)
    folder = _laid_out(app, job)
    path = folder / "table.msgpack"
    columns = {column: list(values) for column, values in table.items()}
    path.write_bytes(msgspec.msgpack.encode(columns, enc_hook=_plain))
    told = msgspec.structs.replace(_making(app, recipe, wanted=wanted), table=str(path))
    return _begun(app, job, told=told, folder=folder, say=silent)


def _plain(value: Any) -> Any:
    """A number of NumPy's as Python's own. Raises BadInput for what no table holds."""
    if not hasattr(value, "item"):
        raise BadInput.of("table", expected="numbers, text, true and false", got=type(value).__name__)
    return value.item()


def found(app: App, name: str) -> Recipe:
    """The recipe of ``workload`` (its main one), ``workload/model`` or a model. Raises NotFound naming near ones."""
    named: dict[str, Recipe] = {}
    for extension in app.extensions:
        for recipe in extension.recipes:
            named.setdefault(extension.name, recipe)
            short = recipe.model.removeprefix(f"{extension.name}-")
            named |= dict.fromkeys(
                (recipe.model, f"{extension.name}/{recipe.model}", f"{extension.name}/{short}"), recipe
            )
    if name not in named:
        raise NotFound("recipe", name, known=named)
    return named[name]


def _making(app: App, recipe: Recipe, *, wanted: Train) -> Making:
    with app.rooms.store.read() as ledger:
        own = ledger.versions.policy(recipe.model)
    retrain = own.retrain if own.retrain.trainer else recipe.policy.retrain
    return Making(
        model=recipe.model,
        trainer=retrain.trainer,
        prepare=recipe.prepare,
        columns=recipe.columns,
        retrain=retrain,
        time=recipe.time,
        dry=wanted.dry_run,
    )


def _job(app: App, recipe: Recipe, *, wanted: Train, source: str, data_source: DataSource | None = None) -> Job:
    at = app.rooms.clock.now()
    asked = Training(
        model=recipe.model,
        policy=recipe.policy,
        source=source,
        data_source=data_source or ("sample" if wanted.simulate else "file"),
        release=wanted.release,
        dry=wanted.dry_run,
        force=wanted.force,
        why=wanted.why,
        by=wanted.by,
    )
    return Job(
        id=f"train-{recipe.model}-{uuid.uuid4().hex[:12]}",
        task=making.TASK,
        due=at,
        created=at,
        arguments=Raw(msgspec.json.encode(asked)),
        subject=recipe.model,
        by=wanted.by,
    )


def _laid_out(app: App, job: Job) -> Path:
    folder = folder_of(app.rooms, job.id)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _begun(app: App, job: Job, *, told: Making, folder: Path, say: Say) -> Job:
    """Begin the training: as a job where a server runs, else here and now."""
    (folder / MAKING).write_bytes(msgspec.msgpack.encode(told))
    if not app.serving:
        return _done_here(app, job, folder=folder, say=say)
    with app.rooms.store.write() as ledger:
        ledger.jobs.add(job)
    app.wake()
    return job


def _done_here(app: App, job: Job, *, folder: Path, say: Say) -> Job:
    run = Alone(job, app=app, say=say)
    try:
        done = making.train(app.rooms, run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    now = app.rooms.clock.now()
    result = Raw(msgspec.json.encode(done.result if isinstance(done, Done) else None))
    return msgspec.structs.replace(run.job, state="done", result=result, finished=now)


class Alone:
    """A run of a task without a server: its steps are remembered here and told to ``say``."""

    def __init__(self, job: Job, *, app: App, say: Say) -> None:
        self.job = job
        self._app = app
        self._say = say

    def arguments(self, kind: type[T]) -> T:
        """The job's arguments."""
        return msgspec.json.decode(self.job.arguments, type=kind)

    def memo(self, kind: type[T]) -> T | None:
        """What the task remembered last."""
        return None if bytes(self.job.memo) == b"null" else msgspec.json.decode(self.job.memo, type=kind)

    def step(
        self,
        name: str,
        *,
        detail: str = "",
        evidence: Struct | None = None,
        memo: Struct | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """Remember a finished step, and tell it."""
        del ledger
        step = Step(
            name=name, at=self._app.rooms.clock.now(), detail=detail, evidence=Raw(msgspec.json.encode(evidence))
        )
        kept = self.job.memo if memo is None else Raw(msgspec.json.encode(memo))
        self.job = msgspec.structs.replace(self.job, steps=(*self.job.steps, step), memo=kept)
        self._say(name, detail)


def _recipe_view(workload: str, recipe: Recipe) -> RecipeView:
    return RecipeView(
        name=f"{workload}/{recipe.model}",
        model=recipe.model,
        summary=recipe.summary,
        simulated=bool(recipe.simulate),
        columns=tuple(
            ColumnView(name=field.name, expected=field.expected(), required=not field.nullable)
            for field in recipe.columns
        ),
    )


OPERATIONS = (
    Operation(
        name="train", method="POST", path="/v1/trainings", request=Train, result=JobView, run=train, status=202,
    ),
    Operation(
        name="recipes", method="GET", path="/v1/recipes", request=ListRecipes, result=Recipes, run=list_recipes,
        words=("recipes",),
    ),
)  # fmt: skip

__all__ = ["OPERATIONS", "Train", "TrainingResult", "found", "list_recipes", "train", "train_table"]
