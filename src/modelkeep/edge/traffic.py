"""What the doors counted: requests by route, their durations, predictions by model and entity.

All counting happens on the event loop, so there is no lock; ``/metrics`` reads it at a scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

EDGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds of the duration histograms in seconds; the last bucket is open."""

MOST_ENTITIES = 100
OTHER = "other"


@dataclass
class Durations:
    """A histogram of durations in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(EDGES) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(EDGES, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        found, running = [], 0
        for bound, count in zip((*map(str, EDGES), "+Inf"), self.counts, strict=True):
            running += count
            found.append((bound, float(running)))
        return found


class Traffic:
    """Counts of one server process since its start."""

    def __init__(self) -> None:
        self.running = 0
        self.requests: dict[tuple[str, str, int], int] = {}
        self.durations: dict[tuple[str, str], Durations] = {}
        self.predictions: dict[str, dict[str, int]] = {}
        self.models: dict[str, Durations] = {}

    def request(self, method: str, route: str, *, status: int, seconds: float) -> None:
        """Count one answered request by its route template (never the raw path, which anyone can invent)."""
        one = (method, route, status)
        self.requests[one] = self.requests.get(one, 0) + 1
        durations = self.durations.get((method, route))
        if durations is None:
            durations = self.durations[method, route] = Durations()
        durations.add(seconds)

    def several(self, method: str, route: str, *, status: int, seconds: Sequence[float]) -> None:
        """Count requests of one route that were answered alike; ``seconds`` has one entry a request."""
        one = (method, route, status)
        self.requests[one] = self.requests.get(one, 0) + len(seconds)
        durations = self.durations.get((method, route))
        if durations is None:
            durations = self.durations[method, route] = Durations()
        counts = durations.counts
        for each in seconds:
            counts[bisect_left(EDGES, each)] += 1
        durations.total += sum(seconds)

    def answers(self, model: str, keys: Sequence[str], *, seconds: float) -> None:
        """Count answers of a model, one for each key, each of which took ``seconds``; see ``prediction``."""
        entities = self.predictions.get(model)
        if entities is None:
            entities = self.predictions[model] = {}
            self.models[model] = Durations()
        for key in keys:
            if key in entities:
                entities[key] += 1
            else:
                label = key if len(entities) < MOST_ENTITIES else OTHER
                entities[label] = entities.get(label, 0) + 1
        durations = self.models[model]
        durations.counts[bisect_left(EDGES, seconds)] += len(keys)
        durations.total += seconds * len(keys)

    def prediction(self, model: str, key: str, *, seconds: float) -> None:
        """Count one answer of a model.

        The first 100 entities of a model get a label of their own and keep it (a counter must never fall); the rest
        share ``other``.
        """
        entities = self.predictions.get(model)
        if entities is None:
            entities = self.predictions[model] = {}
            self.models[model] = Durations()
        if key not in entities and len(entities) >= MOST_ENTITIES:
            key = OTHER
        entities[key] = entities.get(key, 0) + 1
        self.models[model].add(seconds)
