"""How fast a model answers, how much, and how much of the time it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep.nouns import Prediction, Rollout
from modelkeep.operations.act import ModelName, Operation, stamp
from modelkeep.operations.models import known
from modelkeep.store.seams import Sought

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.store.seams import Ledger

MINUTE = 60.0
MOST = 10_000


class ReadPerformance(Struct, frozen=True, kw_only=True):
    """Of which model, over the last so many minutes."""

    model: ModelName
    minutes: Annotated[int, Meta(description="The last so many minutes", ge=1, le=1440)] = 60


class Throughput(Struct, frozen=True, kw_only=True):
    """Answers in the minute that begins ``at``."""

    at: datetime
    predictions: int


class Performance(Struct, frozen=True, kw_only=True):
    """How a model did from ``start`` to ``end``.

    ``average_ms`` and ``p95_ms`` are a row's time in the model, over the ``predictions`` answered to callers (shadows
    left out) or the newest 10,000 of them: then ``complete`` is false, and their time alone is counted; null without
    any. ``per_minute`` is their mean rate. ``availability`` is the share (%) of the time since its release in which the
    model was not disabled, null when it was not released; ``success_rate`` (%) that of answers by the asked version.
    """

    model: str
    start: datetime
    end: datetime
    predictions: int
    complete: bool
    average_ms: float | None
    p95_ms: float | None
    per_minute: float
    throughput: tuple[Throughput, ...]
    availability: float | None
    disabled_seconds: float
    success_rate: float | None


def performance(app: App, request: ReadPerformance) -> Performance:
    """Show how fast a model answers, how many a minute, and what share of the time it was there.

    Raises NotFound naming near models.
    """
    end = app.rooms.clock.now()
    start = end - request.minutes * MINUTE
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        history = ledger.rollouts.history(request.model)
        found, complete = _answered(ledger, request.model, start=start, end=end)
    taken = sorted(p.seconds for p in found if not math.isnan(p.seconds))
    released, off = _times(history, start=start, end=end)
    from_ = start if complete else min((p.at for p in found), default=start)
    return Performance(
        model=request.model,
        start=stamp(start),
        end=stamp(end),
        predictions=len(found),
        complete=complete,
        average_ms=1000 * sum(taken) / len(taken) if taken else None,
        p95_ms=1000 * taken[math.ceil(0.95 * len(taken)) - 1] if taken else None,
        per_minute=len(found) * MINUTE / max(end - from_, 1.0),
        throughput=_minutes(found, start=start, end=end),
        availability=100 * (released - off) / released if released else None,
        disabled_seconds=off,
        success_rate=100 * sum(p.error is None for p in found) / len(found) if found else None,
    )


def _answered(ledger: Ledger, model: str, *, start: float, end: float) -> tuple[list[Prediction], bool]:
    """The newest predictions that callers were answered with, and whether they are all."""
    found: list[Prediction] = []
    place: tuple[float, int] | None = None
    while len(found) < MOST:
        page = ledger.records.search(Sought(model=model, since=start, until=end, before=place), limit=1000)
        found += [hit.prediction for hit in page.hits if hit.prediction.role != "shadow"]
        place = page.rest
        if place is None:
            return found, True
    return found[:MOST], False


def _times(history: Sequence[Rollout], *, start: float, end: float) -> tuple[float, float]:
    """Seconds within the span in which the model was released, and those of them in which it was disabled."""
    released = off = 0.0
    ends = [rollout.since for rollout in history[1:]] + [end]
    for rollout, until in zip(history, ends, strict=True):
        seconds = max(min(until, end) - max(rollout.since, start), 0.0)
        released += seconds
        off += seconds if rollout.disabled else 0.0
    return released, off


def _minutes(found: Sequence[Prediction], *, start: float, end: float) -> tuple[Throughput, ...]:
    """Answers in each whole minute of the span that has any."""
    counts: dict[int, int] = {}
    for p in found:
        minute = int(p.at // MINUTE)
        counts[minute] = counts.get(minute, 0) + 1
    first, last = int(start // MINUTE), int(end // MINUTE)
    return tuple(Throughput(at=stamp(m * MINUTE), predictions=counts[m]) for m in range(first, last + 1) if m in counts)


OPERATIONS = (
    Operation(
        name="performance", method="GET", path="/v1/models/{model}/performance", request=ReadPerformance,
        result=Performance, run=performance, words=("performance",), plain=("model",), essential=False,
    ),
)  # fmt: skip
