"""What we know: readings, the rules that judge them, and the alerts that people are told."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from modelkeep.quantities import DAY

Facts: TypeAlias = dict[str, float | str | bool | None]
Level = Literal["ok", "unknown", "warning", "critical"]
LEVELS: tuple[Level, ...] = ("ok", "unknown", "warning", "critical")
"""The better first; what is not known is worse than good and better than bad."""
Severity = Literal["info", "warning", "medium", "error", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "medium", "error", "high", "critical")


def model_of(subject: str) -> str:
    """The model of a subject: ``m`` for ``m@2`` and for ``m``.

    >>> model_of("churn@2")
    'churn'
    """
    return subject.partition("@")[0]


def about(subject: str, model: str | None) -> bool:
    """Whether a subject belongs to a model; every subject does when none is named (None or empty)."""
    return not model or model_of(subject) == model


def gravity(severity: Severity) -> Level:
    """How things stand while an alert of this severity is open: a notice changes nothing.

    >>> gravity("error"), gravity("high")
    ('warning', 'critical')
    """
    if severity == "info":
        return "ok"
    return "critical" if severity in {"high", "critical"} else "warning"


class Reading(Struct, frozen=True, kw_only=True):
    """One measured fact. NaN is never ``ok``; what cannot be known has value None and level ``unknown``.

    ``subject`` is ``model@version``, ``model``, or ``server``; ``interval`` a 95 % interval of the value; ``n`` how
    many observations it stands on; ``detail`` one sentence for a person; ``facts`` further numbers by name.
    """

    name: str
    subject: str
    value: float | None
    level: Level
    at: float
    n: int = 0
    interval: tuple[float, float] | None = None
    unit: str = ""
    detail: str = ""
    facts: Facts = {}


class Rule(Struct, frozen=True, kw_only=True):
    """When a reading becomes an alert, and what then happens.

    ``condition`` is ``level >= warning`` or ``value > 0.2``; it must hold for ``holds`` seconds before the alert opens;
    after a notification the same rule and subject stay quiet for ``cooldown`` seconds. ``actions`` are tasks to enqueue
    (``retrain``, ``roll_back``); ``advice`` are sentences for people; ``{subject}``, ``{model}``, ``{value}`` and
    ``{detail}`` are filled in.
    Once the condition no longer holds, it must stay so for ``keep`` seconds before the alert is resolved. A critical
    alert that nobody acknowledges is told again, ``escalate_after`` seconds after it opened, to ``escalate_to``.
    Without ``channels`` an alert goes to all of them, and so does an escalation without ``escalate_to``.
    With ``cap`` at most so many alerts of one subject are told within the cooldown; the others are grouped in a digest.
    ``text`` is the whole message in a wording of one's own; the numbers of the reading's facts may stand in it too.
    """

    name: str
    reading: str
    condition: str
    severity: Severity = "warning"
    kind: str = "performanceDegradation"
    holds: float = 0.0
    cooldown: float = DAY
    summary: str = "{detail}"
    actions: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    command: str = ""
    channels: tuple[str, ...] = ()
    keep: float = 300.0
    escalate_after: float = 300.0
    escalate_to: tuple[str, ...] = ()
    cap: int = 0
    text: str = ""


class Delivery(Struct, frozen=True, kw_only=True):
    """One message to one channel: waiting, sent, or failed for good; ``error`` is the last failure."""

    channel: str
    event: Literal["open", "resolve", "escalate"]
    state: Literal["waiting", "sent", "dead"]
    attempts: int = 0
    due: float = 0.0
    error: str = ""


class Alert(Struct, frozen=True, kw_only=True):
    """Something that a person should know, opened once and closed once; it survives restarts.

    ``false`` says that a person found nothing behind it; ``digest`` names the alert that told of it instead of it.
    """

    id: str
    rule: str
    subject: str
    severity: Severity
    kind: str
    message: str
    state: Literal["open", "acknowledged", "resolved"]
    opened: float
    changed: float
    resolved: float | None = None
    acknowledged_by: str = ""
    readings: tuple[Reading, ...] = ()
    system: dict[str, float] = {}
    advice: tuple[str, ...] = ()
    command: str = ""
    deliveries: tuple[Delivery, ...] = ()
    false: bool = False
    digest: str = ""
