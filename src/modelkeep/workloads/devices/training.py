"""Prepares and trains ``devices-failure``: the chance that a device fails within 14 days, ranked under an alert budget.

Held out are the newest days; between them and what is learned from lie the 14 days in which labels are not
known yet. The version that is kept is the one that was tested.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from modelkeep import Field, Refused, Signature, Trained, TrainingRows, Value, pack_ensemble
from modelkeep.workloads.devices import labels, ranking
from modelkeep.workloads.devices.budget import BUDGET, average_precision, judged
from modelkeep.workloads.devices.features import features, metrics_of, names_of
from modelkeep.workloads.devices.fleet import Fleet, Floats, fleet_of, known
from modelkeep.workloads.devices.metrics import METRICS
from modelkeep.workloads.devices.readings import column, instant

OUTPUT = "failure"
HELD_OUT = 0.2
LEAST_FAILED = 8
"""Failed devices that learning needs, and with them at least as many that did not fail."""
SEED = 1
_TOLD, _LABEL = "label_time", "label"


def prepare(table: dict[str, list[Value]]) -> TrainingRows:
    """Rows of inputs and truth from a table of readings, oldest first.

    Args:
        table: One metric a row, or one column a metric (any column of numbers); with ``failure`` (1 where a device
            failed), or with ``label`` (0 or 1) and ``label_time`` where the question is answered already.

    Returns:
        Rows keyed by device. The inputs of a row come from readings of its device at or before its moment. Rows whose
        14 days have not passed at the end of the table are left out: nobody knows their label yet.

    Raises BadInput for a table without devices, times, metrics or failures, or with one distinct row.
    """
    fleet = fleet_of(table)
    columns = features(fleet)
    if column(table, (_LABEL,)) and (fleet.source >= 0).all():
        truth, told = _given(table, fleet)
        keep = np.isfinite(truth)
    else:
        truth, told = labels.label(fleet, labels.failures_of(table))
        keep = labels.mature(fleet, end=float(fleet.at.max())) > 0
    order = np.flatnonzero(keep)[np.lexsort((fleet.device[keep], fleet.at[keep]))]
    names = fleet.names
    return TrainingRows(
        columns={name: _values(values[order]) for name, values in columns.items()},
        truth=truth[order].tolist(),
        keys=[names[place] for place in order],
        at=fleet.at[order].tolist(),
        told=told[order].tolist(),
    )


def _given(table: Mapping[str, Sequence[Value]], fleet: Fleet) -> tuple[Floats, Floats]:
    """Truth and the moment it was told, from the table's own columns; NaN where it has none."""
    truth = np.array([np.nan if value is None else float(value) for value in table[_LABEL]])[fleet.source]
    told = fleet.at + labels.HORIZON
    if _TOLD in table:
        given = [table[_TOLD][place] for place in fleet.source]
        told = np.array([np.nan if value is None else instant(value, _TOLD) for value in given])
        truth = np.where(np.isnan(told), np.nan, truth)
    return truth, told


def _values(values: Floats) -> list[Value]:
    return [known(value) for value in values.tolist()]


def train(rows: TrainingRows) -> Trained:
    """Train on labelled device days, and test on the newest fifth of the time.

    Args:
        rows: Inputs as ``prepare`` makes them (or as they were asked for), truth 0 or 1, the device as key.

    Returns:
        The trained file, its metrics and those of the baselines on the same held-out days: ``rule`` (how far the
        metrics moved from the device's usual) and ``isolation_forest``. ``lift`` is the average precision over the
        share of positives; ``accuracy``, ``precision``, ``recall`` and ``f1`` are at the probability that served best
        among the rows that were learned from; ``caught`` and ``budget_precision`` under the alert budget.

    Raises Refused when too few devices failed, before or within the held-out days.
    """
    columns = {name: np.array([np.nan if v is None else float(v) for v in vs]) for name, vs in rows.columns.items()}
    truth, at = np.array(rows.truth, dtype=np.float64), np.array(rows.at)
    devices = np.array(rows.keys, dtype=object)
    learned, tested = split(at, truth)
    _refuse_few(devices[learned & (truth == 1)], devices[learned])
    model = ranking.fit(_at(columns, learned), truth[learned], devices=devices[learned].tolist(), seed=SEED)
    held = _at(columns, tested)
    chance = model.chance(held)
    metrics = _metrics(
        chance, truth[tested], at=at[tested], devices=devices[tested].tolist(), threshold=model.threshold
    )
    rivals = {
        "rule": _ranks(rule(held), truth[tested], at=at[tested], devices=devices[tested].tolist()),
        "isolation_forest": _ranks(
            model.forest_score(held), truth[tested], at=at[tested], devices=devices[tested].tolist()
        ),
    }
    path = Path(tempfile.mkdtemp(prefix="devices-")) / "failure.zip"
    pack_ensemble(model.ensemble(), path)
    metrics["threshold"] = model.threshold
    return Trained(
        path=path,
        runtime="ensemble",
        signature=signature(rows.columns),
        metrics={name: value for name, value in metrics.items() if np.isfinite(value)},
        rivals={name: {k: v for k, v in found.items() if np.isfinite(v)} for name, found in rivals.items()},
        sample=_sample(rows, np.flatnonzero(tested)),
        key="device_id",
        time="asked_at",
        split="time",
        note=_note(metrics, rivals, failed=len(set(devices[learned & (truth == 1)]))),
    )


def split(at: Floats, truth: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows to learn from and rows held out: the newest days, and before them all whose 14 days were over by then.

    Held out is the newest fifth of the time, or, where fewer than a quarter of the positives fall into it (a fleet
    that shrinks), as many days as hold them, up to half of the time.
    """
    first, span = float(at.min()), float(np.ptp(at))
    cut = first + (1 - HELD_OUT) * span
    if truth.any():
        cut = max(min(cut, float(np.quantile(at[truth == 1], 0.75))), first + 0.5 * span)
    return at + labels.HORIZON <= cut, at >= cut


def _refuse_few(failed: NDArray[np.object_], all_devices: NDArray[np.object_]) -> None:
    n, devices = len(set(failed)), len(set(all_devices))
    if n < LEAST_FAILED or devices - n < LEAST_FAILED:
        raise Refused(
            f"{n} of {devices} devices failed in the days to learn from; {LEAST_FAILED} failed ones and as many sound "
            "ones are needed",
            remedy="give more devices or a longer time, and say when devices failed",
        )


def _at(columns: Mapping[str, Floats], rows: NDArray[np.bool_]) -> dict[str, Floats]:
    return {name: values[rows] for name, values in columns.items()}


def rule(columns: Mapping[str, Floats]) -> Floats:
    """The rule that a person would use: the sum over metrics of how far each is from its device's usual."""
    moved = [np.abs(np.nan_to_num(columns[names_of(metric)[-1]])) for metric in metrics_of(columns)]
    found: Floats = np.sum(moved, axis=0)
    return found


def _metrics(
    chance: Floats, truth: Floats, *, at: Floats, devices: Sequence[str], threshold: float
) -> dict[str, float]:
    said = chance >= threshold
    right = float((said & (truth == 1)).sum())
    precision, recall = right / max(float(said.sum()), 1.0), right / max(float(truth.sum()), 1.0)
    rate = float(truth.mean())
    return {
        **_ranks(chance, truth, at=at, devices=devices),
        "lift": average_precision(chance, truth) / rate if rate else float("nan"),
        "brier": float(((chance - truth) ** 2).mean()),
        "brier_rate": rate * (1 - rate),
        "accuracy": float((said == (truth == 1)).mean()),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if right else 0.0,
        "positives": float(truth.sum()),
    }


def _ranks(scores: Floats, truth: Floats, *, at: Floats, devices: Sequence[str]) -> dict[str, float]:
    found = judged(scores, truth, at=at, devices=devices)
    return {
        "average_precision": found.average_precision,
        "caught": float(found.caught),
        "failed_devices": float(found.failures),
        "budget_precision": found.precision,
    }


def _note(metrics: Mapping[str, float], rivals: Mapping[str, Mapping[str, float]], *, failed: int) -> str:
    others = ", ".join(f"{name} {found['caught']:.0f}" for name, found in rivals.items())
    return (
        f"caught {metrics['caught']:.0f} of {metrics['failed_devices']:.0f} failed devices with alarms for "
        f"{BUDGET:.0%} a day ({others}); learned from {failed} failed devices"
    )


def signature(columns: Mapping[str, Sequence[Value]]) -> Signature:
    """What the model takes: every input may be missing. It answers a probability."""
    units = {metric: METRICS[metric].unit for metric in metrics_of(columns) if metric in METRICS}
    return Signature(
        inputs=tuple(Field(name=name, kind="number", unit=units.get(name, ""), nullable=True) for name in columns),
        output=Field(name=OUTPUT, kind="number", unit="probability", low=0.0, high=1.0),
    )


def _sample(rows: TrainingRows, places: NDArray[np.intp]) -> dict[str, list[Value]]:
    columns: dict[str, Sequence[Value]] = {
        **rows.columns,
        OUTPUT: cast("list[Value]", rows.truth),
        "device_id": rows.keys,
        "asked_at": rows.at,
    }
    return {name: [values[i] for i in places] for name, values in columns.items()}
