"""Simulated life for ``modelkeep demo weight``: sellers ask about scrap, and the yard weighs it a day later."""

from typing import TYPE_CHECKING

import msgspec

from modelkeep import Outcome
from modelkeep.workloads.weight import consent
from modelkeep.workloads.weight.asking import Ask
from modelkeep.workloads.weight.estimating import estimate
from modelkeep.workloads.weight.simulator import METALS, Thing, photos, simulate, thing

if TYPE_CHECKING:
    from modelkeep import App

MODEL = "weight"
HOUR, DAY = 3600.0, 86400.0
FIRST, SEED = 900, 11
OPEN_FROM, OPEN_TO = 8, 18
SELLERS = 12
LATE = 20
"""From the twentieth day on sellers bring lead and iron, too, which the first version has never seen."""
KNOWN = tuple(name for name in METALS if name not in {"lead", "iron"})


def play(app: "App", at: float) -> None:
    """Let the hour ``at`` happen: what was asked a day ago is weighed, and by day some sellers ask.

    The first hour trains the first version on simulated scrap. What an earlier run has done is not done again.
    """
    with app.rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(MODEL)
        trained = MODEL in ledger.versions.models()
        begun = any(job.subject == MODEL for job in ledger.jobs.all(task="train", limit=50))
    if rollout is None:
        if not trained and not begun:
            _first(app)
        return
    kept = consent.records(app.rooms).sql('SELECT min("timestamp"), max("timestamp") FROM data')
    first, newest = (float(kept[0][0]), float(kept[0][1])) if kept and kept[0][0] is not None else (at, at - HOUR)
    _weigh(app, at, first=first)
    if newest < at and OPEN_FROM <= at % DAY / HOUR < OPEN_TO:
        _ask(app, at, first=first)


def _first(app: "App") -> None:
    table = simulate(FIRST, SEED)
    keep = [place for place, metal in enumerate(table["material"]) if metal in KNOWN]
    app.train(
        MODEL,
        {name: [values[place] for place in keep] for name, values in table.items()},
        data_source="sample",
        source="simulated scrap",
        why="a demonstration on simulated scrap, and labelled so",
        by="demo",
    )


def _ask(app: "App", at: float, *, first: float) -> None:
    """A seller asks about a piece; every fourth has not consented, so that nothing is kept of hers."""
    number = int(at // HOUR)
    one = _piece(at, first=first)
    for row in photos(one, 1 + number % 3, seed=number):
        known = {name: value for name, value in row.items() if name in Ask.__struct_fields__ and value is not None}
        asked = msgspec.convert({**known, "user": f"seller-{number % SELLERS:02d}", "consent": number % 4 != 0}, Ask)
        estimate(app, asked)


def _weigh(app: "App", at: float, *, first: float) -> None:
    """The yard weighs the piece that was asked about a day ago."""
    asked = at - DAY
    ids = consent.records(app.rooms).read(start=asked, end=asked + HOUR, columns=("prediction",))["prediction"]
    grams = _piece(asked, first=first).grams
    known = [str(name) for name in ids if name]
    if known:
        app.tell([Outcome(value=grams, at=at, prediction=name, source="simulated scale") for name in known])


def _piece(at: float, *, first: float) -> Thing:
    """The piece of scrap of an hour."""
    return thing(SEED + 1, int(at // HOUR), metals=KNOWN if at - first < LATE * DAY else tuple(METALS))
