"""Which runner answers a version: every one that can is held against the library on a thousand rows, and timed."""

import itertools
import math
import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from modelkeep.errors import ModelkeepError
from modelkeep.nouns import Features, Field, Outputs, Runner, Signature, Value
from modelkeep.runtimes.formats import Answer
from modelkeep.runtimes.runners import opening, plan
from modelkeep.runtimes.runners.opening import Engine
from modelkeep.runtimes.runners.plan import Plan

ROWS = 1_000
"""So many rows must be answered as the library answers them."""
NEAR = 1e-6
"""How far an answer may be from the library's, relative to it."""
_TIMED, _TURNS = 0.02, 8
"""Seconds that timing one runner with rows of one size may take, and in how many turns."""
_NEW = "\x1fa value that training did not have"


Ways: TypeAlias = Mapping[str, Callable[[], Answer]]
"""Runners by name, each opened when it is called; that raises ModelkeepError where it cannot be."""


class Proof(Struct, frozen=True, kw_only=True):
    """Rows by what is odd about them: a library may refuse one sort whole, and then a runner must."""

    usual: list[Features]
    odd: dict[str, list[Features]]

    @property
    def size(self) -> int:
        """How many rows there are."""
        return len(self.usual) + sum(map(len, self.odd.values()))


def ways(found: Plan) -> Ways:
    """The runners of one model's plan."""
    return {name: partial(_way, found, make) for name, make in opening.engines(found).items()}


def _way(found: Plan, make: Callable[[], Engine]) -> Answer:
    return opening.asked(found, make())[0]


def choose(makes: Ways, library: Answer, *, proof: Proof) -> Runner | None:
    """The fastest way whose every answer agrees with the library's; None when the library is as fast."""
    expected = {name: _answers(library, rows) for name, rows in _groups(proof)}
    agreeing: dict[str, tuple[Answer, float]] = {}
    for name, make in makes.items():
        try:
            ask = make()
        except ModelkeepError:
            continue  # its library is not installed here
        off = _difference(ask, proof, expected=expected)
        if off is not None:
            agreeing[name] = ask, off
    (one, hundred), *speeds = _speeds([library, *(ask for ask, _ in agreeing.values())], proof.usual)
    found = [
        Runner(
            name=name,
            rows=proof.size,
            difference=off,
            one=alone,
            hundred=many,
            library_one=one,
            library_hundred=hundred,
        )
        for (name, (_, off)), (alone, many) in zip(agreeing.items(), speeds, strict=True)
    ]
    best = min(found, key=lambda runner: runner.one * runner.hundred, default=None)
    return None if best is None or best.one * best.hundred >= one * hundred else best


def proof(found: Plan, rows: Sequence[Features], *, signature: Signature, coded: bool) -> Proof:
    """A thousand rows: of ``rows`` (prepared by the feature code, if any), and what is hard about the model.

    Values exactly at the trees' thresholds and beside them, at the signature's bounds, missing ones, and categories
    that training did not have. With feature code (``coded``) only what its rows themselves hold can be missing.
    """
    draw = random.Random(7)  # noqa: S311 - a fixed choice of rows, nothing secret
    some = list(rows) if len(rows) <= ROWS // 2 else draw.sample(list(rows), ROWS // 2)
    fields = {} if coded else {field.name: field for field in signature.inputs}
    usual = some if len(some) > 20 or coded else [*some, *(_made_up(signature, draw) for _ in range(ROWS // 2))]
    odd = {
        "thresholds": _varied(usual, _thresholds(found, draw), n=ROWS // 4, draw=draw),
        "bounds": _varied(usual, _bounds(fields), n=ROWS // 8, draw=draw),
        "missing": _varied(usual, _gaps(fields, usual), n=ROWS // 8, draw=draw),
        "unseen": _varied(usual, [(name, _NEW) for name in found.codes], n=ROWS // 8, draw=draw),
    }
    odd = {name: part for name, part in odd.items() if part}
    lacking = ROWS - len(usual) - sum(map(len, odd.values()))
    usual = [*usual, *itertools.islice(itertools.cycle(_shuffled(usual, draw)), max(lacking, 0))]
    return Proof(usual=usual, odd=odd)


def _shuffled(rows: list[Features], draw: random.Random) -> list[Features]:
    """As many new rows, each value from another row of the same column."""
    names = list(rows[0])
    columns = [[row.get(name) for row in rows] for name in names]
    for column in columns:
        draw.shuffle(column)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _made_up(signature: Signature, draw: random.Random) -> Features:
    return {field.name: _value(field, draw) for field in signature.inputs}


def _value(field: Field, draw: random.Random) -> Value:
    if field.kind == "boolean":
        return draw.random() < 0.5
    if field.kind in {"category", "text"}:
        return draw.choice(field.categories or ("a", "b", "c"))
    low = -10.0 if field.low is None else field.low
    high = low + 20.0 if field.high is None else field.high
    value = draw.uniform(min(low, high), high)
    return round(value) if field.kind == "integer" else value


def _varied(
    rows: list[Features], values: Sequence[tuple[str, Value]], *, n: int, draw: random.Random
) -> list[Features]:
    """Rows of which each has one value replaced."""
    if not values:
        return []
    picked = [draw.choice(values) for _ in range(n)]
    return [{**draw.choice(rows), name: value} for name, value in picked]


def _thresholds(found: Plan, draw: random.Random) -> list[tuple[str, Value]]:
    """Values at nodes' thresholds and on both sides of them, in the inputs' own scale."""
    if found.members:
        inside = [share.plan for share in found.members if share.plan is not None]
        return [pair for plan in inside for pair in _thresholds(plan, draw)]
    forest = found.forest
    if forest is None:
        return []
    places = [i for i in range(len(forest.feature)) if forest.kind[i] < 0 and math.isfinite(forest.threshold[i])]
    values: list[tuple[str, Value]] = []
    for place in draw.sample(places, min(len(places), ROWS // 8)):
        at, feature = float(forest.threshold[place]), int(forest.feature[place])
        source, steps = feature, tuple[plan.Step, ...]()
        if found.columns:
            column = found.columns[feature]
            if column.gap or column.equals is not None or column.table:
                continue
            source, steps = column.source, column.steps
        short = np.float32(at)
        near = [at, *(float(np.nextafter(at, way)) for way in (-np.inf, np.inf)), float(short)]
        near += [float(np.nextafter(short, np.float32(way))) for way in (-np.inf, np.inf)]
        values += [(found.sources[source], _undone(value, steps)) for value in near]
    return [pair for pair in values if pair[0] not in found.codes]


def _undone(value: float, steps: Sequence[plan.Step]) -> float:
    for sign, number in reversed(steps):
        value = {"-": value + number, "+": value - number, "*": value / (number or 1.0), "/": value * number}[sign]
    return value


def _bounds(fields: dict[str, Field]) -> list[tuple[str, Value]]:
    ends = [(name, end) for name, field in fields.items() for end in (field.low, field.high) if end is not None]
    return [(name, int(end) if fields[name].kind == "integer" else end) for name, end in ends]


def _gaps(fields: dict[str, Field], rows: list[Features]) -> list[tuple[str, Value]]:
    if fields:
        return [(name, None) for name, field in fields.items() if field.nullable]
    return [(name, None) for name in rows[0] if any(row.get(name) is None for row in rows)]


# ------------------------------------------------------------------------------------------------- held against it


def _groups(proof: Proof) -> Iterator[tuple[str, list[Features]]]:
    yield "", proof.usual
    yield from proof.odd.items()


def _answers(ask: Answer, rows: list[Features]) -> Outputs | None:
    """What is answered, or None when it is refused."""
    try:
        with warnings.catch_warnings(action="ignore"):  # a library warns of what is unseen, and answers
            return ask(rows)
    except (Exception, SystemExit):  # noqa: BLE001 - a model's call: it may raise anything
        return None


def _difference(ask: Answer, proof: Proof, *, expected: dict[str, Outputs | None]) -> float | None:
    """The largest relative difference to the expected answers, None when one is too large or of another class."""
    worst = 0.0
    for name, rows in _groups(proof):
        wanted = expected[name]
        if wanted is None:
            if name == "" or any(_answers(ask, [row]) is not None for row in rows[:5]):
                return None
            continue
        for got in (_answers(ask, rows), _together(ask, rows[:100])):
            off = _off(got, wanted)
            if off is None or off > NEAR:
                return None
            worst = max(worst, off)
    return worst


def _together(ask: Answer, rows: list[Features]) -> Outputs | None:
    """The same rows asked one by one, as most requests come."""
    parts = [_answers(ask, [row]) for row in rows]
    if any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    scores = [score for part in known for score in part.scores or []]
    intervals = [ends for part in known for ends in part.intervals or []]
    return Outputs(values=[part.values[0] for part in known], scores=scores or None, intervals=intervals or None)


def _off(got: Outputs | None, wanted: Outputs) -> float | None:
    """The largest relative difference of two answers, in all that they tell; None when they tell of other things."""
    if got is None:
        return None
    own, off = len(got.values), _off_values(got, wanted)
    offs = [off, _off_pairs(got.intervals, wanted.intervals, n=own)]
    if got.members is not None:  # one by one they are not asked again
        if (got.degraded is None) != (wanted.degraded is None) or got.weights != wanted.weights:
            return None
        theirs = wanted.members or {}
        offs += [_apart(np.array(values), np.array(theirs[name])) for name, values in got.members.items()]
    known = [one for one in offs if one is not None]
    return max(known) if len(known) == len(offs) else None


def _off_pairs(
    got: list[tuple[float, float]] | None, wanted: list[tuple[float, float]] | None, *, n: int
) -> float | None:
    if got is None or wanted is None:
        return 0.0 if got is wanted else None
    return _apart(np.array(got).reshape(-1), np.array(wanted[:n]).reshape(-1))


def _off_values(got: Outputs, wanted: Outputs) -> float | None:
    if (got.scores is None) != (wanted.scores is None):
        return None
    n = len(got.values)
    ours, theirs = _numbers(got, n), _numbers(wanted, n)
    if ours is None or theirs is None:
        if got.values != wanted.values[:n]:
            return None
        if got.scores is None or wanted.scores is None:
            return 0.0
        ours, theirs = np.array(got.scores), np.array(wanted.scores[:n])
    return _apart(ours, theirs)


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float | None:
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return 0.0 if np.array_equal(ours, theirs, equal_nan=True) else None
    scale = np.maximum(np.abs(theirs), 1e-9 * max(float(np.abs(theirs).max(initial=0.0)), 1e-300))
    return float((np.abs(ours - theirs) / scale).max(initial=0.0))


def _numbers(outputs: Outputs, n: int) -> np.ndarray | None:
    values = outputs.values[:n]
    if any(isinstance(value, str | bool) for value in values):
        return None
    return np.array(values, dtype=np.float64)


def _speeds(asks: Sequence[Answer], rows: list[Features]) -> list[tuple[float, float]]:
    """Seconds of a call with one row, and with a hundred, of each: the lower quartile of many.

    They are asked by turns. A machine can be half as fast for seconds, because of others on it: who was timed then,
    and the others a moment later, would be thought slower than they are.
    """
    hundred = list(itertools.islice(itertools.cycle(rows), 100))
    singles = itertools.cycle([[row] for row in hundred])
    taken: list[tuple[list[float], list[float]]] = [([], []) for _ in asks]
    for _ in range(_TURNS):
        for ask, (alone, many) in zip(asks, taken, strict=True):
            alone.extend(_timed(ask, singles))
            many.extend(_timed(ask, itertools.repeat(hundred)))
    return [(statistics.quantiles(alone, n=4)[0], statistics.quantiles(many, n=4)[0]) for alone, many in taken]


def _timed(ask: Answer, questions: Iterator[list[Features]]) -> list[float]:
    """What calls take, one after the other."""
    taken: list[float] = []
    end = time.perf_counter() + _TIMED / _TURNS
    while time.perf_counter() < end or not taken:
        rows = next(questions)
        start = time.perf_counter()
        ask(rows)
        taken.append(time.perf_counter() - start)
    return taken
