"""How often the version fails, and how much it is asked."""

from __future__ import annotations

from modelkeep.nouns import Level, Reading
from modelkeep.profile import Window
from modelkeep.quantities import HOUR
from modelkeep.watch.folding import NEED, covers, honest, lacking, recent
from modelkeep.watch.intervals import wilson

BUSY = 100
"""So many calls are looked at if the newest 24 h hold them."""
CRITICAL = 0.05


def errors(window: Window) -> list[Reading]:
    """Readings ``error_rate`` (a share, with its Wilson interval) and ``traffic`` (predictions per hour).

    Level of ``error_rate``: critical when the interval lies above 5 %, warning when it lies above the policy's error
    guard (2 % by default), unknown below ten calls. ``traffic`` is ok when there is any, unknown without.
    """
    hours = recent(window.slices, BUSY)
    n = sum(s.profile.n for s in hours)
    failures = sum(s.profile.failures for s in hours)
    if n < NEED:
        return [
            lacking(window, "error_rate", have=n, need=NEED, what="calls"),
            lacking(window, "traffic", have=n, need=NEED, what="calls"),
        ]
    low, high = wilson(failures, n)
    allowed = min(window.policy.guards.error, CRITICAL)
    level: Level = "critical" if low > CRITICAL else "warning" if low > allowed else "ok"
    length = covers(hours, window.end)
    rate = n / max(window.end - hours[0].start, 60.0) * HOUR
    name = window.version.name
    share = f"{failures / n:.2%}"
    return [
        honest(
            Reading(
                name="error_rate", subject=name, value=failures / n, level=level, at=window.end, n=n,
                interval=(low, high), detail=f"{failures} of {n} calls failed in the last {length}: {share} "
                f"(95 % interval {low:.2%} to {high:.2%}; allowed {allowed:.0%})",
                facts={"failures": failures, "allowed": allowed},
            )
        ),
        honest(
            Reading(
                name="traffic", subject=name, value=rate, level="ok", at=window.end, n=n, unit="1/h",
                detail=f"{n} predictions in the last {length}: {rate:.3g} an hour",
            )
        ),
    ]  # fmt: skip
