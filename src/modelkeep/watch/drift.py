"""An error grows: has the model rotted, or has the world become harder? And which way is it off?

``rot`` looks at the skill, log(error of the best automatic baseline / error of the model): what makes both err more is
no fault of the model. ``world`` looks at the error itself, ``level_shift`` at its sign.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct

from modelkeep.nouns import Facts, Level, Reading
from modelkeep.profile import Floats, Window
from modelkeep.quantities import DAY, HOUR, WEEK, duration, iso
from modelkeep.watch.blocks import LEAST, Blocks, best, blocks
from modelkeep.watch.folding import honest, lacking, unknown
from modelkeep.watch.intervals import Interval, jackknifed
from modelkeep.watch.sequential import Fall
from modelkeep.watch.standing import NEED, STREAMS, against, below, lasting

FALL = 0.07
"""A fall of the skill that is tolerated: the error grew by 7 % beside the baseline's."""
HELD = 0.4
"""A fall below the held-out skill that is, while nothing was learned live: half more error. Held-out data flatters."""
SHIFT = 0.25
"""An error of so many times its usual size to one side that is worth a word."""
FAST = 0.3
"""A fall that is looked for in parts of days too."""
YOUNG = WEEK
"""So long a version is also watched hour by hour: a machine that is asked every minute may rot in a day."""
BUSY = 10
"""Labels of an hour that is looked at by itself."""
SPARSE = 24
"""Labels of a day, fewer of which are also looked at five by five: there chance outweighs the hour of the day."""
SEVERE = 0.4
"""Rot is critical from this fall on: half more error beside the baseline."""


class Course(Struct, frozen=True, kw_only=True):
    """A series over blocks, what it is compared with, and the fall that lasts (places in the series)."""

    held: Blocks
    x: Floats
    level: float
    fall: Fall | None


def drift(window: Window) -> list[Reading]:
    """Readings ``rot``, ``world`` and, for numbers, ``level_shift``; see docs/watching.md.

    Each stands on blocks of the version's whole life as the one that answers. Level: warning when it is certain, by a
    sequential test whose false alarms over all models come at most once in the policy's ``quiet`` seconds; ``rot`` is
    critical when the error beside the baseline grew by half or the model is below baseline. Facts: ``since`` (a
    moment), ``reference``, ``promise`` in words. Unknown with fewer than seven blocks and no held-out skill.
    """
    held = blocks(window)
    found = [_rot(window, held), _world(window, held)]
    return found if window.version.signature.classifies else [*found, _shift(window, held)]


def threshold(window: Window, length: float) -> float:
    """The wealth that alarms: blocks of ``length`` seconds in the promised time, for all models and tests together."""
    return STREAMS * max(window.fleet, 1) * window.policy.quiet / length


def promise(window: Window) -> str:
    """The promise in words."""
    return f"at most one false alarm in {duration(window.policy.quiet)} over all models"


# --------------------------------------------------------------------------------------------------- rot


def _rot(window: Window, held: Blocks) -> Reading:
    warm = held.part(int(np.searchsorted(held.starts, window.warm)))
    name = best(warm if len(warm) else held, window)
    if name is None:
        n = held.n
        if not n:
            return lacking(window, "rot", have=0, need=NEED, what="blocks of known outcomes")
        why = "no automatic baseline has answered for half of the pairs yet"
        return unknown(window, "rot", detail=why, n=n, facts={"reason": "no baseline"})
    course = _old(window, held, name=name)
    fast = _fast(window, held, name=name)
    if fast is not None and course.fall is None and (fast.fall is not None or not math.isfinite(course.level)):
        course = fast
    if not math.isfinite(course.level):
        detail = f"{len(warm)} blocks of outcomes beside a warm baseline, {NEED} are needed, or a held-out skill"
        return unknown(
            window, "rot", detail=detail, n=held.n,
            facts={"reason": "insufficient_data", "have": len(warm), "need": NEED},
        )  # fmt: skip
    return _said(window, course, name=name)


def ratio(held: Blocks, name: str) -> tuple[Floats, Floats]:
    """The skill of each block, and its variance as if the errors of model and baseline had nothing in common."""
    ours, theirs = held.losses(), held.losses(name)
    with np.errstate(divide="ignore", invalid="ignore"):
        x: Floats = np.log(theirs.mean / ours.mean)
    return np.where(np.isfinite(x), x, np.nan), ours.spread + theirs.spread


def _old(window: Window, held: Blocks, *, name: str) -> Course:
    x, spread = ratio(held, name)
    ends = held.ends
    first = int(np.searchsorted(held.starts, window.warm))
    z = np.full(len(held), np.nan)
    tail, normal = below(x[first:], spread[first:], ends=ends[first:], tolerance=FALL)
    z[first:] = tail
    level = math.nan if normal is None else normal.level
    fall, limit = None, threshold(window, held.length)
    if normal is not None:
        fall = lasting([z], x, ends=ends, level=level - FALL / 2, threshold=limit)
    made = window.version.baseline.metrics.get("skill")
    if made is not None and fall is None:
        # Until the life of the version says what is normal.
        early = np.where(np.isfinite(z), np.nan, against(x, spread, level=made - HELD, between=0.1))
        fall = lasting([early], x, ends=ends, level=made - HELD / 2, threshold=limit)
        level = made if fall is not None or normal is None else level
    return Course(held=held, x=x, level=level, fall=fall)


def _fast(window: Window, held: Blocks, *, name: str) -> Course | None:
    """Parts of days: the hours of the first week where they are busy, always where a day has few labels; else None."""
    sparse = not len(held) or held.n < SPARSE * len(np.unique(held.starts // DAY))
    part = blocks(window, length=HOUR, least=LEAST if sparse else BUSY)
    if not sparse:
        part = part.part(0, int(np.searchsorted(part.ends, part.starts[0] + YOUNG))) if len(part) else part
    if len(part) < NEED:
        return None
    x, spread = ratio(part, name)
    made = window.version.baseline.metrics.get("skill")
    z, normal = below(x, spread, ends=part.ends, tolerance=FAST)
    level = math.nan if normal is None else normal.level
    if made is not None and (normal is None or not sparse):
        z, level = against(x, spread, level=made - FAST, between=0.2), made
    fall = lasting([z], x, ends=part.ends, level=level - FAST / 2, threshold=threshold(window, part.length))
    if fall is not None and part.ends[-1] < held.ends[-1] if len(held) else False:
        later, _ = ratio(held.part(int(np.searchsorted(held.starts, part.ends[-1]))), name)
        fall = None if np.isfinite(later).any() and np.nanmean(later[-NEED:]) >= level - FAST / 2 else fall
    return Course(held=part, x=x, level=level, fall=fall)


def _said(window: Window, course: Course, *, name: str) -> Reading:
    first = _shown(course)
    x, held = course.x[first:], course.held.part(first)
    now, interval = _mean(x)
    fall = course.level - now
    since = float(held.starts[0]) if len(held) else None
    level: Level = "ok"
    if course.fall is not None:
        sunk = interval is not None and interval[1] < 0
        level = "critical" if fall >= SEVERE or sunk else "warning"
    facts: Facts = {
        "baseline": name, "reference": course.level, "skill": now, "since": since,
        "blocks": len(held), "promise": promise(window),
    }  # fmt: skip
    if course.fall is not None:
        facts["certain"] = float(course.held.ends[course.fall.at])
    unit = "wrong" if window.version.signature.classifies else window.version.signature.output.unit
    errors = f"; its error is {held.error():.4g} {unit}".rstrip() + f", that of {name!r} {held.error(name):.4g}"
    begun = "never" if since is None else iso(since)
    said = f"skill {now:+.3f} beside {name!r} since {begun}, {course.level:+.3f} before"
    if level != "ok":
        said = f"the error grew by {math.expm1(fall):.0%} beside the baseline {name!r}: {said}{errors}"
        said += ", below baseline" if now < 0 else ""
    return honest(
        Reading(
            name="rot", subject=window.version.name, value=fall, level=level, at=window.end, n=held.n, unit="log ratio",
            interval=None if interval is None else (course.level - interval[1], course.level - interval[0]),
            detail=said, facts=facts,
        )
    )  # fmt: skip


def _shown(course: Course) -> int:
    """From which block on the present is shown: the fall's, else a week."""
    if course.fall is not None:
        return course.fall.since
    ends = course.held.ends
    return int(np.searchsorted(ends, ends[-1] - WEEK, side="right")) if len(ends) else 0


def _mean(x: Floats) -> tuple[float, Interval | None]:
    known = x[np.isfinite(x)]
    if not known.size:
        return math.nan, None
    mean = float(known.mean())
    without = (known.sum() - known) / max(known.size - 1, 1)
    return mean, jackknifed(mean, without)


# ------------------------------------------------------------------------------------- world and level


def _world(window: Window, held: Blocks) -> Reading:
    """The error against that of the version's first weeks."""
    ours = held.losses()
    x: Floats = -np.log(ours.mean) if len(held) else np.zeros(0)
    z, normal = below(x, ours.spread, ends=held.ends, tolerance=math.log1p(window.policy.drift))
    if normal is None:
        return lacking(window, "world", have=len(held), need=NEED + 1, what="blocks of known outcomes")
    limit = normal.level - math.log1p(window.policy.drift) / 2
    fall = lasting([z], x, ends=held.ends, level=limit, threshold=threshold(window, held.length))
    course = Course(held=held, x=x, level=normal.level, fall=fall)
    first = _shown(course)
    now, interval = _mean(x[first:])
    rise = math.expm1(normal.level - now)
    since = float(held.starts[first])
    said = f"the error is {rise:+.0%} against the version's first weeks, since {iso(since)}"
    risen = None
    if interval is not None:
        risen = math.expm1(normal.level - interval[1]), math.expm1(normal.level - interval[0])
    return honest(
        Reading(
            name="world", subject=window.version.name, value=rise, level="ok" if fall is None else "warning",
            at=window.end, n=held.part(first).n, interval=risen, detail=said,
            facts={"since": since, "reference": math.exp(-normal.level), "promise": promise(window)},
        )
    )  # fmt: skip


def _shift(window: Window, held: Blocks) -> Reading:
    """The signed error, as a multiple of the usual size of the error."""
    n = held.of("n")
    usual = float(held.of("absolute").sum()) / held.n if held.n else 0.0
    if len(held) < NEED or usual <= 0:
        return lacking(window, "level_shift", have=len(held), need=NEED, what="blocks of known outcomes with an error")
    signed = held.of("error") / n / usual
    spread = held.of("square").sum() / n.sum() / n / usual**2
    between = max(float(np.var(np.diff(signed))) / 2 - float(spread.mean()), 0.05**2) ** 0.5
    found = None
    for sign in (1.0, -1.0):
        z = against(-sign * signed, spread, level=-SHIFT, between=between)
        limit = threshold(window, held.length)
        fall = lasting([z], -sign * signed, ends=held.ends, level=-SHIFT / 2, threshold=limit)
        found = fall if fall is not None else found
    course = Course(held=held, x=signed, level=0.0, fall=found)
    first = _shown(course)
    since = float(held.starts[first])
    now, interval = _mean(signed[first:])
    unit = window.version.signature.output.unit
    off = f"{abs(now) * usual:.4g} {unit}".rstrip()
    side = "high" if now > 0 else "low"
    said = f"the answers are {off} too {side} on average since {iso(since)}"
    facts: Facts = {"since": since, "correction": -now * usual, "promise": promise(window)}
    if found is not None:
        said += f"; adding {-now * usual:+.4g} {unit}".rstrip() + " to each answer would put the level right"
    return honest(
        Reading(
            name="level_shift", subject=window.version.name, value=now * usual, unit=unit, at=window.end,
            level="ok" if found is None else "warning", n=held.part(first).n,
            interval=None if interval is None else (interval[0] * usual, interval[1] * usual), detail=said, facts=facts,
        )
    )  # fmt: skip
