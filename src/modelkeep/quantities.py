"""Durations, shares and moments as people write them: ``24h``, ``1%``, ``2013-09-01T10:00:00Z``."""

import math
import re
from datetime import UTC, datetime

from modelkeep.errors import BadInput

HOUR, DAY, WEEK = 3600.0, 86400.0, 604800.0
"""In seconds; a day has 24 hours, whatever clocks do."""
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": HOUR, "d": DAY, "w": WEEK}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def seconds(text: str, field: str = "duration") -> float:
    """Parse a duration into seconds.

    >>> seconds("24h"), seconds("1h30m"), seconds("50ms")
    (86400.0, 5400.0, 0.05)

    Raises BadInput for anything else.
    """
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        raise BadInput.of(field, expected="a duration such as 30s, 24h or 1h30m", got=repr(text))
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def duration(value: float) -> str:
    """Write seconds the way ``seconds`` reads them, with two units at most.

    >>> duration(5400), duration(90000), duration(0.25)
    ('1h30m', '1d1h', '250ms')
    """
    if value < 1:
        return f"{round(value * 1000)}ms"
    rest, words = round(value), []
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_SECONDS[unit]))
        if count:
            words.append(f"{count}{unit}")
    return "".join(words[:2])


def share(text: str, field: str = "share") -> float:
    """Parse a share of traffic, ``1%`` or ``0.01``, into (0, 1].

    >>> share("1%"), share("0.25")
    (0.01, 0.25)

    Raises BadInput outside (0, 1].
    """
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise BadInput.of(field, expected="a share such as 1% or 0.01", got=repr(text)) from None
    if not 0 < value <= 1:
        raise BadInput.of(field, expected="a share above 0 and up to 100%", got=repr(text))
    return value


def moment(text: str, field: str = "time") -> float:
    """Parse an ISO-8601 date or time, or seconds since the epoch, into seconds since the epoch.

    A time without a zone is UTC.

    >>> moment("1970-01-02"), moment("1970-01-01T01:00:00+01:00"), moment("12.5")
    (86400.0, 0.0, 12.5)

    Raises BadInput for anything else.
    """
    try:
        value = float(text)
    except ValueError:
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            raise BadInput.of(field, expected="an ISO-8601 time such as 2013-09-01T10:00:00Z", got=repr(text)) from None
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(value):
        raise BadInput.of(field, expected="a finite number of seconds", got=repr(text))
    return value


def iso(at: float) -> str:
    """Write seconds since the epoch as ISO-8601 in UTC, to the millisecond.

    >>> iso(0.5)
    '1970-01-01T00:00:00.500Z'
    """
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
