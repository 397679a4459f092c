"""What devices measure: names, units and ranges, and how a reading in another name or unit becomes one of ours.

The eleven metrics with a range of their own are those of a home's device service; any other number is a metric, too,
under its own name and unit. A physical range is checked, because a value outside it is a fault of the sensor or of the
unit, not of the device: it counts as missing, with the reason.
"""

from types import MappingProxyType

from msgspec import Struct

from modelkeep import Value


class Metric(Struct, frozen=True, kw_only=True):
    """One known metric: its unit, and the inclusive range that is physically possible in it."""

    name: str
    unit: str
    low: float
    high: float


METRICS = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric(name="response_time", unit="ms", low=0, high=600_000),
            Metric(name="error_rate", unit="1", low=0, high=1),
            Metric(name="battery_level", unit="%", low=0, high=100),
            Metric(name="signal_strength", unit="dBm", low=-130, high=0),
            Metric(name="usage_frequency", unit="1", low=0, high=1),
            Metric(name="temperature", unit="degC", low=-60, high=150),
            Metric(name="humidity", unit="%", low=0, high=100),
            Metric(name="uptime_hours", unit="h", low=0, high=1e6),
            Metric(name="restart_count", unit="1", low=0, high=1e6),
            Metric(name="connection_drops", unit="1", low=0, high=1e6),
            Metric(name="data_transfer_rate", unit="KB/s", low=0, high=1e7),
            Metric(name="voltage", unit="V", low=0, high=1e5),
            Metric(name="current", unit="A", low=0, high=1e5),
            Metric(name="power", unit="W", low=-1e7, high=1e7),
            Metric(name="energy", unit="kWh", low=0, high=1e9),
            Metric(name="frequency", unit="Hz", low=0, high=1e12),
            Metric(name="illuminance", unit="lx", low=0, high=2e5),
            Metric(name="connectivity", unit="1", low=0, high=1),
            Metric(name="problem", unit="1", low=0, high=1),
            Metric(name="running", unit="1", low=0, high=1),
            Metric(name="battery_charging", unit="1", low=0, high=1),
        )
    }
)
"""Metrics with a known unit and range, by name; the unit "1" is a plain number (a share, a count, or yes and no)."""

ALIASES = MappingProxyType(
    {
        "latency": "response_time",
        "delay": "response_time",
        "ping": "response_time",
        "response_time_ms": "response_time",
        "errors": "error_rate",
        "error_ratio": "error_rate",
        "battery": "battery_level",
        "battery_percent": "battery_level",
        "rssi": "signal_strength",
        "signal": "signal_strength",
        "link_quality_dbm": "signal_strength",
        "usage": "usage_frequency",
        "temp": "temperature",
        "uptime": "uptime_hours",
        "restarts": "restart_count",
        "reboots": "restart_count",
        "drops": "connection_drops",
        "disconnects": "connection_drops",
        "data_rate": "data_transfer_rate",
        "throughput": "data_transfer_rate",
    }
)
"""Other names of known metrics, as Home Assistant and its integrations write them."""

_LINES = MappingProxyType(
    {
        ("s", "ms"): (1000.0, 0.0),
        ("us", "ms"): (0.001, 0.0),
        ("min", "ms"): (60_000.0, 0.0),
        ("degf", "degC"): (5 / 9, -160 / 9),
        ("k", "degC"): (1.0, -273.15),
        ("mv", "V"): (0.001, 0.0),
        ("kv", "V"): (1000.0, 0.0),
        ("ma", "A"): (0.001, 0.0),
        ("kw", "W"): (1000.0, 0.0),
        ("mw", "W"): (0.001, 0.0),
        ("wh", "kWh"): (0.001, 0.0),
        ("mwh", "kWh"): (1000.0, 0.0),
        ("j", "kWh"): (1 / 3.6e6, 0.0),
        ("%", "1"): (0.01, 0.0),
        ("1", "%"): (100.0, 0.0),
        ("khz", "Hz"): (1000.0, 0.0),
        ("mhz", "Hz"): (1e6, 0.0),
        ("s", "h"): (1 / 3600, 0.0),
        ("min", "h"): (1 / 60, 0.0),
        ("d", "h"): (24.0, 0.0),
        ("b/s", "KB/s"): (0.001, 0.0),
        ("mb/s", "KB/s"): (1000.0, 0.0),
        ("kbit/s", "KB/s"): (0.125, 0.0),
        ("mbit/s", "KB/s"): (125.0, 0.0),
        ("gbit/s", "KB/s"): (125_000.0, 0.0),
    }
)
"""(their unit, ours): ours = factor x theirs + offset."""

_SPELT = MappingProxyType(
    {
        "°c": "degc",
        "c": "degc",
        "celsius": "degc",
        "°f": "degf",
        "f": "degf",
        "fahrenheit": "degf",
        "percent": "%",
        "fraction": "1",
        "ratio": "1",
        "count": "1",
        "bool": "1",
        "hours": "h",
        "hour": "h",
        "days": "d",
        "seconds": "s",
        "sec": "s",
        "milliseconds": "ms",
        "kilobytes/s": "kb/s",
        "kbps": "kbit/s",
        "mbps": "mbit/s",
        "lux": "lx",
        "\u00b5s": "us",
        "kelvin": "k",
    }
)

MISSING = frozenset({"", "unknown", "unavailable", "none", "null", "nan", "n/a", "na", "-"})
"""Texts of a state that say nothing was measured; never a zero."""

_WORDS = MappingProxyType(
    {
        **dict.fromkeys(("on", "true", "yes", "open", "home", "connected", "online", "detected", "charging"), 1.0),
        **dict.fromkeys(("off", "false", "no", "closed", "away", "disconnected", "offline", "clear", "idle"), 0.0),
    }
)


def metric_name(text: str) -> str:
    """Our name of a metric: lower case with underscores, aliases resolved.

    >>> metric_name("Latency"), metric_name("signal strength"), metric_name("attribute4")
    ('response_time', 'signal_strength', 'attribute4')
    """
    name = "_".join(text.strip().lower().replace("-", " ").split())
    return ALIASES.get(name, name)


def unit_name(text: str) -> str:
    """A unit as it is compared: lower case, in one spelling.

    >>> unit_name("°F"), unit_name("Mbit/s")
    ('degf', 'mbit/s')
    """
    plain = text.strip().lower()
    return _SPELT.get(plain, plain)


def converted(value: float, *, metric: str, unit: str) -> float | str:
    """``value`` in the metric's own unit, or why it cannot be used, in words.

    An empty ``unit`` means the metric's own. A metric that is not known keeps its value and unit.

    >>> round(converted(68.0, metric="temperature", unit="°F"), 6)
    20.0
    >>> converted(3012, metric="voltage", unit="mV")
    3.012
    >>> converted(101.0, metric="battery_level", unit="%")
    'out of range: battery_level 101 % is not in 0..100'
    """
    known = METRICS.get(metric)
    if known is None:
        return value
    theirs, ours = unit_name(unit), unit_name(known.unit)
    if theirs and theirs != ours:
        line = _LINES.get((theirs, known.unit))
        if line is None:
            return f"unknown unit: {metric} in {unit!r}, {known.unit} is due"
        value = line[0] * value + line[1]
    if not known.low <= value <= known.high:
        return f"out of range: {metric} {value:g} {known.unit} is not in {known.low:g}..{known.high:g}"
    return value


def number_of(state: Value) -> float | None:
    """The number that a state means: numbers as they are, on and off as 1 and 0; None when it says nothing.

    >>> number_of("21,5"), number_of("on"), number_of("unavailable"), number_of(0)
    (21.5, 1.0, None, 0.0)

    Raises ValueError for a text that is neither a number nor one of the known words.
    """
    if state is None:
        return None
    if isinstance(state, str):
        word = state.strip().lower()
        if word in MISSING:
            return None
        if word in _WORDS:
            return _WORDS[word]
        state = word.replace(",", ".") if word.count(",") == 1 and "." not in word else word
    found = float(state)
    return found if abs(found) < float("inf") else None
