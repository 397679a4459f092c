"""Straight lines: one row in plain Python, many by NumPy's product of matrices."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from modelkeep.errors import BadArtifact
from modelkeep.runtimes.runners.forest import Floats
from modelkeep.runtimes.runners.plan import Column, Line, Plan, made


def single(plan: Plan) -> Callable[[Sequence[float]], list[float]] | None:
    """What answers one row without NumPy, its sources as a list; None when the plan's columns are of other kinds.

    Scales are multiplied into the weights. The answer is NaN where a value is missing: then ``many`` must be asked.
    """
    if plan.line is None:
        return None
    weights, begin = plan.line.weights, plan.line.begin.copy()
    columns = plan.columns or tuple(Column(source=place) for place in range(len(plan.sources)))
    straight = np.zeros((len(plan.sources), len(begin)))
    tables: dict[int, dict[float, Floats]] = {}
    for column, weight in zip(columns, weights, strict=True):
        if column.gap or column.table:
            return None
        slope, offset = _scaled(column)
        begin += weight * offset
        if column.equals is None:
            straight[column.source] += weight * slope
        else:
            own = tables.setdefault(column.source, {})
            own[column.equals] = own.get(column.equals, 0.0) + weight * slope
    if tables.keys() & set(np.flatnonzero(straight.any(axis=1)).tolist()):
        return None  # a number that is a category as well
    if len(begin) == 1:
        kinds = {place: {value: float(w[0]) for value, w in table.items()} for place, table in tables.items()}
        return _one(straight[:, 0], kinds, start=float(begin[0]))
    return _several(straight, tables, begin=begin)


def _scaled(column: Column) -> tuple[float, float]:
    """The steps of a column as slope and offset."""
    slope, offset = 1.0, 0.0
    for sign, number in column.steps:
        if sign in "-+":
            offset += number if sign == "+" else -number
        else:
            factor = number if sign == "*" else 1.0 / number
            slope, offset = slope * factor, offset * factor
    return slope, offset


def _one(
    straight: Floats, tables: dict[int, dict[float, float]], *, start: float
) -> Callable[[Sequence[float]], list[float]]:
    parts = [(place, weight) for place, weight in enumerate(straight.tolist()) if place not in tables]
    kinds = list(tables.items())

    def answer(row: Sequence[float]) -> list[float]:
        total = start
        for place, weight in parts:
            total += weight * row[place]
        for place, table in kinds:
            value = row[place]
            total += math.nan if math.isnan(value) else table.get(value, 0.0)
        return [total]

    return answer


def _several(
    straight: Floats, tables: dict[int, dict[float, Floats]], *, begin: Floats
) -> Callable[[Sequence[float]], list[float]]:
    nothing = np.zeros_like(begin)

    def answer(row: Sequence[float]) -> list[float]:
        total = begin + np.asarray(row) @ straight
        for place, table in tables.items():
            value = row[place]
            total = total + (math.nan if math.isnan(value) else table.get(value, nothing))
        found: list[float] = total.tolist()
        return found

    return answer


def _straight(plan: Plan, line: Line) -> Callable[[Floats], Floats]:
    """Rows of numbers times weights that have the scales in them."""
    weights, begin = line.weights, line.begin
    if plan.columns:
        weights, begin = np.zeros((len(plan.sources), len(line.begin))), line.begin.copy()
        for column, weight in zip(plan.columns, line.weights, strict=True):
            slope, offset = _scaled(column)
            begin += weight * offset
            weights[column.source] += weight * slope

    def answer(table: Floats) -> Floats:
        found: Floats = table @ weights + begin
        return found

    return answer


def many(plan: Plan) -> Callable[[Floats], Floats]:
    """What answers the sums of many rows, of shape (rows, outputs). Raises BadArtifact for a plan without a line."""
    if plan.line is None:
        raise BadArtifact("the plan has no line")
    line = plan.line
    if not any(c.fill is not None or c.gap or c.equals is not None or c.table for c in plan.columns):
        return _straight(plan, line)

    def answer(table: Floats) -> Floats:
        numbers = made(plan.columns, table) if plan.columns else table
        found: Floats = numbers @ line.weights + line.begin
        return found

    return answer
