"""What is to be said of the newest training of each model: how long it took, and on what data it stands."""

from __future__ import annotations

import statistics

from modelkeep.nouns import Reading, Version
from modelkeep.quantities import duration
from modelkeep.store.seams import Ledger

EARLIER = 10
"""Trainings that the newest one is compared with."""
LEAST = 3
SLOWER = 10.0


def trainings(ledger: Ledger, model: str, *, now: float) -> list[Reading]:
    """Readings ``training_time`` and ``training_data`` of a model whose newest version says where it comes from."""
    versions = ledger.versions.all(model)
    newest = versions[-1] if versions else None
    if newest is None:
        return []
    found = [_data(newest, now=now)] if newest.lineage.data_source else []
    return found + ([_time(versions, now=now)] if newest.lineage.seconds is not None else [])


def _time(versions: list[Version], *, now: float) -> Reading:
    """Seconds of the newest training; ``warning`` from ten times the median of the last ten before it on."""
    newest = versions[-1]
    took = newest.lineage.seconds or 0.0
    before = [v.lineage.seconds for v in versions[:-1] if v.lineage.seconds is not None][-EARLIER:]
    if len(before) < LEAST:
        detail = f"training {newest.name} took {duration(took)}; {len(before)} earlier trainings, {LEAST} are needed"
        return Reading(
            name="training_time", subject=newest.model, value=None, level="unknown", at=now, n=len(before), unit="s",
            detail=detail, facts={"seconds": took},
        )  # fmt: skip
    median = statistics.median(before)
    slow = median > 0 and took >= SLOWER * median
    typical = duration(median)
    detail = f"training {newest.name} took {duration(took)}, the median of the {len(before)} before is {typical}"
    return Reading(
        name="training_time", subject=newest.model, value=took, level="warning" if slow else "ok", at=now,
        n=len(before), unit="s", detail=detail, facts={"median": median},
    )  # fmt: skip


def _data(newest: Version, *, now: float) -> Reading:
    """1 when the newest version stands on real rows, 0 when on simulated ones, and then ``warning``."""
    lineage = newest.lineage
    real = lineage.data_source != "sample"
    rows = f"{lineage.rows:,} rows" if lineage.rows is not None else "an unknown number of rows"
    where = {"database": "recorded here", "file": f"of {lineage.source}", "sample": "that are SIMULATED"}
    said = f"{newest.name} was trained on {rows} {where.get(lineage.data_source, '')}".strip()
    return Reading(
        name="training_data", subject=newest.model, value=float(real), level="ok" if real else "warning", at=now,
        n=lineage.rows or 0, detail=said if real else f"{said}: it says nothing of real data",
        facts={"data_source": lineage.data_source},
    )  # fmt: skip
