"""What the workload reports with every pass of the watch: risk by device, quality of telemetry, our own speed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, json

from modelkeep import Level, Reading, Rooms, duration
from modelkeep.workloads.drilling import keeping, limits
from modelkeep.workloads.drilling.fleet import fleet
from modelkeep.workloads.drilling.limits import Limits

if TYPE_CHECKING:
    from modelkeep.workloads.drilling.keeping import Suppression
    from modelkeep.workloads.drilling.scoring import Factor, Score

LIMITS = limits.from_environment()
PREFIX = "drilling/"
SUBJECT = "drilling"
ALL = 100
"""Up to so many devices every one has a reading; of larger fleets those at risk, and those with an open alert."""
HOUR = 3600.0
MEGABYTE = 2**20
SEVERITIES: tuple[Literal["none", "medium", "high", "critical"], ...] = ("none", "medium", "high", "critical")
SOON: tuple[tuple[float, int], ...] = ((24.0, 3), (48.0, 2), (168.0, 1))
"""Expected hours to failure up to which a surely falling trend is critical, high or medium."""
KINDS = {
    "current_stability": "performance_degradation",
    "battery_performance": "battery_maintenance",
    "gps_reliability": "equipment_failure_risk",
}


class Risk(Struct, frozen=True, kw_only=True):
    """How much a device is at risk: ``rank`` 0-3 (none, medium, high, critical), or None when nobody can say yet.

    ``hours`` until health reaches the critical threshold, None where it does not surely fall; ``confidence`` that of
    the signal that decided.
    """

    rank: int | None
    kind: str
    hours: float | None
    confidence: float
    detail: str


def rules(of: Limits) -> str:
    """The rules of the workload as TOML."""
    text = (files("modelkeep.workloads.drilling") / "rules.toml").read_text(encoding="utf-8")
    return text.replace("{cooldown}", duration(of.cooldown_hours * HOUR)).replace("{cap}", str(of.most_alerts))


def probe(rooms: Rooms) -> Iterable[Reading]:
    """The readings of the workload; none while it has no telemetry, or is switched off by ``ML_ENABLED``."""
    if not LIMITS.enabled or not (keeping.rows(rooms).revision or keeping.ingests(rooms).revision):
        return []
    return [*_devices(rooms), *_quality(rooms), _memory(rooms)]


def risk(of: Score, limits: Limits, *, suppressed: Sequence[Suppression] = ()) -> Risk:
    """The risk of a device by its score and its trend, each only when confident enough, and not suppressed."""
    if of.health is None:
        return Risk(rank=None, kind="", hours=None, confidence=0.0, detail=of.reason)
    worst = _worst(of.factors)
    kind = KINDS[worst.feature] if worst else ""
    level = sum(of.health < least for least in (limits.alert_threshold, limits.high, limits.critical))
    hours = of.trend.hours if of.trend else None
    ahead = next((rank for within, rank in SOON if hours is not None and hours <= within), 0)
    sure = of.trend is not None and of.trend.confidence >= limits.confidence
    confident = of.confidence >= limits.confidence
    rank: int | None = max(level if confident else 0, ahead if sure else 0)
    if rank == 0 and (level or (ahead and not sure)):
        rank = None
    if rank and any(s.device_id == of.device_id and s.alert_type in {"", kind} for s in suppressed):
        rank = None
    confidence = of.trend.confidence if of.trend and sure and ahead > (level if confident else 0) else of.confidence
    return Risk(rank=rank, kind=kind, hours=hours, confidence=confidence, detail=_said(of, worst, hours=hours))


def health_reading(of: Score, found: Risk, *, at: float) -> Reading:
    """The reading that the device rules judge."""
    level: Level = "unknown" if found.rank is None else ("ok", "warning", "warning", "critical")[found.rank]
    trend = of.trend
    return Reading(
        name="drilling_risk", subject=f"{PREFIX}{of.device_id}",
        value=None if found.rank is None else float(found.rank), level=level, at=at, n=trend.n if trend else 0,
        unit="0 none .. 3 critical", detail=found.detail,
        facts={
            "health": None if of.health is None else round(of.health, 3),
            "confidence": round(found.confidence, 4),
            "predicted_failure_hours": None if found.hours is None else round(found.hours, 2),
            "alert_type": found.kind,
            "rate_per_hour": None if trend is None else round(trend.rate, 4),
            **{part.feature: round(part.value, 3) for part in of.factors},
        },
    )  # fmt: skip


def _devices(rooms: Rooms) -> Iterator[Reading]:
    now, begun = rooms.clock.now(), time.perf_counter()
    devices = fleet(rooms, LIMITS)
    devices.slowest = 0.0
    scores = devices.scores()
    seconds = time.perf_counter() - begun
    if not scores:
        return
    yield from device_readings(rooms, scores, at=now)
    known = [score for score in scores if score.health is not None]
    each = max(devices.slowest, seconds / len(scores))
    yield Reading(
        name="drilling_scoring", subject=SUBJECT, value=each, level="warning" if each > 5 else "ok", at=now,
        n=len(scores), unit="s", detail=f"the slowest of {len(scores)} devices took {each:.3f} s to score (limit 5 s)",
    )  # fmt: skip
    if known:
        mean = sum(score.confidence for score in known) / len(known)
        yield Reading(
            name="drilling_confidence", subject=SUBJECT, value=mean, level="ok" if mean >= 0.6 else "warning", at=now,
            n=len(known), detail=f"mean confidence of {len(known)} scores is {mean:.0%} (aim above 70 %)",
        )  # fmt: skip


def device_readings(rooms: Rooms, scores: Sequence[Score], *, at: float) -> list[Reading]:
    """The readings of the devices that matter: all of a small fleet, else those at risk or with an open alert."""
    suppressed = keeping.suppressed(rooms, at)
    found = [(score, risk(score, LIMITS, suppressed=suppressed)) for score in scores]
    if len(found) > ALL:
        with rooms.store.read() as ledger:
            open_ = {alert.subject for alert in ledger.alerts.all(active=True, limit=10_000)}
        found = [(score, one) for score, one in found if one.rank or f"{PREFIX}{score.device_id}" in open_]
    return [health_reading(score, one, at=at) for score, one in found]


def _quality(rooms: Rooms) -> Iterator[Reading]:
    """How good the telemetry of the last 24 h was (of the newest file when none came since)."""
    data, now = keeping.ingests(rooms), rooms.clock.now()
    recent = data.read(start=now - 24 * HOUR) if data.revision else {}
    if not recent.get("at"):
        newest = data.sql('SELECT max("at") FROM data')[0][0] if data.revision else None
        recent = data.read(start=float(newest)) if newest is not None else {}
    if not recent.get("at"):
        return
    total = {name: sum(int(v or 0) for v in recent[name]) for name in ("sessions", "failed", "cells", "missing", "bad")}
    reasons = [reason for text in recent["reasons"] for reason in json.decode(str(text), type=list[str])]
    tried = total["sessions"] + sum(reason.startswith("lines ") for reason in reasons)
    if tried:
        share = 1 - total["failed"] / tried
        said = f": {'; '.join(reasons[:10])}" if reasons else ""
        yield Reading(
            name="drilling_extraction", subject=SUBJECT, value=share, level="ok" if share >= 0.95 else "critical",
            at=now, n=tried, detail=f"features from {tried - total['failed']} of {tried} sessions ({share:.1%}){said}",
            facts={f"reason {i + 1}": reason for i, reason in enumerate(reasons[:20])},
        )  # fmt: skip
    if total["cells"]:
        missing = total["missing"] / total["cells"]
        worst = json.decode(str(recent["worst"][-1]), type=dict[str, float])
        said = ", ".join(f"{name} {share:.1%}" for name, share in worst.items()) or "none"
        yield Reading(
            name="drilling_missing", subject=SUBJECT, value=missing, level="ok" if missing < 0.05 else "critical",
            at=now, n=total["cells"], detail=f"{missing:.1%} of the values are missing (limit 5 %); worst: {said}",
            facts=dict(worst),
        )  # fmt: skip
    failures = sum(
        int(n or 0) for at, n in zip(recent["at"], recent["failed"], strict=True) if now - float(at or 0) < HOUR
    )
    yield Reading(
        name="drilling_failures", subject=SUBJECT, value=float(failures), level="ok" if failures <= 10 else "warning",
        at=now, n=failures, unit="1/h", detail=f"{failures} sessions failed in the last hour (limit 10)",
    )  # fmt: skip
    twice = sum(int(v or 0) for v in recent["two_places"])
    yield Reading(
        name="drilling_two_places", subject=SUBJECT, value=float(twice), level="ok" if not twice else "warning", at=now,
        n=twice, detail=f"{twice} pairs of sessions of one device were more than a kilometre apart at the same time",
    )  # fmt: skip


def _memory(rooms: Rooms) -> Reading:
    used = resident()
    at = rooms.clock.now()
    if used is None:
        return Reading(
            name="drilling_memory",
            subject=SUBJECT,
            value=None,
            level="unknown",
            at=at,
            detail="no /proc on this system",
        )
    return Reading(
        name="drilling_memory", subject=SUBJECT, value=used, level="ok" if used <= 1024 else "warning", at=at, n=1,
        unit="MB", detail=f"the server holds {used:.0f} MB (normal below 512 MB, limit 1024 MB)",
    )  # fmt: skip


def resident() -> float | None:
    """Resident memory of this process in MB; None where the system does not tell."""
    place = Path("/proc/self/statm")
    if not place.exists():
        return None
    return int(place.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def _worst(parts: Sequence[Factor]) -> Factor | None:
    """The factor that costs the most points, if any of them is bad."""
    bad = [part for part in parts if part.impact == "negative"] or list(parts)
    return max(bad, key=lambda part: part.importance * (100 - part.value), default=None)


def _said(of: Score, worst: Factor | None, *, hours: float | None) -> str:
    text = f"{of.device_id} has health {of.health:.1f}"
    if worst is not None:
        text += f", most by {worst.feature.replace('_', ' ')} {worst.value:.1f}"
    if hours is not None and of.trend is not None:
        text += f"; it falls by {-of.trend.rate:.2f} points an hour and is critical in about {hours:.0f} h"
    return text + (f" ({of.reason})" if of.reason else "")
