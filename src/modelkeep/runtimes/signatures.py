"""A signature from a sample: what kinds of values a model takes, and how far they range."""

import math
from collections.abc import Mapping, Sequence

from modelkeep.errors import BadInput
from modelkeep.nouns import Features, Field, Signature, Value

MAX_CATEGORIES = 100
WIDER = 0.5
"""The sample's range is widened by this share of its own width on each side: a sample rarely has the extremes."""


def infer_signature(
    columns: Mapping[str, Sequence[Value]],
    *,
    output: str,
    units: Mapping[str, str] | None = None,
    classifies: bool | None = None,
) -> Signature:
    """A signature that every row of the sample fits.

    ``columns`` has a list of values by name; the column ``output``, when there, is the truth and becomes the output,
    every other one an input in the given order. Kinds: all true/false ``boolean``, all whole numbers ``integer``, other
    numbers ``number``, at most 100 distinct texts ``category`` (sorted), more ``text``. None and NaN are missing, and
    make an input nullable. Bounds are the sample's, widened by half its width on each side; whole numbers that are
    never negative stay at 0 or above; a constant has no bounds (one value says nothing about a range), and the output
    has none.
    ``classifies`` True makes the output a class even when its values are whole numbers.

    >>> infer_signature({"hour": [0, 23], "late": [1.5, 2.5]}, output="late").inputs[0].expected()
    'integer 0..35'

    Raises BadInput for a column without any value, of mixed types, or with an infinite number.
    """
    units = units or {}
    inputs = tuple(_field(name, values, unit=units.get(name, "")) for name, values in columns.items() if name != output)
    if not inputs:
        raise BadInput("the sample has no input column", remedy="give the columns that the model takes")
    unit = units.get(output, "")
    return Signature(inputs=inputs, output=_output(output, columns.get(output), unit=unit, classifies=classifies))


def example(signature: Signature) -> Features:
    """One row that fits the signature: the middle of each range, the first of each list of categories."""
    return {field.name: _example(field) for field in signature.inputs}


def rows_of(columns: Mapping[str, Sequence[Value]], names: Sequence[str]) -> list[Features]:
    """Columns as rows with these ``names``; NaN becomes None."""
    picked = [[None if missing(value) else value for value in columns[name]] for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*picked, strict=True)]


def missing(value: Value) -> bool:
    """None, or a NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _field(name: str, values: Sequence[Value], *, unit: str) -> Field:
    known = [value for value in values if not missing(value)]
    nullable = len(known) < len(values)
    if not known:
        raise BadInput(
            f"column {name!r} has no value in the sample", remedy="leave it out, or give the signature yourself"
        )
    kinds = {_kind(value) for value in known}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    if len(kinds) > 1:
        raise BadInput(
            f"column {name!r} mixes {' and '.join(sorted(kinds))}", remedy="give each column values of one type"
        )
    kind = kinds.pop()
    if kind == "boolean":
        return Field(name=name, kind="boolean", unit=unit, nullable=nullable)
    if kind == "text":
        return _text(name, [str(value) for value in known], unit=unit, nullable=nullable)
    low, high = _range(name, [value for value in known if isinstance(value, int | float)], whole=kind == "integer")
    whole = "integer" if kind == "integer" else "number"
    return Field(name=name, kind=whole, unit=unit, low=low, high=high, nullable=nullable)  # type: ignore[arg-type]


def _output(name: str, values: Sequence[Value] | None, *, unit: str, classifies: bool | None) -> Field:
    if values is None:
        return Field(name=name, kind="category" if classifies else "number", unit=unit)
    field = _field(name, values, unit=unit)
    if field.kind in {"number", "integer"} and classifies:
        found = sorted({value for value in values if not missing(value)}, key=float)  # type: ignore[arg-type]
        return Field(name=name, kind="category", unit=unit, categories=tuple(f"{value:g}" for value in found))
    return Field(name=name, kind=field.kind, unit=unit, categories=field.categories)


def _text(name: str, known: list[str], *, unit: str, nullable: bool) -> Field:
    distinct = set(known)
    if len(distinct) > MAX_CATEGORIES:
        return Field(name=name, kind="text", unit=unit, nullable=nullable)
    return Field(name=name, kind="category", unit=unit, categories=tuple(sorted(distinct)), nullable=nullable)


def _kind(value: Value) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "text"
    return "integer" if isinstance(value, int) else "number"


def _range(name: str, known: Sequence[float], *, whole: bool) -> tuple[float | None, float | None]:
    lowest, highest = min(known), max(known)
    try:
        finite = math.isfinite(lowest) and math.isfinite(highest)
    except OverflowError:
        finite = False
    if not finite:
        raise BadInput(f"column {name!r} has an infinite number", remedy="leave such rows out")
    natural = whole and lowest >= 0
    if lowest == highest:
        return (0.0 if natural else None), None
    wider = WIDER * (float(highest) - float(lowest))
    low, high = _below(lowest, float(lowest) - wider), _above(highest, float(highest) + wider)
    if whole:
        low, high = math.floor(low) if math.isfinite(low) else low, math.ceil(high) if math.isfinite(high) else high
    if natural:
        low = max(low, 0.0)
    return float(low) if math.isfinite(low) else None, float(high) if math.isfinite(high) else None


def _below(value: float, bound: float) -> float:
    # Rounding to float may land above a large whole number.
    return bound if bound <= value else math.nextafter(bound, -math.inf)


def _above(value: float, bound: float) -> float:
    return bound if bound >= value else math.nextafter(bound, math.inf)


def _example(field: Field) -> Value:
    if field.kind == "category":
        return field.categories[0] if field.categories else "a"
    if field.kind == "text":
        return "a"
    if field.kind == "boolean":
        return False
    low = field.low if field.low is not None else min(0.0, field.high or 0.0)
    high = field.high if field.high is not None else max(low, 0.0)
    middle = low / 2 + high / 2
    return max(math.ceil(low), math.floor(middle)) if field.kind == "integer" else middle
