"""Trains churn and lifetime value: trees on purchases, judged by later looks whose labels began after the learning's.

Rivals are the rules that people use: how long ago the last purchase was (churn), and what was spent so far at its own
pace (value). Probabilities are calibrated by isotonic regression on the judged looks (Zadrozny and Elkan, 2002).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import lightgbm
import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from modelkeep import Ensemble, Member, Refused, Trained, TrainingRows, Value, pack_ensemble
from modelkeep.workloads.restaurants import fitting
from modelkeep.workloads.restaurants.columns import Floats
from modelkeep.workloads.restaurants.customers import CHURN, VALUE, WORTH
from modelkeep.workloads.restaurants.fitting import Frame, Places, Split

LOOKS = 12
"""So many of the newest looks are learnt from."""
ROUNDS = 150
SETTINGS = {"num_leaves": 15, "learning_rate": 0.04, "lambda_l2": 10.0}
STEPS = 40
SAMPLE = 20_000


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the judged looks said of the model and of the rules that people use."""

    metrics: dict[str, float]
    rivals: dict[str, dict[str, float]]
    note: str


def train_churn(rows: TrainingRows) -> Trained:
    """Train on rows as ``customers.prepare_churn`` makes them.

    Returns:
        Trees that answer whether a customer stays away, with a calibrated probability; ``auc``, ``average_precision``
        (of coming back) and ``brier`` on a look not learnt from, beside those of the recency rule.

    Raises:
        Refused: When there are too few looks, or all customers did the same.
    """
    rows = newest(rows)
    frame = fitting.framed(rows.columns, [float(bool(value)) for value in rows.truth], categories=())
    split = by_look(rows)
    real = frame.truth[split.judge]
    if len(set(frame.truth[split.learn].tolist())) < 2 or len(set(real.tolist())) < 2:
        raise Refused("all customers did the same: there is nothing to tell apart", remedy="bring a longer past")
    early = _fit(frame, split.learn, objective="binary")
    said = fitting.answers(early, frame, places=split.judge)
    recency = frame.column("recency_days")[split.judge]
    curve = IsotonicRegression(out_of_bounds="clip", y_min=0.0, y_max=1.0).fit(said, real)
    metrics = {
        "auc": float(roc_auc_score(real, said)),
        "average_precision": float(average_precision_score(1 - real, 1 - said)),
        "brier": float(brier_score_loss(real, said)),
    }
    rule = {
        "auc": float(roc_auc_score(real, recency)),
        "average_precision": float(average_precision_score(1 - real, -recency)),
    }
    final = _fit(frame, np.arange(len(frame.truth)), objective="binary")
    file = Ensemble(members=(_member(final, frame),), weights={"trees": 1.0}, link="logit", calibrated=_curve(curve))
    said_rule = f"recency {rule['auc']:.3f} and {rule['average_precision']:.3f}"
    note = f"AUC {metrics['auc']:.3f}, average precision {metrics['average_precision']:.3f} on later looks; {said_rule}"
    verdict = "" if metrics["auc"] > rule["auc"] else "below baseline; "
    judged = Verdict(metrics=metrics, rivals={"recency": rule}, note=verdict + note)
    return _trained(rows, frame, file=file, split=split, verdict=judged)


def train_value(rows: TrainingRows) -> Trained:
    """Train on rows as ``customers.prepare_value`` makes them.

    Returns:
        Trees on spending in 180 days (Tweedie: many spend nothing, few spend much), with an 80 % interval; its errors
        beside those of the own pace so far and of the mean of all.

    Raises:
        Refused: When there are too few looks.
    """
    rows = newest(rows)
    frame = fitting.framed(rows.columns, rows.truth, categories=())
    split = by_look(rows)
    early = _fit(frame, split.learn, objective="tweedie")
    said, real = fitting.answers(early, frame, places=split.judge), frame.truth[split.judge]
    pace = frame.column("spent") / np.maximum(frame.column("tenure_days") + 1, 30.0) * VALUE
    metrics = fitting.errors(said, real)
    mean = np.full(len(real), frame.truth[split.learn].mean())
    rivals = {"own_pace": fitting.errors(pace[split.judge], real), "mean": fitting.errors(mean, real)}
    ends = [_fit(frame, split.learn, objective="quantile", quantile=q) for q in (0.1, 0.9)]
    low, high = (fitting.answers(end, frame, places=split.judge) for end in ends)
    final = _fit(frame, np.arange(len(frame.truth)), objective="tweedie")
    file = Ensemble(
        members=(
            _member(final, frame),
            *(_member(end, frame, name=name) for name, end in zip(("low", "high"), ends, strict=True)),
        ),
        weights={"trees": 1.0},
        low_member="low",
        high_member="high",
        widen=max(0.0, fitting.widening(low, high, truth=real, cover=0.8)),
        floor=0.0,
    )
    note = f"MAE {metrics['mae']:.2f} in 180 days on later looks, own pace {rivals['own_pace']['mae']:.2f}"
    verdict = "" if metrics["mae"] < min(found["mae"] for found in rivals.values()) else "below baseline; "
    judged = Verdict(metrics=metrics, rivals=rivals, note=verdict + note)
    return _trained(rows, frame, file=file, split=split, verdict=judged)


def newest(rows: TrainingRows) -> TrainingRows:
    """The rows of the newest looks."""
    at = np.asarray(rows.at)
    grid = np.unique(at)
    kept = np.flatnonzero(at >= grid[-LOOKS:].min(initial=np.inf)).tolist()
    return TrainingRows(
        columns=fitting.taken(rows.columns, kept),
        truth=[rows.truth[i] for i in kept],
        keys=[rows.keys[i] for i in kept],
        at=[rows.at[i] for i in kept],
        targets=[rows.targets[i] for i in kept],
        told=[rows.told[i] for i in kept],
    )


def by_look(rows: TrainingRows) -> Split:
    """The newest look judges; learnt from are the looks whose labels were told before it. Raises Refused for none."""
    at, told = np.asarray(rows.at), np.asarray(rows.told)
    last = float(at.max(initial=0.0))
    found = Split(learn=np.flatnonzero(told <= last), judge=np.flatnonzero(at == last), at=last)
    if min(len(found.learn), len(found.judge)) < 30:
        raise Refused(
            f"{len(found.learn)} rows are told before the newest look of {len(found.judge)} customers; 30 are needed",
            remedy="bring a longer past, or more customers",
        )
    return found


def _fit(frame: Frame, places: Places, *, objective: str, quantile: float = 0.5) -> lightgbm.Booster:
    settings = SETTINGS | {"objective": objective, "alpha": quantile}
    return fitting.boosted(frame, places, truth=frame.truth, rounds=ROUNDS, settings=settings)


def _member(booster: lightgbm.Booster, frame: Frame, *, name: str = "trees") -> Member:
    return Member(name=name, runtime="lightgbm", data=booster.model_to_string().encode(), columns=tuple(frame.names))


def _curve(fitted: IsotonicRegression) -> tuple[tuple[float, float], ...]:
    """Said and calibrated probability at some places, both rising."""
    said = np.linspace(0.0, 1.0, STEPS + 1)
    found: Floats = np.clip(fitted.predict(said), 1e-3, 1 - 1e-3)
    return tuple(zip(said.tolist(), found.tolist(), strict=True))


def _trained(rows: TrainingRows, frame: Frame, *, file: Ensemble, split: Split, verdict: Verdict) -> Trained:
    output = CHURN if file.link == "logit" else WORTH
    columns: dict[str, Sequence[Value]] = {
        **rows.columns,
        output.name: rows.truth,
        "entity": rows.keys,
        "asked": rows.at,
    }
    return Trained(
        path=pack_ensemble(file, fitting.place(f"{output.name}.ensemble")),
        runtime="ensemble",
        metrics=verdict.metrics,
        rivals=verdict.rivals,
        sample=fitting.taken(columns, split.judge[:: max(1, len(split.judge) // SAMPLE)].tolist()),
        key="entity",
        time="asked",
        signature=fitting.signature(frame, output),
        split="time",
        note=verdict.note,
    )
