"""The health score of a device, 0 to 100: five factors with fixed steps and weights, and an adjustment for the trend.

The formula is the one that device services show to households (response time 25 %, errors 30 %, battery 20 %, signal
15 %, usage 10 %). It is a summary of the present, not a forecast. A metric that is not known gives a factor of None
with the reason, and the others share its weight; a device of which nothing is known has no score.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

Status = Literal["excellent", "good", "fair", "poor", "critical", "unknown"]


class Factor(Struct, frozen=True, kw_only=True):
    """How one metric becomes 100, 80, 60, 40 or 20 points: the ``steps`` in falling order of points.

    ``rising`` says that more is better. ``trend`` is how far the metric must move over its last five readings (a share
    of the first, or ``absolute`` units) for ``points`` to be added or taken; ``both`` says whether better adds points.
    """

    metric: str
    weight: float
    steps: tuple[float, float, float, float]
    rising: bool
    trend: float = 0.1
    absolute: bool = False
    points: float = 10.0
    both: bool = True


FACTORS = MappingProxyType(
    {
        "response_time": Factor(metric="response_time", weight=0.25, steps=(100, 500, 1000, 2000), rising=False),
        "error_rate": Factor(metric="error_rate", weight=0.30, steps=(0.01, 0.05, 0.1, 0.2), rising=False),
        "battery_level": Factor(
            metric="battery_level", weight=0.20, steps=(80, 60, 40, 20), rising=True, trend=0.05, points=5.0, both=False
        ),
        "signal_strength": Factor(
            metric="signal_strength",
            weight=0.15,
            steps=(-50, -60, -70, -80),
            rising=True,
            trend=5.0,
            absolute=True,
            points=5.0,
        ),
        "usage_frequency": Factor(
            metric="usage_frequency", weight=0.10, steps=(0.8, 0.6, 0.4, 0.2), rising=True, points=0.0
        ),
    }
)
POINTS = (100.0, 80.0, 60.0, 40.0, 20.0)
STATUS: tuple[tuple[float, Status], ...] = ((90, "excellent"), (75, "good"), (60, "fair"), (40, "poor"))
RECENT = 5
"""The trend is that of so many readings."""


class Health(Struct, frozen=True, kw_only=True):
    """A device's health; ``overall_score`` is None with a ``reason`` when no metric of the formula is known.

    ``weights`` are those used: they sum to 1 over the known factors. ``reasons`` says why a factor is None.
    """

    overall_score: float | None
    factor_scores: dict[str, float | None]
    weights: dict[str, float]
    trend_adjustment: float
    health_status: Status
    recommendations: tuple[str, ...]
    metrics_used: tuple[str, ...]
    reasons: dict[str, str] = {}
    reason: str = ""


def points_of(factor: Factor, value: float) -> float:
    """The points of one metric.

    >>> points_of(FACTORS["battery_level"], 59.0), points_of(FACTORS["response_time"], 100.0)
    (60.0, 100.0)
    """
    for points, step in zip(POINTS, factor.steps, strict=False):
        if (value >= step) if factor.rising else (value <= step):
            return points
    return POINTS[-1]


def trend_of(factor: Factor, values: Sequence[float]) -> float:
    """Points for the trend of a metric's last readings, oldest first: above 0 when it gets better."""
    recent = list(values)[-RECENT:]
    if len(recent) < 2 or not factor.points:
        return 0.0
    moved = recent[-1] - recent[0]
    if not factor.absolute:
        if not recent[0]:
            return 0.0
        moved /= abs(recent[0])
    if abs(moved) < factor.trend:
        return 0.0
    better = (moved > 0) == factor.rising
    if better:
        return factor.points if factor.both else 0.0
    return -factor.points


def status_of(score: float | None) -> Status:
    """The word for a score.

    >>> status_of(90), status_of(39.9), status_of(None)
    ('excellent', 'critical', 'unknown')
    """
    if score is None:
        return "unknown"
    return next((word for least, word in STATUS if score >= least), "critical")


def health(metrics: Mapping[str, float | None], *, recent: Mapping[str, Sequence[float]] | None = None) -> Health:
    """The health of a device.

    Args:
        metrics: The newest value of each metric, in its own unit (ms, share, %, dBm, share); None when not known.
        recent: Its last readings, oldest first, for the trend.

    >>> health({"response_time": 80, "error_rate": 0.0, "battery_level": None}).overall_score
    100.0
    """
    known = {name: factor for name, factor in FACTORS.items() if metrics.get(name) is not None}
    total = sum(factor.weight for factor in known.values())
    reasons = {name: f"no reading of {name}" for name in FACTORS if name not in known}
    factors: dict[str, float | None] = {name: points_of(f, float(metrics[name] or 0.0)) for name, f in known.items()}
    factors |= dict.fromkeys(reasons)
    if not known:
        return Health(
            overall_score=None,
            factor_scores=factors,
            weights={},
            trend_adjustment=0.0,
            health_status="unknown",
            recommendations=(),
            metrics_used=(),
            reasons=reasons,
            reason="no metric of the health score has ever been read",
        )
    weights = {name: round(factor.weight / total, 6) for name, factor in known.items()}
    base = sum((factors[name] or 0.0) * factor.weight / total for name, factor in known.items())
    adjustment = sum(trend_of(factor, (recent or {}).get(name, ())) for name, factor in known.items())
    score = round(min(max(base + adjustment, 0.0), 100.0), 2)
    return Health(
        overall_score=score,
        factor_scores=factors,
        weights=weights,
        trend_adjustment=adjustment,
        health_status=status_of(score),
        recommendations=tuple(advice(factors)),
        metrics_used=tuple(known),
        reasons=reasons,
    )


_ADVICE = MappingProxyType(
    {
        "response_time": "Answers are slow: check the network and restart the device.",
        "error_rate": "Many errors: check the device's log and update its firmware.",
        "battery_level": "Battery is low: charge or replace it.",
        "signal_strength": "Signal is weak: move the device or add a repeater.",
        "usage_frequency": "It is hardly used: check that it is still needed and set up.",
    }
)


def advice(factors: Mapping[str, float | None]) -> list[str]:
    """What to do about factors of 40 points or less, the worst first."""
    low = sorted((points, name) for name, points in factors.items() if points is not None and points <= 40)
    return [_ADVICE[name] for _, name in low]
