"""Whether features know the future: rows prepared from a table that ends earlier must be the same.

The test is a causal one: cut the raw table at a moment T, prepare it again, and every row asked at or before T must
have the features that it had when the whole table was prepared.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from modelkeep.errors import BadInput, Refused
from modelkeep.nouns import Value
from modelkeep.quantities import iso, moment
from modelkeep.runtimes.training import TrainingRows

CUTS = (0.5, 0.75, 0.9)
"""The cut points, as shares of the raw rows in the order of time."""
MOST = 20_000
"""A larger table is compared on some of its entities, or on its oldest rows."""
NEAR = 1e-9
_NAMES = ("event_time", "timestamp", "time", "moment", "at", "date", "day", "datetime", "visit_date")
_SEEN = 50

Prepare: TypeAlias = Callable[[dict[str, list[Value]]], TrainingRows]
Table: TypeAlias = Mapping[str, Sequence[Value]]


def check(prepare: Prepare, table: Table, *, time: str = "") -> str:
    """Compare rows prepared from the whole table and from the table cut at CUTS; what was compared, in words.

    ``time`` is the column with the moment at which a raw row became known (empty: the first that holds moments).
    Raises Refused naming each feature that knows the future, with an example.
    """
    column = time or time_column(table)
    if not column:
        return "not compared: no column of the table holds moments"
    part = _smaller(table, prepare, moments=moments_of(table[column], column))
    moments = moments_of(part[column], column)
    whole = _by_row(prepare({name: list(values) for name, values in part.items()}))
    ordered, compared = sorted(moments), 0
    for share in CUTS:
        cut = ordered[min(int(share * len(ordered)), len(ordered) - 1)]
        kept = [i for i, at in enumerate(moments) if at <= cut]
        early = _prepared_early(prepare, {name: [values[i] for i in kept] for name, values in part.items()})
        compared += _compare(whole, early, cut=cut)
    return f"{compared:,} rows prepared again from a table that ends earlier are the same"


def time_column(table: Table) -> str:
    """The column that holds the moments of the rows, by its name, else by its values; empty without one."""
    known = [name for name in _NAMES if name in table]
    others = [name for name in table if name not in known and not name.startswith(("label", "told"))]
    return next((name for name in (*known, *others) if _holds_moments(table[name])), "")


def moments_of(values: Sequence[Value], name: str) -> list[float]:
    """Moments as seconds since 1970. Raises BadInput for anything else."""
    found = []
    for value in values:
        if value is None or isinstance(value, bool):
            raise BadInput(f"column {name!r} holds {value!r}, not a moment")
        found.append(float(value) if isinstance(value, int | float) else moment(value, name))
    return found


def _holds_moments(values: Sequence[Value]) -> bool:
    some = list(values[: _SEEN // 2]) + list(values[-(_SEEN // 2) :])
    for value in some:
        if isinstance(value, bool) or value is None:
            return False
        if isinstance(value, int | float):
            if not 1e8 < value < 1e11:
                return False
        else:
            try:
                moment(value)
            except BadInput:
                return False
    return bool(some)


def _smaller(table: Table, prepare: Prepare, *, moments: list[float]) -> dict[str, list[Value]]:
    """At most MOST rows that belong together: those of some entities, where a column names them, else the oldest."""
    if len(moments) <= MOST:
        return {name: list(values) for name, values in table.items()}
    oldest = np.argsort(np.asarray(moments), kind="stable")[:MOST].tolist()
    picked = {name: [values[i] for i in oldest] for name, values in table.items()}
    try:
        keys = set(prepare({name: list(values) for name, values in picked.items()}).keys)
    except Refused:  # the oldest rows alone are of too short a time
        keys = set(prepare({name: list(values) for name, values in table.items()}).keys)
    for values in table.values():
        names = {str(value) for value in values[:1000]}
        if len(keys) > 1 and names and names <= keys | {str(v) for v in values} and keys & names == names:
            return _of_entities(table, values)
    return picked


def _of_entities(table: Table, entities: Sequence[Value]) -> dict[str, list[Value]]:
    counts: dict[Value, int] = {}
    for value in entities:
        counts[value] = counts.get(value, 0) + 1
    chosen, rows = set[Value](), 0
    for value in sorted(counts, key=str):
        if rows + counts[value] > MOST and chosen:
            break
        chosen.add(value)
        rows += counts[value]
    kept = [i for i, value in enumerate(entities) if value in chosen][: 2 * MOST]
    return {name: [values[i] for i in kept] for name, values in table.items()}


Row: TypeAlias = tuple[dict[str, Value], Value, float, float]
"""Features, truth, the moment of the question, and the moment at which the truth is known."""


def _by_row(rows: TrainingRows) -> dict[tuple[str, float, float, int], Row]:
    targets, told = rows.targets or rows.at, rows.told or rows.at
    seen: dict[tuple[str, float, float], int] = {}
    found: dict[tuple[str, float, float, int], Row] = {}
    for i, truth in enumerate(rows.truth):
        name = (rows.keys[i] if rows.keys else "", rows.at[i], targets[i])
        seen[name] = seen.get(name, -1) + 1
        found[(*name, seen[name])] = ({n: v[i] for n, v in rows.columns.items()}, truth, rows.at[i], told[i])
    return found


def _prepared_early(prepare: Prepare, table: dict[str, list[Value]]) -> dict[tuple[str, float, float, int], Row]:
    try:
        return _by_row(prepare(table))
    except Refused:
        return {}  # so early there is too little to prepare, which the recipe says itself


def _compare(
    whole: Mapping[tuple[str, float, float, int], Row],
    early: Mapping[tuple[str, float, float, int], Row],
    *,
    cut: float,
) -> int:
    """How many rows are the same. Raises Refused naming each feature that is not."""
    wrong: dict[str, list[tuple[str, float, Value, Value]]] = {}
    compared = 0
    for name, (features, truth, at, told) in early.items():
        if at > cut or name not in whole:
            continue
        compared += 1
        later = whole[name]
        for feature in (name for name in features if not same(features[name], later[0].get(name))):
            wrong.setdefault(feature, []).append((name[0], at, features[feature], later[0].get(feature)))
        if told <= cut and not same(truth, later[1]):
            wrong.setdefault("(the truth)", []).append((name[0], at, truth, later[1]))
    if wrong:
        raise Refused(
            f"{_list(wrong)} of {compared:,} rows compared: prepared from data up to {iso(cut)} alone, it is another",
            remedy="compute each feature from what was known at the row's moment: labels count from when they are told",
        )
    return compared


def _list(wrong: Mapping[str, list[tuple[str, float, Value, Value]]]) -> str:
    said = []
    for feature, cases in sorted(wrong.items(), key=lambda item: -len(item[1]))[:5]:
        key, at, before, after = cases[0]
        said.append(
            f"feature {feature!r} knows the future in {len(cases):,} rows (of {key or 'the table'!r} at {iso(at)}:"
            f" {before!r} then, {after!r} with later data)"
        )
    return "; ".join(said)


def same(one: Value, other: Value) -> bool:
    """Whether two values are equal but for rounding; nothing equals nothing."""
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=NEAR, abs_tol=NEAR) or (math.isnan(one) and math.isnan(other))
    return one == other or (_nothing(one) and _nothing(other))


def _nothing(value: Value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
