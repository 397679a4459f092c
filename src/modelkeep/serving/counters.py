"""What the gateway counts, for metrics and for the state of a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from modelkeep.serving.routes import Route

LEAST = 20
UNHEALTHY = 0.05
_NEWEST = 0.02


class ModelHealth(Struct, frozen=True, kw_only=True):
    """The state of a model's champion, from its newest hundred calls or so.

    ``slow``: a row takes more than a third of the policy's limit on average. ``unhealthy``: it is not loaded, or more
    than 5 % of its rows fail. ``average_seconds`` and ``error_rate`` are None before the first call.
    """

    state: Literal["ready", "loading", "slow", "unhealthy", "disabled"]
    average_seconds: float | None = None
    error_rate: float | None = None
    detail: str = ""


@dataclass(slots=True)
class Vitals:
    """Exponentially weighted means of one version's newest calls."""

    n: int = 0
    seconds: float = 0.0
    errors: float = 0.0

    def note(self, seconds: float, *, failed: float) -> None:
        """Take one call in: its seconds a row, and the share of its rows that failed. First calls weigh the same."""
        self.n += 1
        weight = max(_NEWEST, 1 / self.n)
        self.seconds += weight * (seconds - self.seconds)
        self.errors += weight * (failed - self.errors)


@dataclass(slots=True)
class Counters:
    """Counts since the start; only grown, except ``open``: the requests that are being answered now.

    ``predictions`` by (model, version, role), ``errors`` by (model, version, reason), ``fallbacks`` by (model, reason),
    ``not_recorded`` by model: requests about people who have not consented.
    """

    open: int = 0
    predictions: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    errors: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    fallbacks: Counter[tuple[str, str]] = field(default_factory=Counter)
    shadows_dropped: Counter[str] = field(default_factory=Counter)
    not_recorded: Counter[str] = field(default_factory=Counter)
    vitals: dict[tuple[str, int], Vitals] = field(default_factory=dict)

    def uses(self) -> Counter[str]:
        """How many predictions of each model were answered."""
        found: Counter[str] = Counter()
        for (model, _, _), count in list(self.predictions.items()):
            found[model] += count
        return found

    def health(self, model: str, route: Route | None) -> ModelHealth:
        """The state of a model; ``route`` None = it is not in the table yet."""
        if route is None:
            return ModelHealth(state="loading", detail="not in the routing table yet")
        rollout = route.rollout
        vitals = self.vitals.get((model, rollout.champion), Vitals())
        seconds = vitals.seconds if vitals.n else None
        errors = vitals.errors if vitals.n else None
        if rollout.disabled:
            return ModelHealth(state="disabled", average_seconds=seconds, error_rate=errors, detail=rollout.disabled)
        absent = route.absent.get(rollout.champion)
        if absent is not None:
            return ModelHealth(state="unhealthy", average_seconds=seconds, error_rate=errors, detail=absent)
        if errors is not None and vitals.n >= LEAST and errors > UNHEALTHY:
            detail = f"{errors:.0%} of the newest rows failed"
            return ModelHealth(state="unhealthy", average_seconds=seconds, error_rate=errors, detail=detail)
        if seconds is not None and seconds > route.policy.limit / 3:
            detail = f"{seconds:.1f} s a row on average"
            return ModelHealth(state="slow", average_seconds=seconds, error_rate=errors, detail=detail)
        return ModelHealth(state="ready", average_seconds=seconds, error_rate=errors)
