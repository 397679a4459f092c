"""What the doors counted: requests by route, their durations, predictions by model and entity.

All counting happens on the event loop, so there is no lock; ``/metrics`` reads it at a scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from msgspec import Struct, structs

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

    def join(self, counts: Sequence[int], total: float) -> None:
        """Add the counts of another histogram."""
        self.counts = [mine + other for mine, other in zip(self.counts, counts, strict=True)]
        self.total += total

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        found, running = [], 0
        for bound, count in zip((*map(str, EDGES), "+Inf"), self.counts, strict=True):
            running += count
            found.append((bound, float(running)))
        return found


class Tally(Struct, frozen=True, kw_only=True):
    """What one process counted, as another can read it.

    Beside its requests and predictions: stand-ins by model and reason, and the records that wait or were lost.
    """

    running: int = 0
    requests: list[tuple[tuple[str, str, int], int]] = []
    durations: list[tuple[tuple[str, str], list[int], float]] = []
    predictions: dict[str, dict[str, int]] = {}
    models: list[tuple[str, list[int], float]] = []
    fallbacks: list[tuple[tuple[str, str], int]] = []
    held: int = 0
    spooled: int = 0
    dropped: int = 0

    def ended(self) -> Tally:
        """What stays true when the process is gone: nothing runs in it, and what waited another takes up."""
        return structs.replace(self, running=0, held=0, spooled=0)


class Traffic:
    """Counts of one server process since its start.

    ``others`` tells what the other processes on the same ports counted; a scrape asks for all of them.
    """

    def __init__(self) -> None:
        self.others: Callable[[], Iterable[Tally]] = tuple
        self.running = 0
        self.requests: dict[tuple[str, str, int], int] = {}
        self.durations: dict[tuple[str, str], Durations] = {}
        self.predictions: dict[str, dict[str, int]] = {}
        self.models: dict[str, Durations] = {}

    def tally(self) -> Tally:
        """The counts as they are now; safe from any thread."""
        return Tally(
            running=self.running,
            requests=list(self.requests.items()),
            durations=[(name, list(one.counts), one.total) for name, one in list(self.durations.items())],
            predictions={model: dict(entities) for model, entities in list(self.predictions.items())},
            models=[(model, list(one.counts), one.total) for model, one in list(self.models.items())],
        )

    def whole(self, tallies: Iterable[Tally]) -> Traffic:
        """These counts and those of other processes, added up."""
        found = Traffic()
        for tally in (self.tally(), *tallies):
            found.running += tally.running
            for one, count in tally.requests:
                found.requests[one] = found.requests.get(one, 0) + count
            for name, counts, total in tally.durations:
                found.durations.setdefault(name, Durations()).join(counts, total)
            for model, entities in tally.predictions.items():
                mine = found.predictions.setdefault(model, {})
                for key, count in entities.items():
                    mine[key] = mine.get(key, 0) + count
            for model, counts, total in tally.models:
                found.models.setdefault(model, Durations()).join(counts, total)
        return found

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
        one, n = (method, route, status), len(seconds)
        self.requests[one] = self.requests.get(one, 0) + n
        durations = self.durations.get((method, route))
        if durations is None:
            durations = self.durations[method, route] = Durations()
        counts = durations.counts
        if n and max(seconds) <= EDGES[0]:  # as on a server that is not busy
            counts[0] += n
        else:
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
