"""Which column of a stranger's table is what: label, entity, moments, and the inputs that are left."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from modelkeep import BadInput, Output, Value, moment

LABEL = ("label", "target", "y", "outcome", "truth", "actual", "class")
TIME = ("event_time", "at", "time", "timestamp", "datetime", "date_time", "ds", "date")
KEY = ("entity", "key", "entity_id", "id", "device", "customer_id", "unique_id")
TOLD = ("label_time", "told", "known_at")
ABOUT = ("target_time", "target_date", "target_hour", "about")
"""Names that say what a column is, the likeliest first; ``--map label=churned`` gives a column such a name."""
MOST_CLASSES = 10
"""Whole numbers with at most so many different values are classes."""


class Roles(Struct, frozen=True, kw_only=True):
    """Names of columns by what they are ("" = there is none); ``inputs`` are all others, in the table's order."""

    label: str
    time: str = ""
    key: str = ""
    told: str = ""
    about: str = ""
    inputs: tuple[str, ...] = ()


def roles(table: Mapping[str, Sequence[Value]]) -> Roles:
    """What each column is, by its name.

    >>> roles({"event_time": [], "entity": [], "label": [], "age": []}).inputs
    ('age',)

    Raises BadInput when no column is named as a label.
    """
    label = _first(table, LABEL)
    if not label:
        raise BadInput(
            f"no column is the label: there are {', '.join(table)}", remedy="name it, for example --map label=churned"
        )
    named = Roles(
        label=label,
        time=_first(table, TIME, but=(label,)),
        key=_first(table, KEY, but=(label,)),
        told=_first(table, TOLD),
        about=_first(table, ABOUT, but=(label,)),
    )
    known = {named.label, named.time, named.key, named.told, named.about}
    return Roles(
        label=named.label,
        time=named.time,
        key=named.key,
        told=named.told,
        about=named.about,
        inputs=tuple(name for name in table if name not in known),
    )


def _first(table: Mapping[str, Sequence[Value]], names: Sequence[str], *, but: Sequence[str] = ()) -> str:
    lower = {name.lower(): name for name in table if name not in but}
    return next((lower[name] for name in names if name in lower), "")


def moments(values: Sequence[Value], name: str) -> list[float]:
    """Moments as epoch seconds. Raises BadInput naming the column for what is none."""
    known: dict[Value, float] = {}
    for value in values:
        if value not in known:
            if value is None or isinstance(value, bool):
                raise BadInput(f"{name!r} holds {value!r}, not a moment", remedy="give ISO-8601 or epoch seconds")
            known[value] = moment(str(value), name)
    return [known[value] for value in values]


def truths(values: Sequence[Value]) -> list[Output]:
    """Labels in the form in which a model answers: true and false, a class by name, or a number.

    Two whole numbers 0 and 1 are false and true; few whole numbers (MOST_CLASSES) are classes; other numbers floats.

    >>> truths([0, 1, 1]), truths(["a", "b"]), truths([0.5, 3])
    ([False, True, True], ['a', 'b'], [0.5, 3.0])
    """
    distinct = {value for value in values if value is not None}
    if all(isinstance(value, bool) for value in distinct):
        return [bool(value) for value in values]
    if any(isinstance(value, str | bool) for value in distinct):
        return [_name(value) for value in values]
    numbers = [float(value) for value in values if not isinstance(value, str | bool) and value is not None]
    whole = set(numbers)
    if whole <= {0.0, 1.0}:
        return [number == 1.0 for number in numbers]
    if len(whole) <= MOST_CLASSES and all(isinstance(value, int) for value in distinct):
        return [f"{number:g}" for number in numbers]
    return list(numbers)


def _name(value: Value) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
