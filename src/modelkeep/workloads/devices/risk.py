"""From a probability to words: risk levels, recommendations, and the rule that stands in while no model is released."""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

Risk = Literal["critical", "high", "medium", "low", "minimal", "unknown"]
LEVELS: tuple[tuple[float, Risk], ...] = ((0.8, "critical"), (0.6, "high"), (0.4, "medium"), (0.2, "low"))


class Trigger(Struct, frozen=True, kw_only=True):
    """A limit of one metric: beyond it (above, or below) the rule gives ``points`` and the advice is given."""

    metric: str
    limit: float
    above: bool
    points: float
    advice: str


TRIGGERS = (
    Trigger(
        metric="error_rate", limit=0.1, above=True, points=30,
        advice="Many errors: check the log, update firmware",
    ),
    Trigger(
        metric="battery_level", limit=20, above=False, points=25,
        advice="Battery is low: charge or replace it",
    ),
    Trigger(
        metric="response_time", limit=1000, above=True, points=20,
        advice="Answers are slow: check the network",
    ),
    Trigger(
        metric="signal_strength", limit=-70, above=False, points=15,
        advice="Signal is weak: move it or add a repeater",
    ),
    Trigger(
        metric="connection_drops", limit=5, above=True, points=10,
        advice="Connection drops: check the access point",
    ),
)  # fmt: skip
"""The limits of a home's device service, heaviest first."""


def risk_level(chance: float | None) -> Risk:
    """The word for a probability of 0..1.

    >>> risk_level(0.8), risk_level(0.19), risk_level(None)
    ('critical', 'minimal', 'unknown')
    """
    if chance is None:
        return "unknown"
    return next((word for least, word in LEVELS if chance >= least), "minimal")


def beyond(metrics: Mapping[str, float | None]) -> list[Trigger]:
    """The limits that are crossed; a metric that is not known crosses none."""
    found = []
    for trigger in TRIGGERS:
        value = metrics.get(trigger.metric)
        if value is not None and (value > trigger.limit if trigger.above else value < trigger.limit):
            found.append(trigger)
    return found


def rule_chance(metrics: Mapping[str, float | None]) -> float | None:
    """The rule's points as a share of 100: what is shown while no model is released; None when nothing is known.

    These are points for crossed limits, not a measured frequency, and are marked so wherever they show.

    >>> rule_chance({"error_rate": 0.2, "battery_level": 10.0}), rule_chance({})
    (0.55, None)
    """
    if all(metrics.get(trigger.metric) is None for trigger in TRIGGERS):
        return None
    return sum(trigger.points for trigger in beyond(metrics)) / 100


def recommendations(
    metrics: Mapping[str, float | None], *, chance: float | None, strange: Sequence[str] = ()
) -> tuple[str, ...]:
    """What to do about a device; ``strange`` names metrics that moved far from the device's usual."""
    found = []
    if chance is not None and chance > 0.6:
        found.append("Likely to fail within 14 days: inspect or replace it")
    found += [trigger.advice for trigger in beyond(metrics)]
    found += [f"{metric} is far from this device's usual: look at it" for metric in strange]
    return tuple(found)
