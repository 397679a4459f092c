"""The conditions of rules: ``level >= warning``, ``value < 30 and confidence >= 0.6``, ``value > 5 or n < 10``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

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
_FORM = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*")
_EXPECTED = "a condition such as `level >= warning` or `value > 0.2`, joined by `and` and `or`"


class Comparison(NamedTuple):
    """One comparison: of ``level``, ``value``, ``n`` or a number of the reading's facts, with a limit."""

    what: str
    compare: Callable[[float, float], bool]
    limit: float


def holds(condition: str, reading: Reading) -> bool | None:
    """Whether a reading meets a condition; None when the reading is unknown or lacks a number that would decide it.

    ``and`` binds closer than ``or``. What is unknown stays so unless the rest decides: false and unknown is false.

    >>> calm = Reading(name="x", subject="m", value=20.0, level="ok", at=0.0, facts={"confidence": 0.59})
    >>> holds("value < 30 and confidence >= 0.6", calm), holds("value < 30 and trust >= 0.6", calm)
    (False, None)
    >>> holds("level >= warning", Reading(name="x", subject="m", value=None, level="unknown", at=0.0)) is None
    True

    Raises BadInput for anything that is not a condition.
    """
    alternatives = parsed(condition)
    if reading.level == "unknown":
        return None
    return _any([_all([_met(one, reading) for one in every]) for every in alternatives])


def _all(met: Sequence[bool | None]) -> bool | None:
    return False if False in met else None if None in met else True


def _any(met: Sequence[bool | None]) -> bool | None:
    return True if True in met else None if None in met else False


def _met(one: Comparison, reading: Reading) -> bool | None:
    if one.what == "level":
        return one.compare(LEVELS.index(reading.level), one.limit)
    value = {"value": reading.value, "n": reading.n}.get(one.what, reading.facts.get(one.what))
    if value is None or isinstance(value, str) or not math.isfinite(value):
        return None
    return one.compare(float(value), one.limit)


@lru_cache(maxsize=1000)
def parsed(condition: str) -> tuple[tuple[Comparison, ...], ...]:
    """Alternatives, each of comparisons that must all be met. Raises BadInput."""
    return tuple(
        tuple(_comparison(part, condition) for part in re.split(r"\band\b", alternative))
        for alternative in re.split(r"\bor\b", condition)
    )


def _comparison(text: str, condition: str) -> Comparison:
    match = _FORM.fullmatch(text)
    if match is None:
        raise BadInput.of("condition", expected=_EXPECTED, got=repr(condition))
    what, sign, limit = match.groups()
    if what == "level":
        if limit not in KNOWN:
            raise BadInput.of("condition", expected=f"one of {', '.join(KNOWN)} after `level {sign}`", got=repr(limit))
        return Comparison(what, _COMPARISONS[sign], float(LEVELS.index(limit)))
    try:
        number = float(limit)
    except ValueError:
        raise BadInput.of("condition", expected=f"a number after `{what} {sign}`", got=repr(limit)) from None
    if not math.isfinite(number):
        raise BadInput.of("condition", expected="a finite number", got=repr(limit))
    return Comparison(what, _COMPARISONS[sign], number)


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
