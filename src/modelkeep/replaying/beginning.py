"""How a replay's model comes to be: version 1 is trained, registered and released like any other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec import structs

from modelkeep.app import App
from modelkeep.errors import BadArtifact, Refused
from modelkeep.jobs.changing import adopt
from modelkeep.jobs.registering import Registration, register
from modelkeep.jobs.release import Release, enqueue
from modelkeep.nouns import Lineage, Policy, Version
from modelkeep.rollout.rounds import MANY_ENTITIES
from modelkeep.runtimes import kept
from modelkeep.runtimes.training import TrainingRows, run_trainer
from modelkeep.workload import Recipe

LIMIT = 3600.0
BY = "replay"
GRAIN = 1.0
SIMULATED = "simulated"
"""A source that says so makes a version that says so."""


def policy_for(recipe: Recipe, rows: TrainingRows) -> Policy:
    """The recipe's policy, with what only the data tells: how late labels come, and whether a canary can be drawn.

    How busy this machine is while it replays is nobody's harm: a version that is slower by less than GRAIN is not.
    """
    policy = recipe.policy
    policy = structs.replace(policy, guards=structs.replace(policy.guards, grain=max(policy.guards.grain, GRAIN)))
    if not policy.horizon and rows.told:
        late = np.asarray(rows.told) - np.asarray(rows.at)
        policy = structs.replace(policy, horizon=float(np.quantile(late, 0.99)))
    if policy.trial.canary and len(set(rows.keys)) * policy.trial.canary[-1] < MANY_ENTITIES:
        # A canary draws by entity: with so few it proves nothing in any sensible time. Shadow pairs decide alone.
        policy = structs.replace(policy, trial=structs.replace(policy.trial, canary=()))
    return policy


def first_version(app: App, recipe: Recipe, *, rows: TrainingRows, source: str, work: Callable[[], None]) -> Version:
    """Train version 1 on ``rows``, register it and release it; ``work`` gets the app's jobs done.

    Raises what the trainer, the registration or the release refuses with.
    """
    now = app.rooms.clock.now()
    policy = policy_for(recipe, rows)
    with app.rooms.store.write() as ledger:
        adopt(ledger, policy, who=BY, why="the recipe's policy", at=now)
    with tempfile.TemporaryDirectory(dir=_work(app), prefix="first-") as place:
        folder = Path(place)
        trained = run_trainer(policy.retrain.trainer, rows, folder=folder, limit=LIMIT)
        if policy.retrain.history:
            kept.write(folder / "history.rows", rows)
        if trained.signature is None:
            raise BadArtifact(
                f"{policy.retrain.trainer} gives no signature, and there is no champion to take it from",
                remedy="return Trained(signature=...)",
            )
        version = register(
            app.rooms,
            Registration(
                model=policy.model,
                path=trained.path,
                runtime=trained.runtime,
                trust=True,  # made by the trainer that the recipe names
                code=None if trained.code is None else trained.code.read_bytes(),
                signature=trained.signature,
                metrics=trained.metrics,
                rivals=trained.rivals,
                columns=trained.sample or None,
                key=trained.key,
                time=trained.time,
                lineage=Lineage(
                    start=rows.at[0],
                    end=rows.at[-1],
                    rows=len(rows.truth),
                    source=source,
                    code=policy.retrain.trainer,
                    seconds=trained.seconds,
                    libraries=trained.libraries,
                    split=trained.split,
                ),
                history=folder / "history.rows" if policy.retrain.history else None,
                note="; ".join(filter(None, ("SIMULATED" if SIMULATED in source else "", trained.note))),
                why="the first version",
                by=BY,
            ),
        )
    _release(app, version, work=work)
    return version


def _work(app: App) -> Path:
    place = app.rooms.folder / "work"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _release(app: App, version: Version, *, work: Callable[[], None]) -> None:
    why = f"the first version{'; it is below ' + ', '.join(version.below) if version.below else ''}"
    asked = Release(model=version.model, number=version.number, force=bool(version.below), why=why, by=BY)
    with app.rooms.store.write() as ledger:
        job = enqueue(ledger, asked, at=app.rooms.clock.now())
    work()
    with app.rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(version.model)
        done = ledger.jobs.get(job.id)
    if rollout is None:
        steps = "; ".join(step.detail for step in done.steps if step.detail)
        raise Refused(f"version 1 of {version.model} was not released: {done.error or steps}")
