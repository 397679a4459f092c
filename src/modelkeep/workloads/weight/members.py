"""The members of the ensemble, how they are weighed against each other, and the interval around their answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from modelkeep import Linear
from modelkeep.workloads.weight.fitting import (
    LINE,
    PENALTIES,
    TREES,
    Floats,
    Mask,
    Objects,
    fit_tables,
    fit_trees,
    inputs_of,
    matrix,
    per_object,
)

NAMES = ("physics", "balanced", "ridge", "trees")
SLOPE = 0.05
"""The ridge's penalty of a slope, in objects; a category's stand in ``fitting.PENALTIES``."""
LEAST_PAIRS = 5
"""So many objects with two views make trees of their own for them worth it."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Tables and members fitted on one set of objects."""

    tables: dict[str, Any]
    line: Linear
    trees: lightgbm.Booster
    paired: lightgbm.Booster

    def answers(self, rows: Sequence[Mapping[str, Any]]) -> Floats:
        """What every member answers for inputs, as logs of grams; shape (rows, members).

        ``paired`` answers as ``trees`` where there are two views.
        """
        table = matrix(rows, TREES)
        both = np.array([row["kind"] == "both" for row in rows])
        trees = np.asarray(self.trees.predict(table, num_threads=1))
        paired = np.asarray(self.paired.predict(table, num_threads=1)) if both.any() else trees
        plain = matrix(rows, ("physics", "balanced"))
        return np.column_stack((plain, _line_answers(self.line, rows), np.where(both, paired, trees)))


def fit(data: Objects, take: Mask) -> Fitted:
    """Tables, ridge and trees from the rows that ``take`` picks."""
    tables = fit_tables(data, take)
    sized = take & np.isfinite(data.volume)
    use = sized if sized.any() else take
    rows = inputs_of(data, use, tables=tables)
    both = data.kinds[use] == "both"
    trees = paired = _trees(data, rows, places=np.flatnonzero(use), mine=~both if not both.all() else both)
    if not both.all() and len(np.unique(data.groups[use][both])) >= LEAST_PAIRS:
        paired = _trees(data, rows, places=np.flatnonzero(use), mine=both)
    return Fitted(
        tables=tables, line=_ridge(rows, data.truth[use], groups=data.groups[use]), trees=trees, paired=paired
    )


def _trees(
    data: Objects, rows: Sequence[Mapping[str, Any]], *, places: NDArray[np.intp], mine: Mask
) -> lightgbm.Booster:
    picked = [row for row, wanted in zip(rows, mine.tolist(), strict=True) if wanted]
    return fit_trees(picked, data.truth[places[mine]], groups=data.groups[places[mine]])


def _ridge(rows: Sequence[Mapping[str, Any]], truth: Floats, *, groups: NDArray[np.int64]) -> Linear:
    """Ridge regression of log weights on log sizes and categories (Hoerl and Kennard 1970); an object counts once."""
    plain = matrix(rows, LINE)
    means = np.array([float(np.nanmean(c)) if np.isfinite(c).any() else 0.0 for c in plain.T])
    plain = np.where(np.isnan(plain), means, plain)
    spread = plain.std(axis=0)
    spread = np.where(spread < 1e-9, 1.0, spread)
    names = {column: sorted({str(row[column]) for row in rows}) for column in PENALTIES}
    parts = [(plain - means) / spread]
    penalty = [np.full(len(LINE), SLOPE)]
    for column, values in names.items():
        place = {value: i for i, value in enumerate(values)}
        block = np.zeros((len(rows), len(values)))
        block[np.arange(len(rows)), [place[str(row[column])] for row in rows]] = 1.0
        parts.append(block)
        penalty.append(np.full(len(values), PENALTIES[column]))
    design = np.column_stack(parts)
    weight = per_object(groups) * len(np.unique(groups)) / len(groups)
    middle = float(np.average(truth, weights=weight))
    weighted = design * weight[:, None]
    solved = np.linalg.solve(weighted.T @ design + np.diag(np.concatenate(penalty)), weighted.T @ (truth - middle))
    slopes = solved[: len(LINE)] / spread
    categories: dict[str, dict[str, float]] = {}
    at = len(LINE)
    for column, values in names.items():
        categories[column] = dict(zip(values, solved[at : at + len(values)].tolist(), strict=True))
        at += len(values)
    # The trust weighs nothing; among the inputs of an explanation it tells what an answer stands on.
    categories["trust"] = dict.fromkeys(sorted({str(row["trust"]) for row in rows} | {"new", "listed", "scale"}), 0.0)
    return Linear(
        intercept=middle - float(slopes @ means),
        coefficients=dict(zip(LINE, slopes.tolist(), strict=True)),
        categories=categories,
        means=dict(zip(LINE, means.tolist(), strict=True)),
    )


def _line_answers(line: Linear, rows: Sequence[Mapping[str, Any]]) -> Floats:
    plain = matrix(rows, LINE)
    means = np.array([line.means[name] for name in LINE])
    found = line.intercept + np.where(np.isnan(plain), means, plain) @ np.array([line.coefficients[n] for n in LINE])
    for column, table in line.categories.items():
        found = found + np.array([table.get(str(row[column]), 0.0) for row in rows])
    return np.asarray(found)
