"""What is told, and what every way of telling it must do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from msgspec import Struct

from modelkeep.errors import Refused
from modelkeep.nouns import SEVERITIES, Alert, Delivery, Severity
from modelkeep.quantities import iso

TIMEOUT = 5.0
"""Seconds that a receiver may take."""


class Message(Struct, frozen=True, kw_only=True):
    """What goes to a channel; times are ISO-8601 in UTC.

    ``key`` is the same at every attempt: a receiver that has seen it may drop the repeat (delivery is at least once).
    ``told`` is when it was due; ``system`` how the machine was when the alert opened.
    """

    key: str
    event: Literal["open", "resolve", "escalate"]
    alert: str
    rule: str
    subject: str
    type: str
    severity: Severity
    state: str
    message: str
    opened: str
    told: str = ""
    resolved: str | None = None
    value: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0
    advice: tuple[str, ...] = ()
    command: str = ""
    system: dict[str, float] = {}

    @property
    def since(self) -> str:
        """When what it tells of happened: when the alert opened, or when it was over."""
        return self.resolved if self.event == "resolve" and self.resolved else self.opened


class Channel(Protocol):
    """A way to tell people."""

    @property
    def name(self) -> str:
        """What rules call it."""

    def send(self, message: Message) -> None:
        """Hand a message over; on return it has been taken.

        Raises Refused when no repeat will help, Unavailable when a later one may.
        """


class Taking(Struct, frozen=True, kw_only=True):
    """Which alerts a channel is told of: those of some ``types`` (all when empty), at least as severe as ``least``.

    >>> Taking(least="critical").takes(type="modelFailure", severity="warning")
    False
    """

    types: tuple[str, ...] = ()
    least: Severity = "info"

    def takes(self, *, type: str, severity: Severity) -> bool:
        """Whether an alert of that type and severity goes there."""
        return SEVERITIES.index(severity) >= SEVERITIES.index(self.least) and (not self.types or type in self.types)


EVERYTHING = Taking()


class Narrowed(Struct, frozen=True, kw_only=True):
    """A channel that is told of some alerts only."""

    channel: Channel
    taking: Taking = EVERYTHING

    @property
    def name(self) -> str:
        """What rules call it."""
        return self.channel.name

    def send(self, message: Message) -> None:
        """Hand it on. Raises as the channel does."""
        self.channel.send(message)


class SwitchedOff(Struct, frozen=True, kw_only=True):
    """A channel that rules may name and that is told nothing: ``enabled = false``."""

    name: str

    def send(self, message: Message) -> None:
        """Nothing is sent. Raises Refused: what waited from before goes to another channel."""
        raise Refused(f"channel {self.name!r} is switched off, so {message.key} is not sent")


def takes(channels: Mapping[str, Channel], name: str, *, kind: str, severity: Severity) -> bool:
    """Whether an alert of a type and severity goes to the channel of that name."""
    channel = channels[name]
    if isinstance(channel, SwitchedOff):
        return False
    taking = channel.taking if isinstance(channel, Narrowed) else EVERYTHING
    return taking.takes(type=kind, severity=severity)


def message(alert: Alert, delivery: Delivery, *, count: int = 1) -> Message:
    """The message of one delivery; ``count`` is 2 for its first reminder."""
    reading = alert.readings[0] if alert.readings else None
    return Message(
        key=f"{alert.id}-{delivery.event}" + (f"-{count}" if count > 1 else ""),
        event=delivery.event,
        alert=alert.id,
        rule=alert.rule,
        subject=alert.subject,
        type=alert.kind,
        severity=alert.severity,
        state=alert.state,
        message=alert.message,
        opened=iso(alert.opened),
        told=iso(delivery.due),
        resolved=None if alert.resolved is None else iso(alert.resolved),
        value=reading.value if reading else None,
        interval=reading.interval if reading else None,
        n=reading.n if reading else 0,
        advice=alert.advice,
        command=alert.command,
        system=alert.system,
    )
