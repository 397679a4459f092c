"""Trains the preparation minutes: trees on the absolute error, with an interval, judged by later orders or riders.

Absolute error, because a ticket that was forgotten must not pull the promise of all others.
"""

from collections.abc import Sequence

import lightgbm
import numpy as np

from modelkeep import Ensemble, Member, Refused, Trained, TrainingRows, Value, pack_ensemble
from modelkeep.workloads.restaurants import fitting
from modelkeep.workloads.restaurants.columns import codes
from modelkeep.workloads.restaurants.fitting import DAY, Frame, Places, Split
from modelkeep.workloads.restaurants.kitchen import CATEGORIES, OUTPUT

JUDGED = 30 * DAY
ROUNDS = 300
SETTINGS = {"num_leaves": 15, "feature_fraction": 1.0}
COVER = 0.8
WITHIN = 5.0
LEAST_GROUPS = 5
SAMPLE = 20_000


def train(rows: TrainingRows) -> Trained:
    """Train on rows as ``kitchen.prepare`` makes them.

    Returns:
        Trees with an 80 % interval; ``mae``, ``within_5`` and ``coverage`` of rows that were not learnt from, beside
        the median's error, and that of the station's last 20 where its past is known.

    Raises:
        Refused: When there are too few orders, or fewer than 5 riders or stations to part them by.
    """
    frame = fitting.framed(rows.columns, rows.truth, categories=CATEGORIES)
    split = by_group(rows.groups) if rows.groups else fitting.by_time(rows, last=JUDGED)
    early = _fit(frame, split.learn, objective="l1")
    said, real = fitting.answers(early, frame, places=split.judge), frame.truth[split.judge]
    ends = [_fit(frame, split.learn, objective="quantile", quantile=q) for q in ((1 - COVER) / 2, (1 + COVER) / 2)]
    low, high = (fitting.answers(end, frame, places=split.judge) for end in ends)
    half = len(real) // 2
    first = fitting.widening(low[:half], high[:half], truth=real[:half], cover=COVER)
    metrics = fitting.errors(said, real) | {
        "within_5": float(np.mean(np.abs(said - real) <= WITHIN)),
        "coverage": fitting.covered(low[half:] - first, high[half:] + first, truth=real[half:]),
        **({} if rows.groups else fitting.skill(rows, split.judge, said=said)),
    }
    others = rivals(frame, split)
    final = _fit(frame, np.arange(len(frame.truth)), objective="l1")
    boosters = {"trees": final, "low": ends[0], "high": ends[1]}
    file = Ensemble(
        members=tuple(
            Member(name=name, runtime="lightgbm", data=booster.model_to_string().encode(), columns=tuple(frame.names))
            for name, booster in boosters.items()
        ),
        weights={"trees": 1.0},
        low_member="low",
        high_member="high",
        widen=fitting.widening(low, high, truth=real, cover=COVER),
        floor=0.0,
    )
    columns: dict[str, Sequence[Value]] = {**rows.columns, "minutes": rows.truth, "entity": rows.keys, "asked": rows.at}
    verdict = "" if metrics["mae"] < min(found["mae"] for found in others.values()) else "below baseline; "
    return Trained(
        path=pack_ensemble(file, fitting.place("prep.ensemble")),
        runtime="ensemble",
        metrics=metrics,
        rivals=others,
        sample=fitting.taken(columns, split.judge[:: max(1, len(split.judge) // SAMPLE)].tolist()),
        key="entity",
        time="" if rows.groups else "asked",
        signature=fitting.signature(frame, OUTPUT),
        split="group" if rows.groups else "time",
        note=f"{verdict}MAE {metrics['mae']:.2f} min on rows not learnt from, median {others['median']['mae']:.2f}",
    )


def by_group(groups: list[str]) -> Split:
    """Every fifth group judges, the others are learnt from. Raises Refused below five groups."""
    rows, names = codes(groups)
    if len(names) < LEAST_GROUPS:
        raise Refused(
            f"{len(names)} riders or stations; {LEAST_GROUPS} are needed to learn from some and judge by others",
            remedy="give orders of more of them, or their moments (assigned)",
        )
    judged = np.random.default_rng(3).permutation(len(names))[: max(1, len(names) // 5)]
    mine = np.isin(rows, judged)
    return Split(learn=np.flatnonzero(~mine), judge=np.flatnonzero(mine), at=0.0)


def rivals(frame: Frame, split: Split) -> dict[str, dict[str, float]]:
    """The mean absolute errors of the median, and of what the station last took where that is known."""
    real, median = frame.truth[split.judge], float(np.median(frame.truth[split.learn]))
    found = {"median": {"mae": float(np.abs(median - real).mean())}}
    past = frame.column("station_minutes")[split.judge]
    if np.isfinite(past).mean() > 0.5:
        mae = float(np.abs(np.where(np.isnan(past), median, past) - real).mean())
        found["last_of_station"] = {"mae": mae}
    return found


def _fit(frame: Frame, places: Places, *, objective: str, quantile: float = 0.5) -> lightgbm.Booster:
    rounds = ROUNDS if objective == "l1" else ROUNDS // 2
    settings = SETTINGS | {"objective": objective, "alpha": quantile}
    return fitting.boosted(frame, places, truth=frame.truth, rounds=rounds, settings=settings)
