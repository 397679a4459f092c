"""A plan becomes what answers rows: its numbers made, added up by the runner that was chosen, and read."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from modelkeep.errors import BadArtifact, BadFeatures
from modelkeep.nouns import Features, Output, Outputs
from modelkeep.runtimes import matrix
from modelkeep.runtimes.formats import UNSEEN, Answer, Numbers
from modelkeep.runtimes.runners import lines, walking
from modelkeep.runtimes.runners.forest import ZERO, Floats
from modelkeep.runtimes.runners.plan import Plan, made

LARGEST = float(np.finfo(np.float32).max)
Single: TypeAlias = Callable[[Floats], Sequence[float]]
"""One row, of shape (sources,), in; its sums out, NaN when the many must be asked."""
Many: TypeAlias = Callable[[Floats], Floats]


class Engine(Struct, frozen=True, kw_only=True):
    """What adds up: ``many`` rows, of shape (rows, outputs), and ``one`` row where that is quicker.

    ``flat`` is who adds up one number a row, of so many rows behind each other, where nothing else is to be done.
    """

    many: Many
    one: Single | None = None
    flat: Callable[[Numbers, int], list[Any]] | None = None


def engines(plan: Plan) -> Mapping[str, Callable[[], Engine]]:
    """The runners that can answer a plan, by name, each opened when it is called. Raises what their library raises."""
    if plan.line is not None:
        return {"linear": lambda: _linear(plan)}
    return {
        "compiled": lambda: _compiled(plan),
        "native": lambda: _native(plan),
        "flattened": lambda: _flattened(plan),
    }


def singly(plan: Plan, name: str) -> Callable[[Sequence[Features]], Floats]:
    """What answers one number a row by the runner of that name, or the next best. Raises BadArtifact."""
    _, engine = engine_of(plan, name)
    answer, _ = asked(plan, engine)
    return lambda rows: np.array(answer(rows).values, dtype=np.float64)


def engine_of(plan: Plan, name: str) -> tuple[str, Engine]:
    """The runner of that name, or another one when its library is not installed here, with its name.

    Raises BadArtifact when none can answer.
    """
    known = engines(plan)
    refused = BadArtifact(f"there is no runner {name!r} for this plan")
    for other in sorted(known, key=lambda one: one != name):
        try:
            return other, known[other]()
        except BadArtifact as error:
            refused = error
    raise refused


def asked(plan: Plan, engine: Engine) -> tuple[Answer, Callable[[Floats], Outputs]]:
    """What answers rows (dictionaries), and what answers a matrix of the plan's sources."""
    guard, read, read_one = _guard(plan), _reader(plan), _single_reader(plan)
    one, many = engine.one, engine.many

    def table(rows: Floats) -> Outputs:
        if one is not None and len(rows) == 1:
            sums = one(rows[0])
            if not math.isnan(sums[0]):
                return read_one(sums)
        if guard is not None:
            guard(rows)
        return read(many(rows))

    make = matrix.coded(plan.sources, plan.codes)

    def answer(rows: Sequence[Features]) -> Outputs:
        return table(make(rows))

    return answer, table


def flat(plan: Plan, engine: Engine) -> Callable[[Numbers, int], list[Any]] | None:
    """What answers ``Numbers`` with nothing but values; None where more is to be done than to add up."""
    simple = not plan.labels and plan.head == "identity" and _guard(plan) is None
    return engine.flat if simple else None


def _linear(plan: Plan) -> Engine:
    alone = lines.single(plan)
    if alone is None or plan.strict:
        return Engine(many=lines.many(plan))
    return Engine(one=lambda row: alone(row.tolist()), many=lines.many(plan))


def _flattened(plan: Plan) -> Engine:
    walk = walking.walked(_forest(plan))
    prepare = _prepared(plan)
    return Engine(many=lambda table: walk(prepare(table)))


def _compiled(plan: Plan) -> Engine:
    from modelkeep.runtimes.runners.compiled import Compiled  # noqa: PLC0415 - its code is mapped where it is used

    forest, prepare = _forest(plan), _prepared(plan)
    found, divisor = Compiled(forest), forest.divisor
    plain = divisor == 1.0 and not plan.columns and not forest.single
    return Engine(
        one=_alone(plan, found.one, divisor=divisor),
        many=found.many if plain else lambda table: found.many(prepare(table)) / divisor,
        flat=found.flat if plain and forest.width == 1 else None,
    )


def _native(plan: Plan) -> Engine:
    from modelkeep.runtimes.runners.native import by_leaves, native  # noqa: PLC0415 - the library is loaded where it is used

    forest = _forest(plan)
    found, prepare, divisor = native(forest), _farther(plan, _prepared(plan)), forest.divisor
    if by_leaves(forest):
        starts = forest.starts.astype(np.intp)
        return Engine(many=lambda table: walking.summed(forest, found.many(prepare(table)).astype(np.intp) + starts))
    return Engine(
        one=None if _near_zero(plan) else _alone(plan, found.one, divisor=divisor),
        many=lambda table: found.many(prepare(table)) / divisor,
    )


def _near_zero(plan: Plan) -> bool:
    """Whether trees part numbers that LightGBM takes for zero. Raises BadArtifact where they do so but at zero."""
    forest = _forest(plan)
    inside = forest.threshold[(forest.kind < 0) & (forest.threshold >= -ZERO) & (forest.threshold < ZERO)]
    if inside.any():
        raise BadArtifact("the trees split below 1e-35, where LightGBM knows zero only")
    return bool(len(inside))


def _farther(plan: Plan, prepare: Many) -> Many:
    """The same numbers, those next to zero moved to where LightGBM sees which side they are on."""
    if not _near_zero(plan):
        return prepare
    least = np.nextafter(ZERO, 1.0)

    def moved(table: Floats) -> Floats:
        numbers = prepare(table)
        near = (np.abs(numbers) <= ZERO) & (numbers != 0.0)
        return np.where(near, np.copysign(least, numbers), numbers) if near.any() else numbers

    return moved


def _alone(plan: Plan, one: Many, *, divisor: float) -> Single | None:
    """One row asked without a matrix around it; None where columns must be made first."""
    if plan.columns:
        return None
    if not plan.full and not plan.strict and not _forest(plan).single:
        return lambda row: one(row).tolist()
    strict, whole = plan.strict, bool(plan.full)

    def answer(row: Floats) -> Sequence[float]:
        # In whatever is unusual the many are asked: they say what is wrong.
        for value in row.tolist():
            if not -LARGEST <= value <= LARGEST and (whole or not math.isnan(value)):
                return _ODD
        if strict and any(row[place] == UNSEEN for place in strict):
            return _ODD
        return [value / divisor for value in one(row).tolist()]

    return answer


_ODD = (math.nan,)


def _forest(plan: Plan) -> Any:
    if plan.forest is None:
        raise BadArtifact("the plan has no trees")
    return plan.forest


def _prepared(plan: Plan) -> Many:
    """What makes the numbers that the trees compare."""
    columns, single = plan.columns, _forest(plan).single
    if not columns and not single:
        return lambda table: table
    if not single:
        return lambda table: made(columns, table)

    def rounded(table: Floats) -> Floats:
        numbers = made(columns, table) if columns else table
        with np.errstate(over="ignore"):
            short = numbers.astype(np.float32)
        if np.isinf(short).any():
            raise BadFeatures("a value is too large for the model, which compares in 32 bits")
        return short.astype(np.float64)

    return rounded


def _guard(plan: Plan) -> Callable[[Floats], None] | None:
    """What raises BadFeatures for what the model itself would refuse; None when it refuses nothing."""
    strict, full, names = list(plan.strict), list(plan.full), plan.sources
    if not strict and not full:
        return None

    def guard(table: Floats) -> None:
        if full and bool(np.isnan(table[:, full]).any()):
            place = full[int(np.isnan(table[:, full]).any(axis=0).argmax())]
            raise BadFeatures(f"{names[place]!r} is missing, and the model needs it")
        if strict and (table[:, strict] == UNSEEN).any():
            place = strict[int((table[:, strict] == UNSEEN).any(axis=0).argmax())]
            raise BadFeatures(f"{names[place]!r} has a value that the model does not know")

    return guard


def _reader(plan: Plan) -> Callable[[Floats], Outputs]:
    """What reads the sums of many rows."""
    labels, plain = list(plan.labels), plan.head == "identity"

    def numbers(sums: Floats) -> Outputs:
        found: list[Output] = (sums if plain else _read(plan.head, sums))[:, -1].tolist()
        return Outputs(values=found)

    def classes(sums: Floats) -> Outputs:
        chances = _read(plan.head, sums)
        best = chances.argmax(axis=1)
        return Outputs(values=[labels[place] for place in best.tolist()], scores=chances.max(axis=1).tolist())

    return classes if labels else numbers


def _read(head: str, sums: Floats) -> Floats:
    with np.errstate(over="ignore"):
        if head == "log":
            return np.exp(sums)
        if head in {"logit", "logit2"}:
            second = 1.0 / (1.0 + np.exp(-sums[:, 0] if head == "logit" else -2.0 * sums[:, 0]))
            return np.column_stack((1.0 - second, second))
        if head == "softmax":
            raised = np.exp(sums - sums.max(axis=1, keepdims=True))
            chances: Floats = raised / raised.sum(axis=1, keepdims=True)
            return chances
    return sums


def _single_reader(plan: Plan) -> Callable[[Sequence[float]], Outputs]:
    """The same for one row, without NumPy where it can be."""
    head, labels = plan.head, plan.labels
    many = _reader(plan)
    if not labels and head == "identity":
        return lambda sums: Outputs(values=[float(sums[0])])
    if not labels and head == "log":
        return lambda sums: Outputs(values=[_raised(float(sums[0]))])
    if head in {"logit", "logit2"} and len(labels) == 2:
        return lambda sums: _two(float(sums[0]) * (1.0 if head == "logit" else 2.0), labels)
    return lambda sums: many(np.asarray(sums, dtype=np.float64).reshape(1, -1))


def _raised(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf  # the check of the outputs refuses it


def _two(odds: float, labels: Sequence[Output]) -> Outputs:
    second = 1.0 / (1.0 + math.exp(-odds)) if odds > -700.0 else 0.0
    if second > 0.5:
        return Outputs(values=[labels[1]], scores=[second])
    return Outputs(values=[labels[0]], scores=[1.0 - second])
