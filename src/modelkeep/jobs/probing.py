"""Probes: what workloads see of the world beyond predictions, taken with every pass of the task ``watch``."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from modelkeep.errors import ModelkeepError
from modelkeep.jobs.rooms import Rooms
from modelkeep.nouns import Reading

_LOG = logging.getLogger("modelkeep.jobs")


class Probing(Struct, frozen=True, kw_only=True):
    """One probe of a workload, which is named in the log and in the reading that says that it failed."""

    workload: str
    probe: Callable[[Rooms], Iterable[Reading]]


def probed(rooms: Rooms, probes: Sequence[Probing], *, now: float) -> list[Reading]:
    """The readings of all probes. One that fails takes nothing but its own readings with it.

    Its place is taken by the reading ``probe`` of its workload, at level unknown, which says why: what a probe could
    not see is unknown, and neither opens nor resolves an alert.
    """
    found: list[Reading] = []
    failed: dict[str, list[str]] = {each.workload: [] for each in probes}
    for each in probes:
        name = getattr(each.probe, "__qualname__", repr(each.probe))
        try:
            found += [_fit(reading) for reading in each.probe(rooms)]
        except ModelkeepError as refusal:
            failed[each.workload].append(f"{name}: {refusal}")
        except Exception as defect:  # noqa: BLE001 - a job's run: the watch goes on without this probe
            _LOG.exception("a probe failed", extra={"workload": each.workload, "probe": name})
            failed[each.workload].append(
                f"{name} is defective, the log has the cause: {type(defect).__name__}: {defect}"
            )
    return found + [_state(workload, why, now=now) for workload, why in failed.items()]


def _fit(reading: Reading) -> Reading:
    """A reading as it may be kept. Raises TypeError, ValueError for what no probe may say."""
    if not isinstance(reading, Reading):
        raise TypeError(f"expected a Reading, got {type(reading).__name__}")
    numbers = [reading.value, *(fact for fact in reading.facts.values() if isinstance(fact, float))]
    if any(number is not None and not math.isfinite(number) for number in numbers):
        raise ValueError(f"the reading {reading.name} of {reading.subject} is not finite: say None and level unknown")
    if reading.value is None and reading.level == "ok":
        raise ValueError(f"the reading {reading.name} of {reading.subject} has no value, so its level cannot be ok")
    return reading


def _state(workload: str, why: list[str], *, now: float) -> Reading:
    if why:
        return Reading(name="probe", subject=workload, value=None, level="unknown", at=now, detail="; ".join(why))
    return Reading(name="probe", subject=workload, value=1.0, level="ok", at=now, n=1, detail="every probe answered")
