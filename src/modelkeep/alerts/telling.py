"""The words of an alert: what, since when, how bad, whom it concerns, why perhaps, and what repairs it."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter

from modelkeep.nouns import Reading, Rule, model_of
from modelkeep.quantities import duration, iso

SHOWN = 3
_WEIGHT = {
    "artifact": 9.0,
    "types": 8.0,
    "frozen_inputs": 7.0,
    "missing": 6.0,
    "novelty": 5.5,
    "new_categories": 5.0,
    "out_of_range": 4.0,
    "error_rate": 3.0,
    "records_dropped": 2.0,
    "latency_p95": 1.0,
}
"""How directly each reading explains another one, the most direct first."""


def fill(template: str, reading: Reading) -> str:
    """A rule's text with its places filled in."""
    name, _, number = reading.subject.partition("@")
    value = "unknown" if reading.value is None else f"{reading.value:.4g}"
    return template.format(
        subject=reading.subject, model=name, version=number, value=value, detail=reading.detail or reading.name
    )


def worded(text: str, reading: Reading) -> str:
    """A rule's own wording, with places and facts filled in; a fact that is absent, or no number, is ``unknown``.

    >>> drift = Reading(name="x", subject="m@1", value=1.0, level="ok", at=0.0, facts={"recent_mae": 13.2})
    >>> worded("{model}: {recent_mae:.2f}, before {training_mae:.2f}", drift)
    'm: 13.20, before unknown'
    """
    name, _, number = reading.subject.partition("@")
    places = {
        **reading.facts, "subject": reading.subject, "model": name, "version": number, "value": reading.value,
        "n": reading.n, "reading": reading.name, "Reading": reading.name.capitalize(), "detail": reading.detail,
    }  # fmt: skip
    parts = []
    for literal, place, form, _ in Formatter().parse(text):
        parts.append(literal)
        if place is not None:
            value = places.get(place)
            try:
                parts.append("unknown" if value is None else format(value, form or ""))
            except ValueError:
                parts.append("unknown")
    return "".join(parts)


def told(rule: Rule, reading: Reading, *, opened: float, causes: Sequence[Reading]) -> str:
    """The alert's message: one line each for what, since when, how bad, likely causes and the repair.

    A rule with a ``text`` says that alone.
    """
    if rule.text:
        return worded(rule.text, reading)
    since = f"Since {iso(opened)}"
    since += f", after {duration(rule.holds)} without a break." if rule.holds else "."
    lines = [fill(rule.summary, reading), since, _measured(reading)]
    if causes:
        ranked = "; ".join(f"{place}. {_cause(cause, reading)}" for place, cause in enumerate(causes, 1))
        lines.append(f"Likely causes, most likely first: {ranked}.")
    if rule.command:
        lines.append(f"Repair: {fill(rule.command, reading)}")
    return "\n".join(lines)


def causes(reading: Reading, others: Sequence[Reading]) -> list[Reading]:
    """The readings of the same model (or of the server) that may explain ``reading``, the likeliest first."""
    own = model_of(reading.subject)
    near = [
        other for other in others
        if other.name != reading.name and (model_of(other.subject) == own or other.subject == "server")
    ]  # fmt: skip
    ranked = sorted(
        ((_likely(other, reading), i) for i, other in enumerate(near)), key=lambda item: (-item[0], item[1])
    )
    return [near[i] for weight, i in ranked if weight > 0][:SHOWN]


def _likely(other: Reading, reading: Reading) -> float:
    if other.subject not in {reading.subject, model_of(reading.subject), "server"}:
        return 0.0
    if reading.name in {"error_drift", "mae", "rmse"} and other.name == "skill" and other.level == "ok":
        return 4.5  # the world changed, which says more than a column out of range
    if other.name == "bias" and reading.name in {"error_drift", "mae", "rmse", "skill"}:
        return 2.5 if _apart(other) else 0.0
    return _WEIGHT.get(other.name, 0.0) if other.level in {"warning", "critical"} else 0.0


def _apart(reading: Reading) -> bool:
    return reading.interval is not None and (reading.interval[0] > 0 or reading.interval[1] < 0)


def _cause(cause: Reading, reading: Reading) -> str:
    if cause.name == "skill":
        return f"the world changed, not the model: its skill beside the automatic baselines holds ({cause.value:+.3f})"
    if cause.name == "bias" and cause.value is not None:
        side = "too high" if cause.value > 0 else "too low"
        return f"the answers are {abs(cause.value):.4g} {cause.unit}".rstrip() + f" {side} on average"
    return cause.detail if cause.subject == reading.subject else f"{cause.subject}: {cause.detail}"


def _measured(reading: Reading) -> str:
    value = "unknown" if reading.value is None else f"{reading.value:.4g} {reading.unit}".rstrip()
    interval = f", 95 % interval {reading.interval[0]:.4g} to {reading.interval[1]:.4g}" if reading.interval else ""
    return f"Measured: {reading.name} of {reading.subject} = {value}{interval}, n = {reading.n}."
