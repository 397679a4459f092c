"""Trains the daily demand: one model for all restaurants, gated for each by its own simple forecast.

LightGBM on log1p(visitors) learns from every restaurant at once (Montero-Manso and Hyndman, "Principles and algorithms
for forecasting groups of time series", 2021). Its rival is the exponentially weighted mean of the same weekday. On the
newest eight weeks, which it has not seen, the two are compared for each restaurant: where the rival was better, a
blend of both answers that was no worse than the rival there, so nobody is served worse than by the simple rule. It is
the blend with the most of the model: what one restaurant shows in eight weeks is mostly chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lightgbm
import numpy as np

from modelkeep import Ensemble, Linear, Member, Trained, TrainingRows, Value, linear_bytes, pack_ensemble
from modelkeep.workloads.restaurants import fitting
from modelkeep.workloads.restaurants.columns import Floats, codes
from modelkeep.workloads.restaurants.daily import CALENDAR, CATEGORIES, OUTPUT
from modelkeep.workloads.restaurants.fitting import DAY, Frame, Places, Split

JUDGED = 56 * DAY
ROUNDS, END_ROUNDS = 250, 120
COVER = 0.8
END_ROWS = 80_000
SAMPLE = 20_000
COLD = 0.03
"""Share of the rows that are also learnt as if the restaurant had no past."""
BLENDS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
DRAWN = 80.0
LEAST_DAYS = 7
"""Judged days that a restaurant needs for a verdict of its own."""
WITHOUT_PAST = frozenset({*CALENDAR, "horizon", "reserved"})
PRIORS = ("peers_weekday_4", "peers_level_28", "all_weekday_4", "all_level_28", "all_level_7")
RIVALS: Mapping[str, str] = {"seasonal_naive": "weekday_last", "ewma": "usual", "mean_of_8_weeks": "weekday_mean_8"}
"""The named baselines and the input that is their answer (log1p); where it is unknown, ``usual`` stands in."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the newest days said: errors, the interval's ends and how far to widen them, and each gated blend."""

    metrics: dict[str, float]
    rivals: dict[str, dict[str, float]]
    ends: tuple[lightgbm.Booster, lightgbm.Booster]
    widen: float
    blends: dict[str, float]
    levels: dict[str, float]


def train(rows: TrainingRows) -> Trained:
    """Train on rows as ``daily.prepare`` makes them.

    Returns:
        An ensemble in log1p link with an 80 % interval, its metrics on the newest 56 days (``rmsle``, ``mae``,
        ``coverage``, ...) and those of the baselines, and these days as reference.

    Raises:
        Refused: When there are too few days to learn and to judge.
    """
    frame = fitting.framed(rows.columns, rows.truth, categories=CATEGORIES)
    split = fitting.by_time(rows, last=JUDGED)
    judged = judge(frame, split, rows=rows)
    final = fit(trees_of(frame), np.arange(len(frame.truth)))
    return Trained(
        path=pack_ensemble(ensemble(frame, final, judged=judged), fitting.place("demand.ensemble")),
        runtime="ensemble",
        metrics=judged.metrics,
        rivals=judged.rivals,
        sample=_sample(rows, split.judge),
        key="entity",
        time="asked",
        signature=fitting.signature(frame, OUTPUT),
        split="time",
        note=_note(judged),
    )


def judge(frame: Frame, split: Split, *, rows: TrainingRows) -> Judged:
    """Learn from the earlier rows and answer the later ones: first half to calibrate on, second half to count."""
    trees, truth = trees_of(frame), np.log1p(frame.truth)
    point = fit(trees, split.learn)
    said = fitting.answers(point, trees, places=split.judge)
    usual = filled_usual(frame)[split.judge]
    real = truth[split.judge]
    ends = fit_ends(trees, split.learn)
    low, high = (fitting.answers(end, trees, places=split.judge) for end in ends)
    half = len(real) // 2
    weeks = np.asarray(rows.at)[split.judge] // (7 * DAY)
    first = fitting.steady_widening(low[:half], high[:half], truth=real[:half], blocks=weeks[:half], cover=COVER)
    mine = [rows.keys[i] for i in split.judge]
    off = levels(real - said, mine)
    corrected = said + np.array([off[key] for key in mine])
    blends = gate(corrected, usual, real=real, keys=mine)
    metrics = {"rmsle": _distance(said, real), **fitting.errors(np.expm1(said), frame.truth[split.judge])}
    metrics["coverage"] = fitting.covered(low[half:] - first, high[half:] + first, truth=real[half:])
    metrics |= {"gated": float(len(blends)), **fitting.skill(rows, split.judge, said=np.expm1(said))}
    rivals = {}
    for name, column in RIVALS.items():
        known = frame.column(column)[split.judge]
        rival = np.where(np.isnan(known), usual, known)
        mae = float(np.abs(np.expm1(rival) - frame.truth[split.judge]).mean())
        rivals[name] = {"rmsle": _distance(rival, real), "mae": mae}
    widen = fitting.steady_widening(low, high, truth=real, blocks=weeks, cover=COVER)
    return Judged(metrics=metrics, rivals=rivals, ends=ends, widen=widen, blends=blends, levels=off)


def _distance(answer: Floats, truth: Floats) -> float:
    return float(np.sqrt(np.mean((answer - truth) ** 2)))


def levels(missed: Floats, keys: list[str]) -> dict[str, float]:
    """By how much each restaurant was above its forecast in log1p, drawn to 0 as if it had DRAWN more days of none."""
    rows, who = codes(keys)
    off = np.bincount(rows, missed, len(who)) / (np.bincount(rows, minlength=len(who)) + DRAWN)
    return dict(zip(who, off.tolist(), strict=True))


def gate(said: Floats, usual: Floats, *, real: Floats, keys: list[str]) -> dict[str, float]:
    """The model's share in the answer for each restaurant where it alone was worse than the simple forecast.

    >>> zero = np.zeros(8)
    >>> gate(zero + 1.0, zero, real=zero, keys=["a"] * 8)
    {'a': 0.0}
    """
    rows, who = codes(keys)
    lost = np.stack([np.bincount(rows, (w * said + (1 - w) * usual - real) ** 2, len(who)) for w in BLENDS])
    count = np.bincount(rows, minlength=len(who))
    worse = (lost[0] > lost[-1]) & (count >= LEAST_DAYS)
    most = (lost <= lost[-1]).argmax(axis=0)  # the first blend, from all model down, that is no worse
    return {who[i]: BLENDS[most[i]] for i in np.flatnonzero(worse)}


def trees_of(frame: Frame) -> Frame:
    """What the trees see: all but who it is, so that they answer for a new restaurant, too."""
    return frame.only([name for name in frame.names if name not in {"restaurant", "usual"}])


def filled_usual(frame: Frame) -> Floats:
    """The simple forecast; before anything at all was known, the mean of everything."""
    usual = frame.column("usual")
    return np.where(np.isnan(usual), float(np.log1p(frame.truth).mean()), usual)


def fit(trees: Frame, places: Places) -> lightgbm.Booster:
    """The point forecast in log1p, learnt from these rows and from some of them without their past."""
    both = with_cold(trees, places)
    return fitting.boosted(both, np.arange(len(both.truth)), truth=both.truth, rounds=ROUNDS)


def fit_ends(trees: Frame, places: Places) -> tuple[lightgbm.Booster, lightgbm.Booster]:
    """The 10 % and the 90 % quantile in log1p, learnt from at most a fixed number of rows."""
    both = with_cold(trees, np.random.default_rng(2).permutation(places)[:END_ROWS])
    low, high = (
        fitting.boosted(
            both,
            np.arange(len(both.truth)),
            truth=both.truth,
            rounds=END_ROUNDS,
            settings={"objective": "quantile", "alpha": share, "learning_rate": 0.08},
        )
        for share in ((1 - COVER) / 2, (1 + COVER) / 2)
    )
    return low, high


def with_cold(trees: Frame, places: Places) -> Frame:
    """Rows with their truth in log1p, and some of them again as if the restaurant had no past.

    Those know neither genre nor area: in a small fleet these name the restaurant, which a new one's never do.
    """
    cold = np.random.default_rng(1).choice(places, max(1, round(COLD * len(places))), replace=False)
    blind = trees.values[cold].copy()
    blind[:, [i for i, name in enumerate(trees.names) if name not in WITHOUT_PAST and name not in PRIORS]] = np.nan
    return Frame(
        fields=trees.fields,
        values=np.concatenate([trees.values[places], blind]),
        truth=np.log1p(np.concatenate([trees.truth[places], trees.truth[cold]])),
    )


def ensemble(frame: Frame, final: lightgbm.Booster, *, judged: Judged) -> Ensemble:
    """The point forecast, the simple forecast that takes its place for gated restaurants, and the interval's ends."""
    columns = tuple(trees_of(frame).names)
    boosters = {"trees": final, "low": judged.ends[0], "high": judged.ends[1]}
    members = [
        Member(name=name, runtime="lightgbm", data=booster.model_to_string().encode(), columns=columns)
        for name, booster in boosters.items()
    ]
    return Ensemble(
        members=(*members, usual_member(frame), _level_member(judged.levels)),
        weights={"trees": 1.0, "level": 1.0},
        link="log1p",
        by="restaurant",
        weights_by={
            name: {"trees": share, "level": share, "usual": 1.0 - share} for name, share in judged.blends.items()
        },
        low_member="low",
        high_member="high",
        widen=judged.widen,
        floor=0.0,
    )


def usual_member(frame: Frame) -> Member:
    """The simple forecast as a member."""
    line = Linear(intercept=0.0, coefficients={"usual": 1.0}, means={"usual": float(np.log1p(frame.truth).mean())})
    return Member(name="usual", runtime="linear", data=linear_bytes(line), columns=("usual",))


def _level_member(off: dict[str, float]) -> Member:
    line = Linear(intercept=0.0, categories={"restaurant": off})
    return Member(name="level", runtime="linear", data=linear_bytes(line), columns=("restaurant",))


def _sample(rows: TrainingRows, places: Places) -> dict[str, list[Value]]:
    step = max(1, len(places) // SAMPLE)
    columns: dict[str, Sequence[Value]] = {
        **rows.columns,
        "visitors": rows.truth,
        "entity": rows.keys,
        "asked": rows.at,
    }
    return fitting.taken(columns, places[::step].tolist())


def _note(judged: Judged) -> str:
    said = judged.metrics["rmsle"]
    rivals = ", ".join(f"{name.replace('_', ' ')} {found['rmsle']:.3f}" for name, found in judged.rivals.items())
    verdict = "" if said < min(found["rmsle"] for found in judged.rivals.values()) else "below baseline; "
    return f"{verdict}RMSLE {said:.3f} on the newest days, {rivals}; {len(judged.blends)} restaurants are gated"
