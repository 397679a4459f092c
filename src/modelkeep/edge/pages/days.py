"""A model's life by day: what it answered and how wrong it was, next to its automatic baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from modelkeep.profile import Sums, together
from modelkeep.quantities import DAY
from modelkeep.store.seams import Records
from modelkeep.watch.performance import accuracy

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
    name = "accuracy" if sums.confusion else "mae"
    found = accuracy(sums, need=1)
    value = found.metrics[name]
    low, high = found.intervals.get(name, (value, value))
    return Measured(value=value, low=low, high=high, n=sums.n, accuracy=name == "accuracy")


def saved(errors: Mapping[str, Sums], baseline: str | None) -> float | None:
    """The share of the baseline's mean error that the model saves: below 0 it adds to it; None when unknown."""
    model, other = errors.get("model", Sums()), errors.get(baseline or "", Sums())
    return None if not model.n or other.loss <= 0 else 1 - (model.loss / model.n) / (other.loss / other.n)


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
                bucket.errors = together((bucket.errors, profile.errors))
    return buckets
