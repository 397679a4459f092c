"""Readings as they come in, one metric a row or one column a metric, made into numbers in known units.

Nothing is invented: a state that says nothing (``unknown``, ``unavailable``) is a missing value that is counted with
its reason, never 0; a value in another unit is converted; a value outside what is physically possible is missing.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from modelkeep import BadInput, Value, moment
from modelkeep.workloads.devices.metrics import converted, metric_name, number_of

DEVICE = ("device_id", "device", "entity", "entity_id", "serial_number", "machine")
METRIC = ("metric_name", "metric", "device_class")
VALUE = ("metric_value", "value", "state")
UNIT = ("metric_unit", "unit", "unit_of_measurement")
TIME = ("timestamp", "captured_at", "event_time", "date", "datetime", "time", "last_updated")
FAILURE = ("failure", "failed", "fails")
NOT_METRICS = frozenset(
    {*DEVICE, *TIME, *FAILURE, "label", "label_time", "snapshot", "domain", "last_changed", "metadata", "home_type"}
    | {"home", "home_id", "device_type", "device_name", "name", "area", "site"}
)
"""Columns of a wide table that are no metric, whatever they hold."""
MAINS = 100.0
"""A battery that reads this much at every reading belongs to a device on mains power."""
LEAST_READINGS = 3


class Taken(Struct, frozen=True, kw_only=True):
    """One reading: a number in the metric's own unit at a moment."""

    device: str
    metric: str
    value: float
    at: float


class Lost(Struct, frozen=True, kw_only=True):
    """A reading that says nothing, and why; ``at`` is when it was to be read."""

    device: str
    metric: str
    why: str
    at: float


class Ingested(Struct, frozen=True, kw_only=True):
    """What became of the rows: those kept, and how many were not, by reason; and what is odd about the devices.

    ``duplicates`` are device ids that stand for several devices (one id in several homes, or twice at one moment with
    different values). ``mains`` are devices whose battery has read 100 % every time.
    """

    taken: tuple[Taken, ...]
    rows: int
    lost: tuple[Lost, ...] = ()
    missing: dict[str, int] = {}
    converted: dict[str, int] = {}
    duplicates: tuple[str, ...] = ()
    mains: tuple[str, ...] = ()


def column(table: Mapping[str, Sequence[Value]], names: Iterable[str]) -> str:
    """The first of ``names`` that the table has, or an empty text."""
    return next((name for name in names if name in table), "")


def instant(value: Value, field: str) -> float:
    """A moment as tables hold it: seconds, or an ISO-8601 text. Raises BadInput for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = moment(str(value), field)
    if math.isnan(found):
        raise BadInput.of(field, expected="a moment", got=repr(value))
    return found


def rows_of(table: Mapping[str, Sequence[Value]]) -> Ingested:
    """Read a table with one metric a row.

    The columns are found under the names that Home Assistant and the device services use (``DEVICE``, ``METRIC``,
    ``VALUE``, ``UNIT``, ``TIME``). Raises BadInput when one that is needed is absent, or all rows are the same.
    """
    names = {
        what: column(table, known)
        for what, known in {"device": DEVICE, "metric": METRIC, "value": VALUE, "timestamp": TIME}.items()
    }
    absent = [what for what, name in names.items() if not name]
    if absent:
        raise BadInput(
            f"the readings have no column for the {', '.join(absent)}; they have {', '.join(table) or 'none'}",
            remedy="name them device_id, metric_name, metric_value and timestamp, or map them with --map",
        )
    refuse_one_row(table)
    unit = column(table, UNIT)
    devices, metrics, values, times = (table[names[what]] for what in ("device", "metric", "value", "timestamp"))
    units = table[unit] if unit else [""] * len(values)
    why: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    taken: list[Taken] = []
    lost: list[Lost] = []
    for place, (device, metric, value, told) in enumerate(zip(devices, metrics, values, units, strict=True)):
        found = _reading(device, metric, value=value, unit=str(told or ""))
        at = instant(times[place], names["timestamp"])
        if isinstance(found, str):
            why[found] += 1
            if device and metric:
                reason = found.partition(":")[0]
                lost.append(Lost(device=str(device), metric=metric_name(str(metric)), why=reason, at=at))
            continue
        name, number = found
        if told and _differs(value, number):
            changed[f"{name} from {told}"] += 1
        taken.append(Taken(device=str(device), metric=name, value=number, at=at))
    return Ingested(
        taken=tuple(taken),
        rows=len(values),
        lost=tuple(lost),
        missing=dict(why),
        converted=dict(changed),
        duplicates=doubled(table, taken),
        mains=on_mains(taken),
    )


def _reading(device: Value, metric: Value, *, value: Value, unit: str) -> tuple[str, float] | str:
    """The metric and its number, or why there is none."""
    if device is None or not str(device).strip():
        return "no device"
    if metric is None or not str(metric).strip():
        return "no metric"
    name = metric_name(str(metric))
    try:
        number = number_of(value)
    except ValueError:
        return f"not a number: {name}"
    if number is None or math.isnan(number):
        return f"{str(value).strip().lower() or 'empty'}: {name}"
    found = converted(number, metric=name, unit=unit)
    return found if isinstance(found, str) else (name, found)


def _differs(value: Value, number: float) -> bool:
    try:
        return not math.isclose(number_of(value) or 0.0, number)
    except ValueError:
        return False


def refuse_one_row(table: Mapping[str, Sequence[Value]]) -> None:
    """Raise BadInput when a table of several rows holds but one distinct row: a broken collector wrote it."""
    size = max((len(values) for values in table.values()), default=0)
    if size < 2:
        return
    if all(len({_hashable(value) for value in values}) == 1 for values in table.values()):
        first = {name: values[0] for name, values in table.items()}
        raise BadInput(
            f"all {size} rows are the same: {str(first)[:200]}",
            remedy="the collector that wrote them is broken; nothing can be learned from one distinct row",
        )


def _hashable(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def doubled(table: Mapping[str, Sequence[Value]], taken: Sequence[Taken]) -> tuple[str, ...]:
    """Device ids that stand for more than one device.

    Either a column names the home (``home_id``, ``home``, ``home_type``) and one id stands in several, or one id has
    two values of one metric at one moment.
    """
    home, device = column(table, ("home_id", "home", "home_type")), column(table, DEVICE)
    found: set[str] = set()
    if home and device:
        homes: dict[str, set[str]] = {}
        for who, where in zip(table[device], table[home], strict=True):
            homes.setdefault(str(who), set()).add(str(where))
        found |= {who for who, where in homes.items() if len(where) > 1}
    seen: dict[tuple[str, str, float], float] = {}
    for one in taken:
        if seen.setdefault((one.device, one.metric, one.at), one.value) != one.value:
            found.add(one.device)
    return tuple(sorted(found))


def on_mains(taken: Sequence[Taken]) -> tuple[str, ...]:
    """Devices whose battery read exactly 100 % at each of three or more readings: they have none to empty."""
    levels: dict[str, list[float]] = {}
    for one in taken:
        if one.metric == "battery_level":
            levels.setdefault(one.device, []).append(one.value)
    return tuple(sorted(who for who, read in levels.items() if len(read) >= LEAST_READINGS and set(read) == {MAINS}))
