"""The model ``drilling-life``: how much longer a machine runs, from its channels, whatever they are called.

Inputs of each channel: mean of the last 15 rows, trend over 15, 30 and 60 rows, and change of the mean since the
machine's own first 20 rows; and the machine's age. The answer is min(remaining life, 125) (the piecewise target of
Heimes 2008), in the table's own count (cycles) or hours; health is 100 x answer / 125, smoothed.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import lightgbm
import numpy as np
from numpy.typing import NDArray

from modelkeep import Ensemble, Field, Member, Refused, Signature, Trained, TrainingRows, Value, pack_ensemble
from modelkeep.workloads.drilling import channels, signals
from modelkeep.workloads.drilling.sessions import Floats

CAP = 125.0
LEAST_UNITS = 10
"""Fewer machines that ran to failure teach nothing that would hold for the next one."""
HELD_OUT = 0.3
MISS = 0.1
"""The interval is to miss this share of the truths."""
TREES = 250
PARAMETERS = {
    "objective": "regression",
    "num_leaves": 31,
    "learning_rate": 0.04,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.25,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
QUANTILES = {"objective": "quantile", "num_leaves": 15}
SMOOTH = 0.2


def prepare(table: Mapping[str, Sequence[Value]]) -> TrainingRows:
    """Rows with the inputs of ``signals.features`` and the capped remaining life, oldest first; without a life none.

    The life stands in ``rul`` (or ``remaining_life``, ``label``), or follows from a column ``failed`` that is true at a
    machine's last row. It is known when the machine has failed: at ``label_time``, or the row's moment plus its life.
    Raises BadInput for a table without moment, channels or lives.
    """
    label = channels.find(table, channels.LIVES)
    machines = channels.read(table, leave_out=[label] if label else [])
    life = _lives(table, machines, label=label)
    columns = signals.features(machines)
    scale = 1.0 if machines.counted else 3600.0
    told_by = channels.find(table, channels.TOLD)
    told = channels.moments([table[told_by][i] for i in machines.order])[0] if told_by else machines.at + life * scale
    rows = [int(i) for i in np.argsort(machines.at, kind="stable") if math.isfinite(life[i])]
    return TrainingRows(
        columns={name: [_value(values[i]) for i in rows] for name, values in columns.items()},
        truth=[min(float(life[i]), CAP) for i in rows],
        keys=[machines.keys[i] for i in rows],
        at=[float(machines.at[i]) for i in rows],
        told=[float(told[i]) for i in rows],
        groups=[machines.keys[i] for i in rows],
    )


def health(remaining: Sequence[float]) -> list[float]:
    """Health 0-100 from remaining lives of one machine in time order: 100 x life / 125, exponentially smoothed.

    >>> health([125.0, 0.0])
    [100.0, 80.0]
    """
    found: list[float] = []
    for life in remaining:
        now = 100 * min(max(life, 0.0), CAP) / CAP
        found.append(now if not found else (1 - SMOOTH) * found[-1] + SMOOTH * now)
    return found


def train(rows: TrainingRows) -> Trained:
    """Train on machines that ran to failure; a third of them is held out whole.

    Returns an ensemble of three LightGBM members (answer, low, high) whose interval is conformalised on the held-out
    machines (CQR, Romano et al. 2019), with their error beside the mean life's and a straight line's.
    Raises Refused with fewer than ten machines that failed.
    """
    units = sorted(set(rows.groups or rows.keys))
    if len(units) < LEAST_UNITS:
        raise Refused(
            f"{len(units)} machines ran to failure; remaining life needs {LEAST_UNITS}",
            remedy="score by the rule until more failures are known, or train on a public run-to-failure set",
        )
    names = list(rows.columns)
    inputs = np.column_stack([_floats(rows.columns[name]) for name in names])
    truth = _floats(rows.truth)
    out = held_out(rows.groups or rows.keys)
    first = _boosters(inputs[~out], truth[~out], names=names)
    metrics, widen = _judged(first, inputs[out], truth=truth[out], units=np.array(rows.groups or rows.keys)[out])
    rivals = baselines(rows, out, inputs=inputs)
    path = pack_ensemble(_ensemble(_boosters(inputs, truth, names=names), widen), _path())
    shown = np.flatnonzero(out)
    sample: dict[str, list[Value]] = {name: [rows.columns[name][i] for i in shown] for name in names}
    return Trained(
        path=path,
        runtime="ensemble",
        signature=Signature(inputs=tuple(_input(name) for name in names), output=_output()),
        metrics=metrics,
        rivals=rivals,
        sample={**sample, "remaining_life": [rows.truth[i] for i in shown]},
        split="group",
        note=f"{len(units)} machines, {round(HELD_OUT * 100)} % of them held out; "
        + ", ".join(f"{name} RMSE {rival['rmse']:.1f}" for name, rival in rivals.items()),
    )


def held_out(groups: Sequence[str], seed: int = 1) -> NDArray[np.bool_]:
    """Which rows belong to the machines that are held out: whole ones, drawn by a fixed seed."""
    units = sorted(set(groups))
    drawn = np.random.default_rng(seed).permutation(len(units))[: max(round(HELD_OUT * len(units)), 1)]
    chosen = {units[i] for i in drawn}
    return np.array([group in chosen for group in groups])


def baselines(rows: TrainingRows, out: NDArray[np.bool_], *, inputs: Floats) -> dict[str, dict[str, float]]:
    """The errors of the mean life less the age, and of a straight line through the inputs, on the held-out machines."""
    truth, groups = _floats(rows.truth), np.array(rows.groups or rows.keys)
    age = inputs[:, list(rows.columns).index("age")]
    told = _floats(rows.told or rows.at)
    lives = [told[groups == unit].max() - _floats(rows.at)[groups == unit].min() for unit in set(groups[~out])]
    hours = float(np.mean(lives)) / (1.0 if max(rows.at) < 1e8 else 3600.0)
    return {
        "mean life": _errors(np.clip(hours - age[out], 0, CAP), truth[out]),
        "straight line": _errors(straight(inputs[~out], truth[~out], asked=inputs[out]), truth[out]),
    }


def straight(inputs: Floats, truth: Floats, *, asked: Floats) -> Floats:
    """Answers of a ridge line fitted on standardised inputs (missing = the mean), cut at 0 and the cap."""
    middle, spread = np.nanmean(inputs, axis=0), np.nanstd(inputs, axis=0) + 1e-9
    a = np.nan_to_num((inputs - middle) / spread)
    weights = np.linalg.solve(a.T @ a + 1.0 * np.eye(a.shape[1]), a.T @ (truth - truth.mean()))
    said: Floats = np.nan_to_num((asked - middle) / spread) @ weights + truth.mean()
    return np.clip(said, 0, CAP)


def _boosters(inputs: Floats, truth: Floats, *, names: Sequence[str]) -> dict[str, lightgbm.Booster]:
    wanted = {
        "answer": PARAMETERS,
        "low": PARAMETERS | QUANTILES | {"alpha": MISS / 2},
        "high": PARAMETERS | QUANTILES | {"alpha": 1 - MISS / 2},
    }
    data = lightgbm.Dataset(inputs, truth, feature_name=list(names), free_raw_data=False)
    return {name: lightgbm.train(said, data, num_boost_round=TREES) for name, said in wanted.items()}


def _judged(
    found: Mapping[str, lightgbm.Booster], inputs: Floats, *, truth: Floats, units: NDArray[np.str_]
) -> tuple[dict[str, float], float]:
    """Metrics on held-out machines, and by how much the interval must be widened on them.

    Coverage is told of one half of the machines after calibrating on the other half; the widening in use is of all.
    """
    answer, low, high = (_ask(found[name], inputs) for name in ("answer", "low", "high"))
    missed = np.maximum(low - truth, truth - high)
    names = sorted(set(units))
    first = np.isin(units, names[::2])
    half = _conformal(missed[first])
    cover = float((missed[~first] <= half).mean()) if (~first).any() else math.nan
    metrics = _errors(np.clip(answer, 0, CAP), truth)
    return metrics | ({"coverage": cover} if math.isfinite(cover) else {}), max(_conformal(missed), 0.0)


def _conformal(missed: Floats) -> float:
    level = min((1 - MISS) * (1 + 1 / max(len(missed), 1)), 1.0)
    return float(np.quantile(missed, level))


def _ensemble(found: Mapping[str, lightgbm.Booster], widen: float) -> Ensemble:
    members = tuple(
        Member(name=name, runtime="lightgbm", data=booster.model_to_string().encode())
        for name, booster in found.items()
    )
    return Ensemble(
        members=members, weights={"answer": 1.0}, low_member="low", high_member="high", widen=widen, floor=0.0,
        ceiling=CAP,
    )  # fmt: skip


def _ask(booster: lightgbm.Booster, inputs: Floats) -> Floats:
    return cast("Floats", booster.predict(inputs, num_threads=1))


def _errors(answers: Floats, truth: Floats) -> dict[str, float]:
    return {
        "rmse": float(np.sqrt(((answers - truth) ** 2).mean())),
        "mae": float(np.abs(answers - truth).mean()),
    }


def _lives(table: Mapping[str, Sequence[Value]], machines: channels.Machines, *, label: str) -> Floats:
    if label:
        found = channels.numbers(table[label])
        return np.full(len(machines.order), math.nan) if found is None else found[list(machines.order)]
    flag = channels.place(table, (*channels.LIVES, *channels.FAILURES), what="remaining life or failure")
    failed = np.array([str(table[flag][i]).lower() in {"1", "1.0", "true", "yes"} for i in machines.order])
    life = np.full(len(machines.order), math.nan)
    scale = 1.0 if machines.counted else 3600.0
    for span in machines.spans:
        ends = np.flatnonzero(failed[span])
        if ends.size:
            end = span.start + int(ends[0])
            life[span.start : end + 1] = (machines.at[end] - machines.at[span.start : end + 1]) / scale
    return life


def _input(name: str) -> Field:
    return Field(name=name, kind="number", nullable=True)


def _output() -> Field:
    return Field(name="remaining_life", kind="number", unit="cycles or h", low=0, high=CAP)


def _floats(values: Sequence[Value]) -> Floats:
    return np.array([math.nan if value is None else float(value) for value in values])


def _value(number: float) -> Value:
    return float(number) if math.isfinite(number) else None


def _path() -> Path:
    return Path(tempfile.mkdtemp(prefix="drilling-")) / "life.zip"
