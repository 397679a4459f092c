"""What the trainers of this workload share: a split by time, one way to boost, errors, and calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import cast

import lightgbm
import numpy as np
from numpy.typing import NDArray

from modelkeep import Field, Refused, Signature, TrainingRows, Value, backtest, scored
from modelkeep.workloads.restaurants.columns import Floats, numbers

DAY = 86400.0
Places = NDArray[np.int64]
LEAST_BLOCK = 20
MEASURED = 20_000
PARAMETERS: Mapping[str, object] = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Training rows as a matrix: one column an input in ``fields``' order, categories by their place, unknown NaN."""

    fields: tuple[Field, ...]
    values: Floats
    truth: Floats

    @property
    def names(self) -> list[str]:
        """The inputs' names in order."""
        return [field.name for field in self.fields]

    @property
    def categories(self) -> list[str]:
        """Those of them that are categories."""
        return [field.name for field in self.fields if field.kind == "category"]

    def column(self, name: str) -> Floats:
        """One input."""
        return self.values[:, self.names.index(name)]

    def only(self, names: Sequence[str]) -> "Frame":
        """The same rows with some of the inputs, in their order here."""
        kept = [i for i, name in enumerate(self.names) if name in set(names)]
        return Frame(fields=tuple(self.fields[i] for i in kept), values=self.values[:, kept], truth=self.truth)


def framed(columns: Mapping[str, Sequence[Value]], truth: Sequence[object], *, categories: Sequence[str]) -> Frame:
    """The matrix of columns; the categories are those that occur, and every input may be unknown."""
    fields, values = [], []
    for name, column in columns.items():
        if name in categories:
            known = tuple(sorted({str(value) for value in column if value is not None}))
            place = {value: float(code) for code, value in enumerate(known)}
            values.append(np.array([place.get(str(v), np.nan) if v is not None else np.nan for v in column]))
            fields.append(Field(name=name, kind="category", categories=known, nullable=True))
        else:
            values.append(numbers(column))
            fields.append(Field(name=name, kind="number", nullable=True))
    return Frame(fields=tuple(fields), values=np.column_stack(values), truth=np.asarray(truth, dtype=np.float64))


def signature(frame: Frame, output: Field) -> Signature:
    """What a model of these inputs takes and answers."""
    return Signature(inputs=frame.fields, output=output)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Places of rows to learn from and of later ones to judge by; no label of the first came after ``at``."""

    learn: Places
    judge: Places
    at: float


def by_time(rows: TrainingRows, *, last: float, least: int = 30) -> Split:
    """The rows asked in the ``last`` seconds to judge by, and those whose outcome was told before to learn from.

    When the rows span less than four times ``last``, their newest quarter is judged. Raises Refused when either side
    has fewer than ``least`` rows.
    """
    asked = np.asarray(rows.at)
    told = np.asarray(rows.told or rows.targets or rows.at)
    span = float(asked.max() - asked.min()) if len(asked) else 0.0
    at = float(asked.max()) - min(last, span / 4) if len(asked) else 0.0
    found = Split(learn=np.flatnonzero(told <= at), judge=np.flatnonzero(asked >= at), at=at)
    if min(len(found.learn), len(found.judge)) < least:
        raise Refused(
            f"{len(found.learn)} rows are told before the newest {len(found.judge)} are asked; {least} of each are "
            "needed to learn and to judge",
            remedy="bring a longer past",
        )
    return found


def boosted(
    frame: Frame, places: Places, *, truth: Floats, rounds: int, settings: Mapping[str, object] | None = None
) -> lightgbm.Booster:
    """Trees for ``truth`` (one entry a row of the frame) at some rows; a small table gets smaller leaves."""
    leaf = max(5, min(cast("int", PARAMETERS["min_data_in_leaf"]), len(places) // 50))
    data = lightgbm.Dataset(
        frame.values[places], truth[places], feature_name=frame.names, categorical_feature=frame.categories
    )
    wanted = {**PARAMETERS, "min_data_in_leaf": leaf, **(settings or {})}
    return lightgbm.train(wanted, data, num_boost_round=rounds)


def answers(booster: lightgbm.Booster, frame: Frame, *, places: Places) -> Floats:
    """What trees answer at some rows."""
    return cast("Floats", booster.predict(frame.values[places], num_threads=1))


def rmsle(answer: Floats, truth: Floats) -> float:
    """Root mean squared error of log1p: the measure of the Recruit forecasting competition (2017)."""
    return float(np.sqrt(np.mean((np.log1p(np.maximum(answer, 0)) - np.log1p(truth)) ** 2)))


def errors(answer: Floats, truth: Floats) -> dict[str, float]:
    """MAE, RMSE and R2 (0 = as good as the mean of these rows) in the output's unit."""
    off = answer - truth
    spread = float(np.var(truth))
    found = {"mae": float(np.abs(off).mean()), "rmse": float(np.sqrt(np.mean(off**2)))}
    return found | ({"r2": 1.0 - float(np.mean(off**2)) / spread} if spread else {})


def widening(low: Floats, high: Floats, *, truth: Floats, cover: float) -> float:
    """By how much to move both ends apart so that they cover a share of such rows (CQR).

    Romano, Patterson, Candes, "Conformalized quantile regression" (2019): the (n+1)*cover/n quantile of how far the
    truth lies outside. Negative when the ends were too far apart.
    """
    outside = np.maximum(low - truth, truth - high)
    return float(np.quantile(outside, min(1.0, cover * (1 + 1 / max(len(truth), 1)))))


def steady_widening(low: Floats, high: Floats, *, truth: Floats, blocks: Floats, cover: float) -> float:
    """The same for rows that come in blocks (weeks): what nine of ten blocks need, since whole weeks err together.

    Rows of one week are no independent draws; the pooled quantile covers too little in weeks to come.
    """
    needs = [
        widening(low[blocks == one], high[blocks == one], truth=truth[blocks == one], cover=cover)
        for one in np.unique(blocks)
        if (blocks == one).sum() >= LEAST_BLOCK
    ]
    return float(np.quantile(needs, 0.9)) if len(needs) > 1 else widening(low, high, truth=truth, cover=cover)


def covered(low: Floats, high: Floats, *, truth: Floats) -> float:
    """Share of the truths within."""
    return float(np.mean((truth >= low) & (truth <= high)))


def skill(rows: TrainingRows, places: Places, *, said: Floats) -> dict[str, float]:
    """``skill``: log of the best automatic baseline's mean error by the model's, as production will be judged.

    The baselines know what the newest MEASURED rows had told them when each was asked. Empty when none answered.
    """
    some = places[-MEASURED:]
    asked, truth = [rows.at[i] for i in some], [rows.truth[i] for i in some]
    simple = backtest(
        asked,
        targets=[rows.targets[i] for i in some],
        keys=[rows.keys[i] for i in some],
        truths=truth,
        told=[rows.told[i] for i in some],
    )
    sums = scored(truth, {"model": [*said[-MEASURED:].tolist()], **simple})
    mean = {name: one.loss / one.n for name, one in sums.items() if one.n and one.loss > 0}
    best = min((value for name, value in mean.items() if name != "model"), default=0.0)
    return {"skill": float(np.log(best / mean["model"]))} if best and "model" in mean else {}


def taken(columns: Mapping[str, Sequence[Value]], places: Sequence[int]) -> dict[str, list[Value]]:
    """Some rows of columns."""
    return {name: [values[i] for i in places] for name, values in columns.items()}


def place(name: str) -> Path:
    """Where to write a model file, in a folder of its own."""
    return Path(mkdtemp(prefix="restaurants-")) / name
