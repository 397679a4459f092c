"""Trains the hourly orders: Poisson trees on level and profile, averaged with the simple forecast where that helps."""

from collections.abc import Sequence

import lightgbm
import numpy as np

from modelkeep import Ensemble, Linear, Member, Trained, TrainingRows, Value, linear_bytes, pack_ensemble
from modelkeep.workloads.restaurants import fitting
from modelkeep.workloads.restaurants.columns import Floats
from modelkeep.workloads.restaurants.fitting import DAY, Frame, Places
from modelkeep.workloads.restaurants.hourly import CATEGORIES, OUTPUT

JUDGED = 90 * DAY
ROUNDS = 120
SETTINGS = {"objective": "poisson", "num_leaves": 15, "learning_rate": 0.04, "lambda_l2": 5.0}
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
FEWEST = 0.02
"""Orders an hour below which no answer goes: a forecast of none at all makes one order infinitely surprising."""
COVER = 0.8
SAMPLE = 20_000
RIVALS = {"same_hour_last_week": "slot_last", "ewma": "usual", "level_times_profile": "level_times_profile"}
DEVIANCE = "poisson_deviance"


def deviance(answer: Floats, truth: Floats) -> float:
    """Mean Poisson deviance, 2 (y log(y/m) - y + m): 0 is perfect (McCullagh and Nelder, 1989)."""
    mean = np.maximum(answer, FEWEST)
    log = np.where(truth > 0, truth * np.log(np.maximum(truth, 1e-12) / mean), 0.0)
    return float(2 * np.mean(log - truth + mean))


def train(rows: TrainingRows) -> Trained:
    """Train on rows as ``hourly.prepare`` makes them.

    Returns:
        Trees and the simple forecast, weighed by the newest 90 days, with an 80 % interval for each hour's orders;
        the metrics of those days (``poisson_deviance``, ``mae``, ``coverage``, and the baselines').

    Raises:
        Refused: When there are too few hours to learn and to judge.
    """
    frame = fitting.framed(rows.columns, rows.truth, categories=CATEGORIES)
    split = fitting.by_time(rows, last=JUDGED, least=100)
    trees, usual = frame.only([n for n in frame.names if n != "restaurant"]), _usual(frame)
    early = fitting.boosted(trees, split.learn, truth=frame.truth, rounds=ROUNDS, settings=SETTINGS)
    said, real = fitting.answers(early, trees, places=split.judge), frame.truth[split.judge]
    share = min(SHARES, key=lambda w: deviance(w * said + (1 - w) * usual[split.judge], real))
    answer = share * said + (1 - share) * usual[split.judge]
    metrics = {DEVIANCE: deviance(answer, real), **fitting.errors(answer, real)}
    metrics |= fitting.skill(rows, split.judge, said=answer)
    rivals = {name: _measured(_rival(frame, column, usual=usual)[split.judge], real)
              for name, column in RIVALS.items()}  # fmt: skip
    ends = [_end(trees, split.learn, quantile=q) for q in ((1 - COVER) / 2, (1 + COVER) / 2)]
    low, high = (fitting.answers(end, trees, places=split.judge) for end in ends)
    weeks, half = np.asarray(rows.at)[split.judge] // (7 * DAY), len(real) // 2
    first = fitting.steady_widening(low[:half], high[:half], truth=real[:half], blocks=weeks[:half], cover=COVER)
    metrics["coverage"] = fitting.covered(low[half:] - first, high[half:] + first, truth=real[half:])
    final = fitting.boosted(trees, np.arange(len(usual)), truth=frame.truth, rounds=ROUNDS, settings=SETTINGS)
    file = Ensemble(
        members=(
            *(_member(name, booster, trees=trees) for name, booster in zip(("low", "high"), ends, strict=True)),
            _member("trees", final, trees=trees),
            simple(float(frame.truth.mean())),
        ),
        weights={"trees": share, "usual": 1 - share},
        low_member="low",
        high_member="high",
        widen=fitting.steady_widening(low, high, truth=real, blocks=weeks, cover=COVER),
        floor=0.0,
    )
    return _trained(rows, frame, file=file, judge=split.judge, metrics=metrics, rivals=rivals)


def train_calendar(rows: TrainingRows) -> Trained:
    """Train on rows as ``hourly.prepare_calendar`` makes them: what a first model of the calendar alone would be.

    Raises:
        Refused: When there are too few hours to learn and to judge.
    """
    frame = fitting.framed(rows.columns, rows.truth, categories=CATEGORIES)
    split = fitting.by_time(rows, last=JUDGED, least=100)
    early = fitting.boosted(frame, split.learn, truth=frame.truth, rounds=ROUNDS, settings=SETTINGS)
    said, real = fitting.answers(early, frame, places=split.judge), frame.truth[split.judge]
    flat = np.full(len(real), frame.truth[split.learn].mean())
    metrics = {
        DEVIANCE: deviance(said, real),
        **fitting.errors(said, real),
        **fitting.skill(rows, split.judge, said=said),
    }
    final = fitting.boosted(frame, np.arange(len(rows.truth)), truth=frame.truth, rounds=ROUNDS, settings=SETTINGS)
    file = Ensemble(members=(_member("trees", final, trees=frame),), weights={"trees": 1.0}, floor=0.0)
    rivals = {"mean": _measured(flat, real)}
    return _trained(rows, frame, file=file, judge=split.judge, metrics=metrics, rivals=rivals)


def simple(mean: float) -> Member:
    """The simple forecast as a member: the input ``usual``, or the mean of everything before anything was known."""
    line = Linear(intercept=0.0, coefficients={"usual": 1.0}, means={"usual": mean})
    return Member(name="usual", runtime="linear", data=linear_bytes(line), columns=("usual",))


def _usual(frame: Frame) -> Floats:
    usual = frame.column("usual")
    return np.where(np.isnan(usual), float(frame.truth.mean()), usual)


def _rival(frame: Frame, column: str, *, usual: Floats) -> Floats:
    known = frame.column(column)
    return np.where(np.isnan(known), usual, known)


def _end(trees: Frame, places: Places, *, quantile: float) -> lightgbm.Booster:
    settings = SETTINGS | {"objective": "quantile", "alpha": quantile}
    return fitting.boosted(trees, places, truth=trees.truth, rounds=ROUNDS, settings=settings)


def _member(name: str, booster: lightgbm.Booster, *, trees: Frame) -> Member:
    return Member(name=name, runtime="lightgbm", data=booster.model_to_string().encode(), columns=tuple(trees.names))


def _measured(answer: Floats, truth: Floats) -> dict[str, float]:
    return {DEVIANCE: deviance(answer, truth), "mae": float(np.abs(answer - truth).mean())}


def _trained(
    rows: TrainingRows,
    frame: Frame,
    *,
    file: Ensemble,
    judge: Places,
    metrics: dict[str, float],
    rivals: dict[str, dict[str, float]],
) -> Trained:
    said = ", ".join(f"{name.replace('_', ' ')} {found[DEVIANCE]:.3f}" for name, found in rivals.items())
    verdict = "" if metrics[DEVIANCE] < min(found[DEVIANCE] for found in rivals.values()) else "below baseline; "
    columns: dict[str, Sequence[Value]] = {**rows.columns, "orders": rows.truth, "entity": rows.keys, "asked": rows.at}
    return Trained(
        path=pack_ensemble(file, fitting.place("hourly.ensemble")),
        runtime="ensemble",
        metrics=metrics,
        rivals=rivals,
        sample=fitting.taken(columns, judge[:: max(1, len(judge) // SAMPLE)].tolist()),
        key="entity",
        time="asked",
        signature=fitting.signature(frame, OUTPUT),
        split="time",
        note=f"{verdict}Poisson deviance {metrics[DEVIANCE]:.3f} on the newest days, {said}",
    )
