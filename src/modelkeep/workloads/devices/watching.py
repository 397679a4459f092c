"""What is watched of the devices: the fleet's health, readings that say nothing, devices that fell silent."""

from collections.abc import Iterator

from modelkeep import Level, Reading, Rooms, iso
from modelkeep.workloads.devices import assessing, keeping
from modelkeep.workloads.devices.fleet import DAY
from modelkeep.workloads.devices.scores import health

SILENT = 2 * DAY
LOST = (0.2, 0.5)
"""Shares of readings without a value from which the day is a warning, and critical."""
WEAK = 60.0

RULES = """
[[rule]]
name = "devices_fleet_poor"
reading = "devices_fleet_health"
condition = "value < 60"
severity = "warning"
kind = "deviceHealth"
summary = "{detail}"
advice = ["Open the list of devices and begin with the critical ones."]
command = "modelkeep devices summary"

[[rule]]
name = "devices_data_missing"
reading = "devices_missing"
condition = "level >= warning"
severity = "warning"
kind = "dataQuality"
summary = "{detail}"
advice = ["Look at the integration that reports unknown or unavailable."]
command = "modelkeep devices health"

[[rule]]
name = "devices_silent"
reading = "devices_silent"
condition = "value > 0"
severity = "warning"
kind = "dataQuality"
summary = "{detail}"
advice = ["Check power and network of the named devices."]
command = "modelkeep devices health"
"""


def fleet_health(rooms: Rooms) -> Iterator[Reading]:
    """Readings ``devices_fleet_health`` (the mean health score) and ``devices_missing`` (share of empty readings).

    Nothing while no device has ever sent a reading.
    """
    data = keeping.dataset(rooms, "readings")
    if not data.revision:
        return
    now = rooms.clock.now()
    scores = {one.device: health(one.metrics, recent=one.recent).overall_score for one in assessing.devices(rooms)}
    known = {device: score for device, score in scores.items() if score is not None}
    mean = sum(known.values()) / len(known) if known else None
    low = sorted(known, key=lambda device: known[device])[:3]
    level: Level = "unknown" if mean is None else "warning" if mean < WEAK else "ok"
    facts: dict[str, float | str | bool | None] = {
        f"worst {place + 1}": f"{device} {known[device]:.0f}" for place, device in enumerate(low)
    }
    yield Reading(
        name="devices_fleet_health",
        subject="devices/fleet",
        value=mean,
        level=level,
        at=now,
        n=len(known),
        unit="points of 100",
        detail=(
            f"mean health of {len(known)} devices is {mean:.0f}"
            if mean is not None
            else f"no health score for any of {len(scores)} devices: none of its metrics was ever read"
        ),
        facts=facts,
    )
    yield _missing(rooms, now=now)


def _missing(rooms: Rooms, *, now: float) -> Reading:
    counted = keeping.dataset(rooms, "readings").sql(
        'SELECT count(*), count(value) FROM data WHERE "at" > ?', (now - DAY,)
    )
    total, full = (int(counted[0][0]), int(counted[0][1])) if counted else (0, 0)
    share = None if not total else 1 - full / total
    reasons = keeping.dataset(rooms, "readings").sql(
        'SELECT why, count(*) FROM data WHERE "at" > ? AND value IS NULL GROUP BY why ORDER BY 2 DESC', (now - DAY,)
    )
    said = ", ".join(f"{count} {why}" for why, count in reasons)
    level: Level = "unknown"
    if share is not None:
        level = "critical" if share >= LOST[1] else "warning" if share >= LOST[0] else "ok"
    return Reading(
        name="devices_missing",
        subject="devices/fleet",
        value=share,
        level=level,
        at=now,
        n=total,
        unit="share",
        detail=f"{total - full} of {total} readings of the last day say nothing{f': {said}' if said else ''}"
        if total
        else "no reading came in the last day",
    )


def silence(rooms: Rooms) -> Iterator[Reading]:
    """Reading ``devices_silent``: how many devices have said nothing for two days, of those heard of in 30 days."""
    data = keeping.dataset(rooms, "readings")
    if not data.revision:
        return
    now = rooms.clock.now()
    heard = data.sql(
        'SELECT device_id, max("at") AS newest FROM data WHERE value IS NOT NULL GROUP BY device_id '
        "HAVING newest > ? ORDER BY newest",
        (now - 30 * DAY,),
    )
    quiet = [(str(device), float(at)) for device, at in heard if now - float(at) > SILENT]
    named = ", ".join(f"{device} since {iso(at)[:16]}" for device, at in quiet[:3])
    more = f" and {len(quiet) - 3} more" if len(quiet) > 3 else ""
    yield Reading(
        name="devices_silent",
        subject="devices/fleet",
        value=float(len(quiet)) if heard else None,
        level="unknown" if not heard else "warning" if quiet else "ok",
        at=now,
        n=len(heard),
        unit="devices",
        detail=f"{len(quiet)} of {len(heard)} devices are silent: {named}{more}"
        if quiet
        else f"all {len(heard)} devices spoke within two days"
        if heard
        else "no device has spoken in 30 days",
    )
