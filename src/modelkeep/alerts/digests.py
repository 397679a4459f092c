"""Digests: what a subject's alerts above the cap have to say, in one message instead of many, and none lost."""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from modelkeep.nouns import SEVERITIES, Alert, Delivery
from modelkeep.quantities import HOUR
from modelkeep.store.seams import Ledger

RULE = "digest"
GATHER = 1800.0
"""So long a digest gathers before it is sent."""
AGAIN = 4 * HOUR
"""After it was sent, what is added is told again not sooner than this."""
_MANY = 10_000


def told(ledger: Ledger, alert: Alert, *, since: float) -> int:
    """How many alerts of the subject were told since then, digests left aside."""
    return sum(
        any(d.event == "open" and d.due > since for d in other.deliveries)
        for other in ledger.alerts.all(limit=_MANY)
        if other.subject == alert.subject and other.rule != RULE and other.id != alert.id and other.readings
    )


def added(ledger: Ledger, alert: Alert, *, cap: int, deliveries: tuple[Delivery, ...], now: float) -> Alert:
    """The subject's digest with one alert more; ``deliveries`` are those of a new one, due when it has gathered."""
    line = f"- {alert.severity} {alert.rule}: {alert.message.partition(chr(10))[0]} (alert {alert.id})"
    active = ledger.alerts.all(active=True, limit=_MANY)
    digest = next((a for a in active if a.rule == RULE and a.subject == alert.subject), None)
    if digest is None:
        digest = Alert(
            id=hashlib.blake2b(f"{RULE}\n{alert.subject}\n{now!r}".encode(), digest_size=5).hexdigest(),
            rule=RULE, subject=alert.subject, severity=alert.severity, kind=alert.kind, state="open", opened=now,
            changed=now, message=f"More than {cap} alerts of {alert.subject}; further ones:", deliveries=deliveries,
            advice=("Look for what they have in common",), command="modelkeep alerts list --active",
        )  # fmt: skip
    elif not any(d.state == "waiting" for d in digest.deliveries):
        due = max(max(d.due for d in digest.deliveries) + AGAIN, now + GATHER)
        more = tuple(replace(d, due=due) for d in deliveries)
        digest = replace(digest, deliveries=(*digest.deliveries, *more))
    else:
        had = {d.channel for d in digest.deliveries}  # a worse alert may go to channels that the first did not go to
        digest = replace(digest, deliveries=(*digest.deliveries, *(d for d in deliveries if d.channel not in had)))
    worst = max(digest.severity, alert.severity, key=SEVERITIES.index)
    digest = replace(digest, message=f"{digest.message}\n{line}", severity=worst, changed=now)
    ledger.alerts.put(digest)
    return digest


def over(ledger: Ledger) -> list[Alert]:
    """The open digests none of whose alerts is open any more."""
    active = ledger.alerts.all(active=True, limit=_MANY)
    needed = {a.digest for a in active if a.digest}
    return [a for a in active if a.rule == RULE and not a.readings and a.id not in needed]
