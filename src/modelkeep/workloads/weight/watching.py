"""What is watched of weights beyond every model's: the yardstick, how often the scale is called for, refused photos."""

import math
import statistics
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import structs

from modelkeep import Level, Reading
from modelkeep.workloads.weight import consent
from modelkeep.workloads.weight.features import material_of
from modelkeep.workloads.weight.scale import LEAST_PAIRS, Pair, shift_of

if TYPE_CHECKING:
    from modelkeep import Match, Prediction, Rooms, Version

MODEL = "weight"
DAY, WEEK = 86400.0, 7 * 86400.0
LOOKED_AT, NEWEST = 20, 40
"""So many of the newest weighed photos tell of the yardstick: older ones would hide that it changed."""
AGAIN = math.log(1.12)
"""A yardstick that was wrong is right again when the newest weights are right but for an eighth."""
LEAST = 20
MANY = 0.5
"""A share of estimates that call for the scale, or of photos that are refused, from which something is wrong."""

RULES = """
[[rule]]
name = "weight_scale"
reading = "weight_scale"
condition = "level >= critical"
severity = "high"
keep = "3d"
kind = "modelFailure"
summary = "The yardstick is wrong: {detail}"
advice = [
    "Find out which coin lies in the newest photos, and send its name or its width as reference.",
    "Do not train: the model is right, and estimates fall back to what the material usually weighs.",
]
command = "modelkeep readings --subject weight"

[[rule]]
name = "weight_please_weigh"
reading = "weight_please_weigh"
condition = "level >= warning"
severity = "warning"
kind = "userExperienceImpact"
summary = "Too many estimates are too unsure to pay by: {detail}"
advice = ["Weigh some objects of the materials that are new, and tell their weights."]
command = "modelkeep weight statistics"

[[rule]]
name = "weight_photo_quality"
reading = "weight_refused_photos"
condition = "level >= warning"
severity = "warning"
kind = "userExperienceImpact"
summary = "Too many photos are refused: {detail}"
advice = ["Tell the users what to mind: light, a steady hand, and the coin beside the object."]
command = "modelkeep weight statistics"
"""


def yardstick(rooms: "Rooms") -> Iterator[Reading]:
    """Reading ``weight_scale``: the factor by which weights of all materials are off alike; 1 is right.

    Critical with the cause ``scale`` when all are off by a fifth or more to one side; ``unknown`` with fewer than
    twelve weighed photos. Nothing where the model has never answered.
    """
    now = rooms.clock.now()
    with rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(MODEL)
        if rollout is None:
            return
        found = ledger.records.labelled(MODEL, start=now - 60 * DAY, end=now, limit=NEWEST * 4)
        known = {one.version: materials(ledger.versions.get(MODEL, one.version)) for one, _ in found}
    pairs = [pair for one in found if (pair := _pair(*one, known=known)) is not None][-NEWEST:]
    if len(pairs) < LEAST_PAIRS:
        have = f"{len(pairs)} weighed photos of known materials, {LEAST_PAIRS} are needed"
        yield Reading(
            name="weight_scale", subject=MODEL, value=None, level="unknown", at=now, n=len(pairs), detail=have
        )
        return
    shifts = [one for one in map(shift_of, (pairs[-n:] for n in (LEAST_PAIRS, LOOKED_AT, NEWEST))) if one is not None]
    shift = max(shifts, key=lambda one: abs(math.log(one.factor)), default=None)
    if shift is None:
        yield _right(rooms, pairs, now=now)
        return
    yield Reading(
        name="weight_scale",
        subject=MODEL,
        value=shift.factor,
        level="critical",
        at=now,
        n=shift.pairs,
        detail=shift.words(),
        facts={
            "cause": "scale",
            "found": shift.words(),
            "materials": ", ".join(shift.materials),
            "one_sided": shift.one_sided,
            "yardstick": shift.yardstick,
        },
    )


def _right(rooms: "Rooms", pairs: list[Pair], *, now: float) -> Reading:
    """What is said when nothing speaks against the yardstick; one that was wrong stays so until weights are right."""
    newest = [pair.error for pair in pairs[-LOOKED_AT:]]
    typical = math.exp(statistics.median(newest))
    with rooms.store.read() as ledger:
        before = next((one for one in ledger.readings.newest(MODEL, "weight_scale") if one.level == "critical"), None)
    if before is not None and abs(math.log(typical)) > AGAIN:
        detail = (
            f"not put right yet: {before.facts['found']}; the newest {len(newest)} are {typical:.2f} times the truth"
        )
        return structs.replace(before, at=now, n=len(newest), detail=detail)
    detail = f"weights are right on average: the newest {len(newest)} weighed photos are {typical:.2f} times the truth"
    return Reading(name="weight_scale", subject=MODEL, value=typical, level="ok", at=now, n=len(newest), detail=detail)


def materials(version: "Version") -> frozenset[str]:
    """The materials of which objects were weighed when a version was trained."""
    return frozenset(
        name for field in version.signature.inputs if field.name == "material" for name in field.categories
    )


def _pair(prediction: "Prediction", match: "Match", *, known: dict[int, frozenset[str]]) -> Pair | None:
    """What an answer says of the yardstick: nothing, where its version did not know the material."""
    material = material_of(dict(prediction.features))
    if material not in known[prediction.version] or prediction.features.get("x0") is None:
        return None
    said, told = prediction.output, match.value
    if isinstance(said, bool | str) or isinstance(told, bool | str) or said is None or said <= 0 or told <= 0:
        return None
    return Pair(material=material, error=math.log(said / told))


def shifted(rooms: "Rooms") -> str:
    """What the newest reading of the yardstick says against it, or an empty text."""
    with rooms.store.read() as ledger:
        found = ledger.readings.newest(MODEL, "weight_scale")
    return next((one.detail for one in found if one.level == "critical"), "")


def unsure(rooms: "Rooms") -> Iterator[Reading]:
    """Readings ``weight_please_weigh`` and ``weight_refused_photos``: shares of the last seven days.

    Nothing while nothing was ever asked.
    """
    asked, refused = consent.records(rooms), consent.refusals(rooms)
    if not asked.revision and not refused.revision:
        return
    since = rooms.clock.now() - WEEK
    counted = asked.sql('SELECT count(*), sum(please_weigh::INT) FROM data WHERE "timestamp" > ?', (since,))
    total, please = (int(counted[0][0]), int(counted[0][1] or 0)) if counted else (0, 0)
    worst = asked.sql(
        'SELECT material, count(*) FROM data WHERE "timestamp" > ? AND please_weigh GROUP BY 1 ORDER BY 2 DESC LIMIT 3',
        (since,),
    )
    named = ", ".join(f"{count} of {material or 'no material'}" for material, count in worst)
    yield _share(
        rooms, "weight_please_weigh", part=please, total=total, what="estimates call for the scale", named=named
    )
    failed = refused.sql('SELECT "check", count(*) FROM data WHERE "at" > ? GROUP BY 1 ORDER BY 2 DESC', (since,))
    photos = refused.sql('SELECT count(DISTINCT "at") FROM data WHERE "at" > ?', (since,))
    gone = int(photos[0][0]) if photos else 0
    causes = ", ".join(f"{count} for {check}" for check, count in failed)
    yield _share(
        rooms, "weight_refused_photos", part=gone, total=gone + total, what="photos were refused", named=causes
    )


def _share(rooms: "Rooms", name: str, *, part: int, total: int, what: str, named: str) -> Reading:
    level: Level = "unknown" if total < LEAST else "warning" if part / total >= MANY else "ok"
    more = f": {named}" if named else ""
    few = f"; {LEAST} are needed to judge" if total < LEAST else ""
    return Reading(
        name=name,
        subject=MODEL,
        value=part / total if total >= LEAST else None,
        level=level,
        at=rooms.clock.now(),
        n=total,
        unit="share",
        detail=f"{part} of {total} {what} in seven days{more}{few}",
    )
