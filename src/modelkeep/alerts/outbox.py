"""The outbox: every message is stored with its alert before it is sent, and is sent until it is taken.

Delivery is at least once: a process that dies between sending and noting it sends again, with the same key.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from msgspec.structs import replace

from modelkeep.alerts.channels import Channel, message, takes
from modelkeep.clock import Clock
from modelkeep.errors import Refused
from modelkeep.nouns import Alert, Delivery
from modelkeep.store.seams import Store

FIRST = 5.0
LONGEST = 600.0
ATTEMPTS = 500
"""About three days at the longest pause; then a message is dead."""
_LOG = logging.getLogger("modelkeep.alerts")


def pause(attempts: int) -> float:
    """Seconds to wait after so many failed attempts: 5 s, doubling up to 10 min.

    >>> pause(1), pause(2), pause(20)
    (5.0, 10.0, 600.0)
    """
    return float(min(FIRST * 2.0 ** min(attempts - 1, 20), LONGEST))


def overdue(alert: Alert, *, now: float, after: float) -> bool:
    """Whether a critical alert was told, and nobody has acknowledged it ``after`` seconds."""
    events = {delivery.event for delivery in alert.deliveries}
    waits = alert.severity == "critical" and alert.state == "open" and now - alert.opened >= after
    return waits and "open" in events and "escalate" not in events


def deliver(store: Store, channels: Mapping[str, Channel], *, clock: Clock) -> int:
    """Send every message that is due, outside of any transaction; how many were taken.

    Messages of one alert reach a channel in order. A channel that fails is left alone until the next call, and never
    holds up another one. What a receiver refuses is dead and goes to a channel that has not had it.
    """
    now = clock.now()
    with store.read() as ledger:
        due = ledger.alerts.due(now)
    failed: set[str] = set()
    taken = 0
    for alert in sorted(due, key=lambda a: (a.severity != "critical", a.opened)):
        for index in _next(alert.deliveries, now=now):
            channel = alert.deliveries[index].channel
            if channel in failed:
                continue
            delivery = _sent(alert, index, channel=channels.get(channel), now=now)
            taken += delivery.state == "sent"
            if delivery.state == "waiting":
                failed.add(channel)
            _keep(store, alert.id, index=index, delivery=delivery, channels=channels)
    return taken


def _next(deliveries: tuple[Delivery, ...], *, now: float) -> list[int]:
    """The first waiting delivery of each channel, where it is due."""
    first: dict[str, int] = {}
    for index, delivery in enumerate(deliveries):
        if delivery.state == "waiting":
            first.setdefault(delivery.channel, index)
    return [index for index in first.values() if deliveries[index].due <= now]


def _sent(alert: Alert, index: int, *, channel: Channel | None, now: float) -> Delivery:
    """Try one delivery; what it is afterwards."""
    delivery = alert.deliveries[index]
    tried = replace(delivery, attempts=delivery.attempts + 1, due=now)
    if channel is None:
        return replace(tried, state="dead", error=f"there is no channel {delivery.channel!r} any more")
    same = [d for d in alert.deliveries[: index + 1] if (d.channel, d.event) == (delivery.channel, delivery.event)]
    try:
        channel.send(message(alert, delivery, count=len(same)))
    except Refused as error:
        failed = replace(tried, state="dead", error=str(error))
    except Exception as error:  # noqa: BLE001 - a channel's send: its fault must not hold up the others
        state = "waiting" if tried.attempts < ATTEMPTS else "dead"
        failed = replace(tried, state=state, due=now + pause(tried.attempts), error=str(error) or type(error).__name__)
    else:
        return replace(tried, state="sent", error="")
    _LOG.warning("alert not delivered", extra={"alert": alert.id, "channel": delivery.channel, "cause": failed.error})
    return failed


def _keep(store: Store, id: str, *, index: int, delivery: Delivery, channels: Mapping[str, Channel]) -> None:
    """Store what became of a delivery, on the alert as it is by now."""
    with store.write("work") as ledger:
        alert = ledger.alerts.get(id)
        deliveries = list(alert.deliveries)
        place = (delivery.channel, delivery.event)
        if index >= len(deliveries) or (deliveries[index].channel, deliveries[index].event) != place:
            return  # it was withdrawn meanwhile: the alert was acknowledged before its escalation
        deliveries[index] = delivery
        if delivery.state == "dead":
            spare = [name for name in channels if takes(channels, name, kind=alert.kind, severity=alert.severity)]
            deliveries += _instead(deliveries, delivery, spare=spare)
        ledger.alerts.put(replace(alert, deliveries=tuple(deliveries)))


def _instead(deliveries: list[Delivery], dead: Delivery, *, spare: list[str]) -> list[Delivery]:
    """A dead message for a ``spare`` channel that has not had it, unless another channel has it."""
    same = [d for d in deliveries if d.event == dead.event]
    if any(d.state != "dead" for d in same):
        return []
    free = [name for name in spare if name not in {d.channel for d in same}]
    return [Delivery(channel=name, event=dead.event, state="waiting", due=dead.due) for name in free[:1]]
