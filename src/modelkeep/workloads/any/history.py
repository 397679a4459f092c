"""What was known of an entity's labels at a moment: inputs made of the labels that had been told before it."""

from collections import deque
from collections.abc import Sequence

from modelkeep import Output, TrainingRows, Value, backtest

LAST = 8
"""So many of an entity's newest told labels make the short mean."""
NAMES = ("history_last", "history_same_period", "history_ewma", "history_mean")


def history(rows: TrainingRows) -> dict[str, list[Value]]:
    """Columns of NAMES for every row, from labels with ``told`` < ``at`` alone; None while nothing is known.

    ``history_last`` is the entity's newest known label, ``history_same_period`` that of the same hour of the week (else
    of the day), ``history_ewma`` an exponential mean (weight 0.1), ``history_mean`` the mean of the last 8. An entity
    without a known label has everyone's, except for the mean. Classes count as 1 (the last in sorted order) and 0.
    """
    numbers = _numbers(rows.truth)
    told, targets = rows.told or rows.at, rows.targets or rows.at
    known = backtest(rows.at, targets=targets, keys=rows.keys, truths=numbers, told=told)
    found: dict[str, list[Value]] = {
        "history_last": list(known["persistence"]),
        "history_same_period": list(known["same_period"]),
        "history_ewma": list(known["ewma"]),
        "history_mean": _means(rows, numbers=numbers, told=told),
    }
    return found


def _numbers(truth: Sequence[Output]) -> list[float]:
    if all(isinstance(value, int | float) for value in truth):
        return [float(value) for value in truth]
    last = max(str(value) for value in truth)
    return [float(str(value) == last) for value in truth]


def _means(rows: TrainingRows, *, numbers: Sequence[float], told: Sequence[float]) -> list[Value]:
    events = sorted([(at, 0, i) for i, at in enumerate(rows.at)] + [(at, 1, i) for i, at in enumerate(told)])
    newest: dict[str, deque[float]] = {}
    found: list[Value] = [None] * len(numbers)
    for _, outcome, i in events:
        mine = newest.get(rows.keys[i])
        if outcome:
            newest.setdefault(rows.keys[i], deque(maxlen=LAST)).append(numbers[i])
        elif mine:
            found[i] = sum(mine) / len(mine)
    return found
