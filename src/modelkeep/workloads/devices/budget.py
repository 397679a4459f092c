"""Ranking under an alert budget: how many devices can be looked at a day decides, not a probability of one half.

Protocol of the figures: every day the devices that reported are ranked by the score; the highest ceil(budget x devices)
of them are alarms. A failure is caught when its device was an alarm on some day within the horizon before it. Precision
is the share of alarms (device-days) whose device failed within the horizon; ``hit_devices`` the share of the devices
ever alarmed that failed within the horizon of an alarm.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from modelkeep.workloads.devices.fleet import DAY, Floats

BUDGET = 0.01


class Caught(Struct, frozen=True, kw_only=True):
    """What a ranking was worth: failures caught of all, alarms raised, and how many of them were right."""

    caught: int
    failures: int
    alarms: int
    precision: float
    hit_devices: float
    average_precision: float


def alarms(scores: Floats, at: Floats, *, share: float = BUDGET) -> NDArray[np.bool_]:
    """Which rows are alarms: the highest ``ceil(share x devices)`` of each UTC day; ties go by the order of rows."""
    day = np.floor(at / DAY)
    order = np.lexsort((-scores, day))
    days, starts, counts = np.unique(day[order], return_index=True, return_counts=True)
    del days
    place = np.arange(len(order)) - np.repeat(starts, counts)
    found = np.zeros(len(scores), dtype=np.bool_)
    found[order] = place < np.repeat(np.ceil(share * counts), counts)
    return found


def average_precision(scores: Floats, truth: Floats) -> float:
    """The mean precision over the positives, by falling score; rows of one score count together. NaN without any."""
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order], np.cumsum(truth[order])
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.diff(right[ends], prepend=0.0)
    total = float(right[-1]) if len(right) else 0.0
    return float((hits * right[ends] / (ends + 1)).sum() / total) if total else float("nan")


def judged(
    scores: Floats,
    truth: Floats,
    *,
    at: Floats,
    devices: Sequence[str],
    failed: Sequence[str] | None = None,
    share: float = BUDGET,
) -> Caught:
    """What a ranking caught; ``failed`` are the devices that failed (default: those with a true row)."""
    chosen = alarms(scores, at, share=share)
    names = np.array(devices, dtype=object)
    total = set(names[truth == 1]) if failed is None else set(failed)
    right = chosen & (truth == 1)
    hit = set(names[right])
    alarmed = set(names[chosen])
    return Caught(
        caught=len(hit & total),
        failures=len(total),
        alarms=int(chosen.sum()),
        precision=float(right.sum() / max(chosen.sum(), 1)),
        hit_devices=len(hit) / max(len(alarmed), 1),
        average_precision=average_precision(scores, truth),
    )
