"""How the pages say numbers, moments and states: always with a word, never by colour alone."""

import math
from datetime import UTC, datetime

from modelkeep.nouns import LEVELS, Level
from modelkeep.quantities import DAY, HOUR, duration

WORDS: dict[Level, str] = {"ok": "Healthy", "warning": "Warning", "critical": "Critical", "unknown": "Unknown"}
_WORST = LEVELS[::-1]


def worst(levels: list[Level]) -> Level:
    """The level that a person must see first; nothing at all is unknown, never ok.

    >>> worst(["ok", "unknown", "warning"]), worst([])
    ('warning', 'unknown')
    """
    return next((level for level in _WORST if level in levels), "unknown")


def rank(level: Level) -> int:
    """Where a level stands when the worst comes first: 0 is critical."""
    return _WORST.index(level)


def figure(value: float | None, unit: str = "") -> str:
    """A number with three significant digits; what is not known is a word.

    >>> figure(18.234), figure(0.04567), figure(12345.6, "min"), figure(None), figure(float("nan"))
    ('18.2', '0.0457', '12,346 min', 'unknown', 'unknown')
    """
    if value is None or not math.isfinite(value):
        return "unknown"
    size = abs(value)
    digits = 0 if size >= 100 or value == 0 else min(max(2 - math.floor(math.log10(size)), 0), 6)
    return f"{value:,.{digits}f}{f' {unit}' if unit else ''}"


def count(value: int | None) -> str:
    """A whole number with separators; what is not known is a word.

    >>> count(336776), count(None)
    ('336,776', 'unknown')
    """
    return "unknown" if value is None else f"{value:,}"


def plural(value: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "alert"), plural(1200, "alert")
    ('1 alert', '1,200 alerts')
    """
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def percent(value: float | None) -> str:
    """A fraction as a percentage.

    >>> percent(0.187), percent(0.004), percent(None)
    ('19 %', '0.4 %', 'unknown')
    """
    if value is None or not math.isfinite(value):
        return "unknown"
    part = value * 100
    return f"{part:.0f} %" if abs(part) >= 10 or part == round(part) else f"{part:.1f} %"


def clock(at: float) -> str:
    """A moment in UTC, to the minute.

    >>> clock(0.0)
    '1970-01-01 00:00 UTC'
    """
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def day(at: float) -> str:
    """A day as a chart's axis names it.

    >>> day(0.0)
    '1 Jan'
    """
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.day} {moment:%b}"


def hour(at: float) -> str:
    """The time of the day in UTC.

    >>> hour(3600.0)
    '01:00'
    """
    return f"{datetime.fromtimestamp(at, UTC):%H:%M}"


def stamp(at: float) -> str:
    """A moment as machines read it, for ``datetime`` attributes.

    >>> stamp(0.0)
    '1970-01-01T00:00:00Z'
    """
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def age(at: float, now: float) -> str:
    """How long ago, by the product's clock, in one unit.

    >>> age(0.0, 30.0), age(0.0, 7300.0), age(10.0, 0.0)
    ('just now', '2 h ago', 'in 10 s')
    """
    seconds = now - at
    if seconds < 0:
        return f"in {span(-seconds)}"
    return "just now" if seconds < 60 else f"{span(seconds)} ago"


def span(seconds: float) -> str:
    """A length of time in its largest unit.

    >>> span(90000.0), span(5400.0), span(59.0)
    ('1 d', '1 h', '59 s')
    """
    for size, name in ((DAY, "d"), (HOUR, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {name}"
    return f"{int(seconds)} s"


def lasting(seconds: float) -> str:
    """A length of time in two units.

    >>> lasting(90000.0)
    '1d 1h'
    """
    text = duration(max(seconds, 0.0)) or "0s"
    return "".join(
        f"{c} " if c.isalpha() and i + 1 < len(text) and text[i + 1].isdigit() else c for i, c in enumerate(text)
    )


def claim(message: str) -> tuple[str, str]:
    r"""The first line of an alert's message as its claim, and what it is based on.

    >>> claim("m@1 has lost skill: the error is 33 min\nSince yesterday")
    ('m@1 has lost skill', 'the error is 33 min')
    """
    first, colon, rest = message.partition("\n")[0].partition(": ")
    return (first, rest) if colon and " " in first else (f"{first}{colon}{rest}", "")


def causes(message: str) -> str:
    """The line of an alert's message that ranks its causes; empty without one."""
    return next((line for line in message.split("\n") if line.startswith("Likely causes")), "")
