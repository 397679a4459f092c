"""Simulated households ask the model of this workload every hour, for ``modelkeep demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelkeep import Outcome
from modelkeep.workloads.any.simulator import LATE, SHIFT, hour_of

if TYPE_CHECKING:
    from modelkeep import App

MODEL, SEED = "any", 1
SIMULATED = "simulated"


def play(app: App, at: float) -> None:
    """Ask about the hour that begins at ``at``, and tell what the meters of the hour a day before showed.

    Every hour follows from its moment, so a replay that is stopped goes on with the same life. The pumps come 25 days
    after the model was released.
    """
    began = _released(app, at)
    asked = hour_of(at, seed=SEED, shifted=at >= began + SHIFT)
    app.predict(MODEL, [one.features for one in asked], keys=[one.key for one in asked], targets=[at] * len(asked))
    read = at - LATE
    if read >= began:
        known = hour_of(read, seed=SEED, shifted=read >= began + SHIFT)
        app.tell(
            [Outcome(value=one.used, at=at, model=MODEL, key=one.key, target=read, source=SIMULATED) for one in known]
        )


def _released(app: App, at: float) -> float:
    """The moment at which version 1 began to answer."""
    with app.rooms.store.read() as ledger:
        history = ledger.rollouts.history(MODEL)
    return history[0].since if history else at
