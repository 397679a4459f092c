"""A model's life by day: what it answered and how wrong it was, next to its automatic baselines."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from msgspec import Struct

from modelkeep.profile import Sums
from modelkeep.store.seams import Records
from modelkeep.watch.intervals import mean, wilson

DAY = 86400.0
LONG = 92
"""Days above which a chart goes by week."""


class Measured(Struct, frozen=True, kw_only=True):
    """A mean error (in the output's unit) or an accuracy (in [0, 1]) with its 95 % interval over ``n`` pairs."""

    value: float
    low: float
    high: float
    n: int
    accuracy: bool


@dataclass(kw_only=True)
class Bucket:
    """One day (or week) from ``start``: counts, and error sums of what was answered and of each version on trial.

    ``errors`` has the key ``model`` and each automatic baseline; ``trials`` the sums of shadow and canary by version.
    """

    start: float
    end: float
    answered: int = 0
    failed: int = 0
    errors: dict[str, Sums] = field(default_factory=dict)
    trials: dict[int, Sums] = field(default_factory=dict)

    @property
    def middle(self) -> float:
        """Where the bucket stands on a time axis."""
        return (self.start + self.end) / 2


def measured(sums: Sums | None) -> Measured | None:
    """The headline metric of some pairs: accuracy (Wilson interval) for classes, mean absolute error for numbers.

    None without pairs; a single pair has no interval of its mean.

    >>> measured(Sums(n=4, absolute=8.0, square=16.0)).value
    2.0
    """
    if sums is None or sums.n <= 0:
        return None
    if sums.confusion:
        right = sum(row.get(truth, 0) for truth, row in sums.confusion.items())
        low, high = wilson(right, sums.n)
        return Measured(value=right / sums.n, low=low, high=high, n=sums.n, accuracy=True)
    value = sums.absolute / sums.n
    low, high = mean(sums.absolute, sums.square, n=sums.n) or (value, value)
    return Measured(value=value, low=max(low, 0.0), high=high, n=sums.n, accuracy=False)


def loss(sums: Sums | None) -> float | None:
    """What is to be small: the mean absolute error, or the share of wrong classes."""
    found = measured(sums)
    return None if found is None else 1 - found.value if found.accuracy else found.value


def skill(errors: dict[str, Sums], baseline: str | None) -> float | None:
    """``1 - loss(model) / loss(baseline)``: above 0 is better than the baseline, below 0 worse; None when unknown."""
    model, other = loss(errors.get("model")), loss(errors.get(baseline or ""))
    return None if model is None or not other else 1 - model / other


def best_baseline(errors: dict[str, Sums]) -> str | None:
    """The automatic baseline with the smallest loss, or None when no baseline has an outcome to be judged by.

    One that could answer for less than half of the model's pairs is no yardstick.
    """
    pairs = errors["model"].n if "model" in errors else 0
    rated = {name: loss(sums) for name, sums in errors.items() if name != "model" and sums.n * 2 >= pairs}
    known = {name: value for name, value in rated.items() if value is not None}
    return min(known, key=lambda name: (known[name], name), default=None)


def together(buckets: list[Bucket]) -> dict[str, Sums]:
    """The error sums of all buckets as one."""
    total: dict[str, Sums] = {}
    for bucket in buckets:
        _gather(total, bucket.errors)
    return total


def by_day(records: Records, model: str, *, start: float, end: float) -> list[Bucket]:
    """Every day from ``start``'s day to ``end``'s (weeks when there are many), also those without any traffic."""
    first = math.floor(start / DAY)
    last = max(math.ceil(end / DAY), first + 1)
    step = 1 if last - first <= LONG else 7
    buckets = [Bucket(start=at * DAY, end=min((at + step) * DAY, last * DAY)) for at in range(first, last, step)]
    for version, role in records.arms(model, start=first * DAY, end=last * DAY):
        for hour in records.slices(model, version, role=role, start=first * DAY, end=last * DAY):
            bucket, profile = buckets[int((hour.start / DAY - first) // step)], hour.profile
            if role in {"shadow", "canary"} and "model" in profile.errors:
                mine = bucket.trials.get(version, Sums())
                bucket.trials[version] = mine + profile.errors["model"]
            if role != "shadow":
                bucket.answered += profile.n
                bucket.failed += profile.failures
                _gather(bucket.errors, profile.errors)
    return buckets


def _gather(total: dict[str, Sums], more: dict[str, Sums]) -> None:
    for name, sums in more.items():
        total[name] = total[name] + sums if name in total else sums
