"""The model ``drilling-rate``: what a machine should do at these settings; what it does beyond that is its condition.

The target (rate of penetration, torque, ...) is expected from all other channels of the same row, never from its own
past: a model that followed the target would call a worn bit normal. Trained on a sliding window of the newest rows,
because rock and machine change: half LightGBM (absolute error), half a straight line, both for log(1 + target).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import lightgbm
import msgspec
import numpy as np
from numpy.typing import NDArray

from modelkeep import Ensemble, Field, Member, Refused, Signature, Trained, TrainingRows, Value, pack_ensemble
from modelkeep.workloads.drilling import channels
from modelkeep.workloads.drilling.sessions import Floats

WINDOW = 1500
"""The newest rows that a model is made of: 1,500 ft of hole at a row a foot."""
LEAST = 1000
EARLY = 300
"""So many older rows must have had a known target when the newest fifth was asked, or nothing can be held out."""
HELD_OUT = 0.2
RIDGE = 10.0
TREES = 150
MISS = 0.1
OUTSIDE = 0.5
"""A channel is new when most of its newest values lie outside what was trained on; so many such are too many."""
SPREAD = 0.02
"""A target that varies by less than this share of itself in the window has nothing to learn from."""
PARAMETERS = {
    "objective": "regression_l1",
    "num_leaves": 15,
    "learning_rate": 0.05,
    "min_data_in_leaf": 30,
    "feature_fraction": 0.7,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


def prepare(table: Mapping[str, Sequence[Value]]) -> TrainingRows:
    """Rows of every numeric channel beside the target, oldest first; rows without a target are left out.

    The target stands in ``rop`` (or ``target``, ``label``, ``torque``) and is known at ``label_time`` (else at once).
    Raises BadInput for a table without moment, channels or target.
    """
    label = channels.place(table, TARGETS, what="target")
    machines = channels.read(table, leave_out=[label])
    target = channels.numbers(table[label])
    truth = np.full(len(machines.order), math.nan) if target is None else target[list(machines.order)]
    told_by = channels.find(table, channels.TOLD)
    told = channels.moments([table[told_by][i] for i in machines.order])[0] if told_by else machines.at
    rows = [int(i) for i in np.argsort(machines.at, kind="stable") if math.isfinite(truth[i])]
    columns = {name: machines.values[:, i] for i, name in enumerate(machines.names)}
    return TrainingRows(
        columns={name: [_value(values[i]) for i in rows] for name, values in columns.items()},
        truth=[float(truth[i]) for i in rows],
        keys=[machines.keys[i] for i in rows],
        at=[float(machines.at[i]) for i in rows],
        told=[float(told[i]) for i in rows],
    )


TARGETS = channels.TARGETS


def train(rows: TrainingRows) -> Trained:
    """Train on the newest rows; the newest fifth is held out, and rows whose truth was not yet known then are left out.

    Returns an ensemble with a conformal interval, its error beside the mean's and a straight line's.
    Raises Refused with fewer than LEAST rows, a target that hardly varies, or training rows that do not cover what the
    machine does now.
    """
    order = np.argsort(np.asarray(rows.at), kind="stable")[-WINDOW:]
    names = list(rows.columns)
    inputs = np.column_stack([_floats(rows.columns[name]) for name in names])[order]
    truth, at = _floats(rows.truth)[order], np.asarray(rows.at)[order]
    told = np.asarray(rows.told or rows.at)[order]
    split = round(len(truth) * (1 - HELD_OUT))
    early = np.flatnonzero(told[:split] <= at[split]) if len(truth) > split else np.arange(split)
    _check(inputs, truth, early=early, split=split, names=names)
    first = _fit(inputs[early], truth[early], names=names)
    answers = _answers(first, inputs[split:])
    missed = np.abs(np.log1p(np.maximum(answers, 0)) - np.log1p(np.maximum(truth[split:], 0)))
    half = float(np.quantile(missed, min((1 - MISS) * (1 + 1 / len(missed)), 1.0)))
    rivals = _rivals(inputs, truth, early=early, split=split)
    path = pack_ensemble(_ensemble(_fit(inputs, truth, names=names), half, most=float(truth.max())), _path())
    shown: dict[str, list[Value]] = {name: [rows.columns[name][i] for i in order[split:]] for name in names}
    return Trained(
        path=path,
        runtime="ensemble",
        signature=Signature(
            inputs=tuple(Field(name=name, kind="number", nullable=True) for name in names),
            output=Field(name="rate", kind="number", low=0.0),
        ),
        metrics=_errors(answers, truth[split:]),
        rivals=rivals,
        sample={**shown, "rate": [float(value) for value in truth[split:]]},
        split="time",
        note=f"the newest {len(truth)} rows; " + ", ".join(f"{n} MAE {said['mae']:.2f}" for n, said in rivals.items()),
    )


def _check(inputs: Floats, truth: Floats, *, early: NDArray[np.intp], split: int, names: Sequence[str]) -> None:
    """Refuse a window that cannot tell what the machine should do."""
    if len(truth) < LEAST:
        raise Refused(f"{len(truth)} rows; {LEAST} are needed", remedy="drill on, or give a longer history")
    if len(early) < EARLY:
        raise Refused(
            f"only {len(early)} of the older rows had a known target when the newest fifth was asked",
            remedy="wait until more targets are told",
        )
    spread = float(np.quantile(truth, 0.9) - np.quantile(truth, 0.1))
    if spread < SPREAD * abs(float(np.median(truth))):
        raise Refused(
            f"the target varies by {spread:g} around {np.median(truth):g} in the window: nothing to learn from",
            remedy="train when the machine has worked in more than one way",
        )
    low, high = np.nanmin(inputs[early], axis=0), np.nanmax(inputs[early], axis=0)
    outside = ((inputs[split:] < low) | (inputs[split:] > high)).mean(axis=0)
    new = [name for name, share in zip(names, outside, strict=True) if share > 0.5]
    if len(new) > max(OUTSIDE * len(names), 1):
        raise Refused(
            f"{len(new)} of {len(names)} channels are outside the range of the training rows most of the time: "
            f"{', '.join(new[:5])}",
            remedy="train again when the machine has worked in the new range for longer",
        )


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """A ridge line on log(1 + target); what is missing counts as the column's median."""

    intercept: float
    weights: Floats
    fill: Floats


def _line(inputs: Floats, truth: Floats) -> _Line:
    fill = np.nan_to_num(np.nanmedian(inputs, axis=0))
    x = np.where(np.isfinite(inputs), inputs, fill)
    middle, spread = x.mean(axis=0), x.std(axis=0)
    steady = spread < 1e-9
    scaled = (x - middle) / np.where(steady, 1.0, spread)
    y = np.log1p(np.maximum(truth, 0.0))
    found = np.linalg.solve(scaled.T @ scaled + RIDGE * np.eye(x.shape[1]), scaled.T @ (y - y.mean()))
    weights = np.where(steady, 0.0, found / np.where(steady, 1.0, spread))
    return _Line(intercept=float(y.mean() - weights @ middle), weights=weights, fill=fill)


def _fit(inputs: Floats, truth: Floats, *, names: Sequence[str]) -> tuple[lightgbm.Booster, _Line, Sequence[str]]:
    data = lightgbm.Dataset(inputs, np.log1p(np.maximum(truth, 0.0)), feature_name=list(names))
    return lightgbm.train(PARAMETERS, data, num_boost_round=TREES), _line(inputs, truth), names


def _answers(found: tuple[lightgbm.Booster, _Line, Sequence[str]], inputs: Floats) -> Floats:
    booster, line, _ = found
    trees = cast("Floats", booster.predict(inputs, num_threads=1))
    straight = np.where(np.isfinite(inputs), inputs, line.fill) @ line.weights + line.intercept
    return np.expm1(np.clip(0.5 * trees + 0.5 * straight, 0.0, 20.0))


def _ensemble(found: tuple[lightgbm.Booster, _Line, Sequence[str]], half: float, *, most: float) -> Ensemble:
    booster, line, names = found
    said = {
        "intercept": line.intercept,
        "coefficients": dict(zip(names, line.weights.tolist(), strict=True)),
        "means": dict(zip(names, line.fill.tolist(), strict=True)),
    }
    return Ensemble(
        members=(
            Member(name="trees", runtime="lightgbm", data=booster.model_to_string().encode()),
            Member(name="line", runtime="linear", data=msgspec.json.encode(said), columns=tuple(names)),
        ),
        weights={"trees": 0.5, "line": 0.5}, link="log1p", low=-half, high=half, floor=0.0, ceiling=2 * most,
    )  # fmt: skip


def _rivals(inputs: Floats, truth: Floats, *, early: NDArray[np.intp], split: int) -> dict[str, dict[str, float]]:
    held = truth[split:]
    line = _line(inputs[early], truth[early])
    straight = np.where(np.isfinite(inputs[split:]), inputs[split:], line.fill) @ line.weights + line.intercept
    return {
        "mean": _errors(np.full(len(held), truth[early].mean()), held),
        "straight line": _errors(np.expm1(np.clip(straight, 0.0, 20.0)), held),
    }


def _errors(answers: Floats, truth: Floats) -> dict[str, float]:
    return {
        "mae": float(np.abs(answers - truth).mean()),
        "rmse": float(np.sqrt(((answers - truth) ** 2).mean())),
    }


def _floats(values: Sequence[Value]) -> Floats:
    return np.array([math.nan if value is None else float(value) for value in values])


def _value(number: float) -> Value:
    return float(number) if math.isfinite(number) else None


def _path() -> Path:
    return Path(tempfile.mkdtemp(prefix="drilling-")) / "rate.zip"
