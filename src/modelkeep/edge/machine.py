"""How busy the machine is, as readings: processors, memory and network since the watch looked last."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import psutil

from modelkeep.nouns import Level, Reading

if TYPE_CHECKING:
    from modelkeep.jobs.rooms import Rooms

BUSY = (80.0, 95.0)
"""Per cent from which a machine is said to be busy, and too busy."""


class _Sample(NamedTuple):
    at: float
    idle: float
    total: float
    network: int | None


class Machine:
    """A probe on the machine that a server runs on.

    ``cpu_percent`` and ``memory_percent`` are in 0..100, ``network_rate`` is sent and received in bytes a second. What
    is counted between two passes is unknown at the first.
    """

    def __init__(self) -> None:
        self._before: _Sample | None = None

    def __call__(self, rooms: Rooms) -> Iterable[Reading]:
        """The readings of the time since the last call."""
        now = _sample(rooms.clock.now())
        before, self._before = self._before, now
        memory = psutil.virtual_memory()
        yield Reading(
            name="memory_percent", subject="server", value=memory.percent, level=_level(memory.percent), at=now.at, n=1,
            unit="%", detail=f"{memory.percent:.0f} % of {memory.total / 2**30:.1f} GB are in use",
        )  # fmt: skip
        passed = now.total - before.total if before is not None else 0.0
        if before is None or passed <= 0:
            yield from (
                _unknown(name, unit, at=now.at) for name, unit in (("cpu_percent", "%"), ("network_rate", "B/s"))
            )
            return
        busy = min(max(100 * (1 - (now.idle - before.idle) / passed), 0.0), 100.0)
        yield Reading(
            name="cpu_percent", subject="server", value=busy, level=_level(busy), at=now.at, n=1, unit="%",
            detail=f"the processors were busy for {busy:.0f} % of the time",
        )  # fmt: skip
        yield _network(before, now)


def _sample(at: float) -> _Sample:
    times = psutil.cpu_times()
    counted = psutil.net_io_counters()
    return _Sample(
        at=at,
        idle=times.idle + getattr(times, "iowait", 0.0),
        total=float(sum(times[:8])),  # what guests of virtual machines took is counted in the others already
        network=None if counted is None else counted.bytes_sent + counted.bytes_recv,
    )


def _network(before: _Sample, now: _Sample) -> Reading:
    if now.network is None or before.network is None or now.at <= before.at or now.network < before.network:
        return _unknown("network_rate", "B/s", at=now.at)
    rate = (now.network - before.network) / (now.at - before.at)
    return Reading(
        name="network_rate", subject="server", value=rate, level="ok", at=now.at, n=1, unit="B/s",
        detail=f"{rate / 1024:.1f} KB a second were sent and received",
    )  # fmt: skip


def _level(percent: float) -> Level:
    return "critical" if percent > BUSY[1] else "warning" if percent > BUSY[0] else "ok"


def _unknown(name: str, unit: str, *, at: float) -> Reading:
    detail = "counted from one look to the next: there is no earlier look of this process"
    return Reading(name=name, subject="server", value=None, level="unknown", at=at, unit=unit, detail=detail)
