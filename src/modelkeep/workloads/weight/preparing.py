"""A table of weighed objects as rows to train on: names and units put right, nothing invented."""

from collections.abc import Mapping, Sequence

from modelkeep import BadInput, Refused, TrainingRows, Value, moment
from modelkeep.workloads.weight.columns import (
    ALIASES,
    BOX,
    COIN,
    GRAMS,
    INPUTS,
    MEASURES,
    MILLIMETRES,
    SPELLED,
    WEIGHTS,
    unit_of,
)
from modelkeep.workloads.weight.features import material_of

Table = Mapping[str, Sequence[Value]]

TOP_AND_SIDE = {"s": "side", "t": "top", "side": "side", "top": "top"}
USUAL_REFERENCE = "coin_25"


def prepare(table: Table) -> TrainingRows:
    """Rows to train on from a table of weighed objects.

    The weight is the column ``weight_g`` (or ``weight_kg``, ``weight_lb``, ``weight_oz``, ``weight_ct``, ``carat``,
    ``weight`` or ``label`` in grams); lengths likewise (``length_mm``, ``length_cm``, ``length_in``; a bare ``length``
    is in mm). A column ``unit`` holds the unit of weight of each row instead. Boxes are in pixels; a table with boxes
    that names no reference is read as photos with the coin of 25.0 mm. Rows of one ``object_id`` are one object. A row
    without a weight is left out. The key of a row is its material: the simplest rule knows what the last object of a
    material weighed, and no rule knows an object that was weighed before.

    Raises BadInput naming the column that is missing or wrong, Refused when no row has both a weight and a size.
    """
    size = max((len(values) for values in table.values()), default=0)
    truth = _weights(table, size)
    columns = {field.name: _column(table, field.name, size=size) for field in INPUTS}
    columns["view"] = [_view(value) for value in columns["view"]]
    columns["second_view"] = [_view(value) for value in columns["second_view"]]
    if all(value is None for name in ("reference", "reference_mm") for value in columns[name]):
        known = [value is not None for value in columns["cx0"]]
        columns["reference"] = [USUAL_REFERENCE if here else None for here in known]
    keep = [place for place in range(size) if truth[place] is not None]
    if not any(_sized(columns, place) for place in keep):
        raise Refused(
            f"none of {size} rows has a weight and a size",
            remedy="map at least two of length_mm, width_mm, height_mm, or x0..y1 with cx0..cy1; see docs/workloads",
        )
    asked = moments(table)
    order = sorted(keep, key=lambda place: asked[place] or 0.0)
    told = _moments(_column(table, "weighed", size=size), "weighed")
    objects = [_name(value) for value in _column(table, "object_id", size=size)]
    return TrainingRows(
        columns={name: [values[place] for place in order] for name, values in columns.items()},
        truth=[truth[place] or 0.0 for place in order],
        keys=[material_of({"material": columns["material"][place]}) for place in order],
        at=[asked[place] or 0.0 for place in order],
        told=[_later(told[place], asked[place]) for place in order],
        groups=[objects[place] or f"row {place + 1}" for place in order],
    )


def moments(table: Table) -> list[float | None]:
    """When each row was asked about, or None."""
    size = max((len(values) for values in table.values()), default=0)
    return _moments(_column(table, "asked", size=size), "asked")


def _weights(table: Table, size: int) -> list[float | None]:
    """Grams of every row, None where it has none."""
    name, factor = _measured(table, "weight", units=GRAMS, also=("carat", "carats"))
    name = name or next((column for column in table if column.lower() == "label"), "")
    if not name:
        raise BadInput.of("weight_g", expected="a column with the weight", got=", ".join(table) or "no column")
    units = table.get("unit", [None] * size)
    found: list[float | None] = []
    for place, value in enumerate(table[name]):
        grams = _number(value, name)
        if grams is not None and isinstance(units[place], str):
            unit = unit_of(str(units[place]))
            if unit not in GRAMS:
                raise BadInput.of("unit", expected=f"one of {', '.join(GRAMS)}", got=f"{unit} in row {place}")
            factor = GRAMS[unit]
        grams = None if grams is None else grams * factor
        if grams is not None and not WEIGHTS[0] <= grams <= WEIGHTS[1]:
            raise BadInput.of(name, expected=f"{WEIGHTS[0]:g} g to {WEIGHTS[1]:g} g", got=f"{grams:g} g in row {place}")
        found.append(grams)
    return found


def _measured(
    table: Table, stem: str, *, units: Mapping[str, float], bare: bool = True, also: tuple[str, ...] = ()
) -> tuple[str, float]:
    """The table's column of a measure and what one of its units is worth, or an empty name; a bare one is in ours."""
    for name in table:
        start, _, unit = name.rpartition("_")
        if start.lower() == stem and unit_of(unit) in units:
            return name, units[unit_of(unit)]
        if name.lower() in also:
            return name, units[SPELLED[name.lower()]]
    return next((name for name in table if bare and name.lower() == stem), ""), 1.0


def _column(table: Table, name: str, *, size: int) -> list[Value]:
    """A column by its own name or another of its names, lengths in mm; None where the table has none."""
    if name in MEASURES:
        for stem in MEASURES[name]:
            found, factor = _measured(table, stem, units=MILLIMETRES, bare=stem != "reference")
            if found:
                return [None if (x := _positive(value, found)) is None else x * factor for value in table[found]]
        return [None] * size
    lower = {column.lower(): column for column in table}
    chosen = next((lower[n] for n in (name, *ALIASES.get(name, ())) if n in lower), "")
    if not chosen:
        return [None] * size
    if name in {"material", "shape", "reference", "view", "second_view"}:
        return [None if value is None else str(value) for value in table[chosen]]
    numeric = name in {*BOX, *COIN} or name.startswith(("image_", "second_"))
    return [_number(value, chosen) for value in table[chosen]] if numeric else list(table[chosen])


def _sized(columns: Mapping[str, list[Value]], place: int) -> bool:
    lengths = sum(columns[name][place] is not None for name in ("length_mm", "width_mm", "height_mm"))
    return lengths >= 2 or all(columns[name][place] is not None for name in (*BOX, *COIN))


def _number(value: Value, name: str) -> float | None:
    if value is None or value == "" or value != value:  # noqa: PLR0124 - a NaN is missing
        return None
    try:
        return float(value)
    except ValueError:
        raise BadInput.of(name, expected="numbers", got=str(value)[:40]) from None


def _positive(value: Value, name: str) -> float | None:
    """A length; nothing is 0 mm long, so a table says so for what was not measured."""
    found = _number(value, name)
    return found if found is not None and found > 0 else None


def _view(value: Value) -> Value:
    return None if value is None else TOP_AND_SIDE.get(str(value).strip().lower())


def _name(value: Value) -> str:
    return "" if value is None else str(value)


def _moments(values: list[Value], name: str) -> list[float | None]:
    return [_moment(value, name) for value in values]


def _moment(value: Value, name: str) -> float | None:
    if value is None or isinstance(value, bool):
        return None
    return float(value) if isinstance(value, int | float) else moment(value, name)


def _later(told: float | None, asked: float | None) -> float:
    return max(told if told is not None else asked or 0.0, asked or 0.0)
