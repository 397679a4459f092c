"""The conditions of rules: ``level >= warning`` or ``value > 0.2``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from modelkeep.errors import BadInput
from modelkeep.nouns import LEVELS, SEVERITIES, Level, Reading, Severity

KNOWN: tuple[Level, ...] = tuple(level for level in LEVELS if level != "unknown")
"""The levels that can be compared, in order; ``unknown`` is beside the scale."""

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*(level|value)\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*")
_EXPECTED = "a condition such as `level >= warning` or `value > 0.2`"


def holds(condition: str, reading: Reading) -> bool | None:
    """Whether a reading meets a condition; None when the reading is unknown or not a number, and so says neither.

    >>> holds("value > 0.2", Reading(name="x", subject="m", value=0.3, level="ok", at=0.0))
    True
    >>> holds("level >= warning", Reading(name="x", subject="m", value=None, level="unknown", at=0.0)) is None
    True

    Raises BadInput for anything that is not a condition.
    """
    what, compare, limit = parsed(condition)
    if reading.level == "unknown":
        return None
    if what == "level":
        return compare(KNOWN.index(reading.level), limit)
    if reading.value is None or not math.isfinite(reading.value):
        return None
    return compare(reading.value, limit)


@lru_cache(maxsize=1000)
def parsed(condition: str) -> tuple[str, Callable[[float, float], bool], float]:
    """What is compared, how, and with what. Raises BadInput."""
    match = _FORM.fullmatch(condition)
    if match is None:
        raise BadInput.of("condition", expected=_EXPECTED, got=repr(condition))
    what, sign, limit = match.groups()
    if what == "level":
        if limit not in KNOWN:
            raise BadInput.of("condition", expected=f"one of {', '.join(KNOWN)} after `level {sign}`", got=repr(limit))
        return what, _COMPARISONS[sign], float(KNOWN.index(limit))
    try:
        number = float(limit)
    except ValueError:
        raise BadInput.of("condition", expected=f"a number after `value {sign}`", got=repr(limit)) from None
    if not math.isfinite(number):
        raise BadInput.of("condition", expected="a finite number", got=repr(limit))
    return what, _COMPARISONS[sign], number


def severity(name: str) -> Severity:
    """A severity by its name: info < warning < medium < error < high < critical.

    >>> severity("medium")
    'medium'

    Raises BadInput for any other name.
    """
    for known in SEVERITIES:
        if known == name:
            return known
    raise BadInput.of("severity", expected=f"one of {', '.join(SEVERITIES)}", got=repr(name))
