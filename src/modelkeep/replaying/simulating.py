"""Simulated life of workloads on a running app: their first models are trained, then every hour is played.

What is simulated is labelled: the lineage of the versions and their acts say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from modelkeep.app import App
from modelkeep.errors import BadInput, NotFound, Refused
from modelkeep.extending import BUILT_IN
from modelkeep.nouns import Version
from modelkeep.replaying.beginning import SIMULATED, first_version
from modelkeep.replaying.choosing import loaded, workload_of
from modelkeep.replaying.driving import Served
from modelkeep.runtimes.training import TrainingRows
from modelkeep.workload import Recipe, Workload

Tell = Callable[[str], None]
ROWS, SEED = (4000, 16_000), 1
"""Of each simulator so many rows are learned from (more where these are refused), drawn with this seed."""


def workloads(names: Sequence[str] = ()) -> tuple[Workload, ...]:
    """The workloads of these names, else all that come with the product. Raises NotFound naming near ones."""
    return tuple(workload_of(name) for name in names or BUILT_IN)


@contextmanager
def simulated(app: App, tell: Tell, *, played: Sequence[Workload]) -> Iterator[Callable[[float], None]]:
    """Train what has no version yet while the app serves, then give what plays one simulated hour of each workload.

    Hours are played side by side, each workload's in its own thread; one whose hour fails is told and left out.
    """
    with ThreadPoolExecutor(max(len(played), 1), thread_name_prefix="simulated") as threads:
        _train(app, played, tell=tell)
        players = {each.name: loaded(each.play) for each in played if each.play}
        for each in played:
            if not each.play:
                tell(f"{each.name}: has no simulator of its life; its page shows what is sent to it")

        def play(at: float) -> None:
            running: dict[str, Future[None]] = {
                name: threads.submit(player, app, at) for name, player in players.items()
            }
            for name, future in running.items():
                fault = future.exception()
                if fault is not None:
                    tell(f"{name}: its simulation stopped: {fault}")
                    del players[name]

        yield play


def _train(app: App, played: Sequence[Workload], *, tell: Tell) -> None:
    wanted = [(each, recipe) for each in played for recipe in each.recipes if recipe.simulate]
    served = Served(app)
    for place, (workload, recipe) in enumerate(wanted, 1):
        if _released(app, recipe.model):
            continue
        tell(f"training {recipe.model} on simulated data ({place} of {len(wanted)}) ...")
        try:
            version = _made(app, recipe, source=f"{SIMULATED} by {workload.name}, seed {SEED}", work=served.work)
        except Refused as refusal:
            tell(f"  {recipe.model} is left out: {refusal}")  # the others live on
        else:
            tell(f"  {version.name}: {version.note or 'answers'}")


def _made(app: App, recipe: Recipe, *, source: str, work: Callable[[], None]) -> Version:
    """Version 1 from a simulated table; a table too small to learn from is drawn again, larger."""
    for rows in ROWS:
        try:
            return first_version(app, recipe, rows=_drawn(recipe, rows), source=source, work=work)
        except Refused:
            if rows == ROWS[-1]:
                raise
    raise Refused("no size of a simulated table is known")


def _drawn(recipe: Recipe, n: int) -> TrainingRows:
    rows: TrainingRows = loaded(recipe.prepare)(loaded(recipe.simulate)(n, SEED))
    if not rows.truth:
        raise BadInput(f"the simulator of {recipe.model} made no row")
    return rows


def _released(app: App, model: str) -> bool:
    with app.rooms.store.read() as ledger:
        return ledger.rollouts.get(model) is not None


def checked(name: str) -> str:
    """The name of a workload that comes with the product, or ``flights``. Raises NotFound naming near ones."""
    if name not in {*BUILT_IN, "flights"}:
        raise NotFound("workload", name, known=[*BUILT_IN, "flights"])
    return name
