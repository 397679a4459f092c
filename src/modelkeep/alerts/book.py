"""The book of alerts: opens each once, keeps it while it lasts, resolves it once, and says what is to be told.

Nothing is kept in memory. How long a condition has held (or has no longer held) is read off the stored readings, and
when an alert was last told off its deliveries, so a restart changes nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NotRequired, TypedDict, Unpack

import msgspec
import psutil
from msgspec import Raw
from msgspec.structs import replace

from modelkeep.alerts import digests, outbox, telling
from modelkeep.alerts.channels import Channel, takes
from modelkeep.alerts.conditions import holds
from modelkeep.clock import Clock
from modelkeep.errors import BadSettings, Conflict, NotFound
from modelkeep.nouns import Alert, Delivery, Job, Reading, Rule, Severity, gravity, model_of
from modelkeep.quantities import DAY
from modelkeep.store.seams import Ledger, Store

LOOK_BACK = DAY
MANY = 10_000
AT_FAULT = "input_at_fault"
"""The rule whose open alert says that an input is wrong."""


class Event(TypedDict):
    """Something that happened once, as ``Book.raise_event`` takes it."""

    rule: str
    subject: str
    kind: str
    severity: Severity
    message: str
    advice: NotRequired[tuple[str, ...]]
    command: NotRequired[str]
    system: NotRequired[dict[str, float]]


class Book:
    """Judges readings by ``rules`` and tells people through ``channels`` (by name).

    Raises BadSettings when a rule names a channel that there is not.
    """

    def __init__(self, rules: Sequence[Rule], channels: Mapping[str, Channel], *, clock: Clock) -> None:
        self.rules = tuple(rules)
        self.channels = dict(channels)
        self._clock = clock
        self._by_name = {rule.name: rule for rule in rules}
        for rule in rules:
            for name in (*rule.channels, *rule.escalate_to):
                if name not in self.channels:
                    missing = NotFound("channel", name, known=self.channels)
                    raise BadSettings(f"rule {rule.name!r}: {missing.message}", remedy=missing.remedy)

    # -------------------------------------------------------------------------------------- from readings

    def evaluate(self, ledger: Ledger, readings: Sequence[Reading]) -> list[Alert]:
        """Open, update and resolve alerts in the caller's transaction; returns those that opened or resolved.

        An unknown reading neither opens nor resolves. Readings of versions that no longer answer are left aside, and
        their alerts resolved. Opened alerts get their deliveries and their rule's actions as jobs, in the same
        transaction; critical ones that nobody acknowledged get their escalation.
        """
        now = self._clock.now()
        active = {(a.rule, a.subject): a for a in ledger.alerts.all(active=True, limit=MANY)}
        over = [a for a in active.values() if self._is_over(ledger, a)]
        changed = [self._resolved(ledger, a, now=now) for a in over]
        by_name: dict[str, list[Reading]] = {}
        for reading in readings:
            if _serves(ledger, reading.subject):
                by_name.setdefault(reading.name, []).append(reading)
        for rule in self.rules:
            for reading in by_name.get(rule.reading, ()):
                alert = active.get((rule.name, reading.subject))
                found = self._judged(ledger, rule, reading=reading, alert=alert, others=readings)
                if found is not None:
                    changed.append(found)
        changed += [self._resolved(ledger, one, now=now) for one in digests.over(ledger)]
        self.escalate(ledger)
        return changed

    def _is_over(self, ledger: Ledger, alert: Alert) -> bool:
        """Whether an alert of a reading can end by no reading: its rule or its version is gone. Events never are."""
        return bool(alert.readings) and (alert.rule not in self._by_name or not _serves(ledger, alert.subject))

    def turns(self, before: Reading, reading: Reading) -> bool:
        """Whether some rule sees ``reading`` otherwise than the one ``before`` it: then it must be kept."""
        return any(
            holds(rule.condition, before) != holds(rule.condition, reading)
            for rule in self.rules
            if rule.reading == reading.name
        )

    def _judged(
        self, ledger: Ledger, rule: Rule, *, reading: Reading, alert: Alert | None, others: Sequence[Reading]
    ) -> Alert | None:
        """The alert when it opened or resolved by this reading, else None."""
        met = holds(rule.condition, reading)
        if met is None or (not met and alert is None):
            return None
        now = self._clock.now()
        if alert is not None and not met:
            calm = now - _since(ledger, rule, reading=reading, met=False)
            return self._resolved(ledger, alert, now=now) if calm >= rule.keep else None
        if alert is not None:
            alert = self._worded(alert, rule, reading=reading, others=others)
            ledger.alerts.put(self._told(ledger, alert, rule=rule, now=now))
            return None
        if now - _since(ledger, rule, reading=reading, met=True) < rule.holds:
            return None
        fresh = Alert(
            id=_id(rule.name, reading.subject, at=now), rule=rule.name, subject=reading.subject, severity=rule.severity,
            kind=rule.kind, message="", state="open", opened=now, changed=now, system=_system(),
        )  # fmt: skip
        fresh = self._told(ledger, self._worded(fresh, rule, reading=reading, others=others), rule=rule, now=now)
        ledger.alerts.put(fresh)
        return fresh

    def _worded(self, alert: Alert, rule: Rule, *, reading: Reading, others: Sequence[Reading]) -> Alert:
        """The alert with the words and readings of now."""
        why = telling.causes(reading, others)
        return replace(
            alert,
            changed=self._clock.now(),
            message=telling.told(rule, reading, opened=alert.opened, causes=why),
            readings=(reading, *why),
            advice=tuple(telling.fill(text, reading) for text in rule.advice),
            command=telling.fill(rule.command, reading),
        )

    def _told(self, ledger: Ledger, alert: Alert, *, rule: Rule, now: float) -> Alert:
        """The alert with a delivery for each channel, unless it was told within the cooldown or is taken care of.

        One above the rule's cap is told of by the subject's digest.
        """
        last = _last_told(ledger, alert)
        if alert.state == "acknowledged" or alert.digest or (last is not None and now - last < rule.cooldown):
            return alert
        if rule.cap and digests.told(ledger, alert, since=now - rule.cooldown) >= rule.cap:
            for action in rule.actions:
                _enqueue(ledger, action, alert=alert, attempt=1, now=now)
            channels = self._deliveries("open", rule.channels, alert=alert, now=now + digests.GATHER)
            return replace(alert, digest=digests.added(ledger, alert, cap=rule.cap, deliveries=channels, now=now).id)
        told = sum(d.event == "open" and d.channel == alert.deliveries[0].channel for d in alert.deliveries)
        for action in rule.actions:
            _enqueue(ledger, action, alert=alert, attempt=told + 1, now=now)
        fresh = self._deliveries("open", rule.channels, alert=alert, now=now)
        return replace(alert, deliveries=(*alert.deliveries, *fresh))

    def _resolved(self, ledger: Ledger, alert: Alert, *, now: float) -> Alert:
        """Close an alert; whoever was told that it opened is told that it is over."""
        told = dict.fromkeys(d.channel for d in alert.deliveries if d.event != "resolve" and d.state != "dead")
        over = tuple(Delivery(channel=name, event="resolve", state="waiting", due=now) for name in told)
        alert = replace(alert, state="resolved", resolved=now, changed=now, deliveries=(*alert.deliveries, *over))
        ledger.alerts.put(alert)
        return alert

    def _deliveries(
        self, event: Literal["open", "escalate"], names: Iterable[str], *, alert: Alert, now: float
    ) -> tuple[Delivery, ...]:
        """A message for each channel of ``names`` that takes such an alert; for each of all when none of them does."""
        chosen = self._taking(names, alert=alert) or self._taking(self.channels, alert=alert)
        return tuple(Delivery(channel=name, event=event, state="waiting", due=now) for name in chosen)

    def _taking(self, names: Iterable[str], *, alert: Alert) -> list[str]:
        return [name for name in names if takes(self.channels, name, kind=alert.kind, severity=alert.severity)]

    # --------------------------------------------------------------------------------------- from events

    def raise_event(self, ledger: Ledger, **event: Unpack[Event]) -> Alert:
        """Tell of something that happened once, in the caller's transaction.

        ``info`` is born resolved: a notice. Anything worse stays open until it is settled, and the same ``rule`` and
        ``subject`` meanwhile only updates it.
        """
        now = self._clock.now()
        rule, subject, text = event["rule"], event["subject"], event["message"]
        notice = event["severity"] == "info"
        alert = None if notice else self._active(ledger, rule, subject=subject)
        if alert is None:
            channels = self._by_name[rule].channels if rule in self._by_name else ()
            alert = Alert(
                id=_id(rule, subject, text, at=now), rule=rule, subject=subject, severity=event["severity"],
                kind=event["kind"], message=text, state="resolved" if notice else "open", opened=now, changed=now,
                resolved=now if notice else None, system={**_system(), **event.get("system", {})},
            )  # fmt: skip
            alert = replace(alert, deliveries=self._deliveries("open", channels, alert=alert, now=now))
        advice, command = event.get("advice", ()), event.get("command", "")
        alert = replace(alert, message=text, advice=advice, command=command, changed=now)
        ledger.alerts.put(alert)
        return alert

    def settle(self, ledger: Ledger, *, rule: str, subject: str) -> Alert | None:
        """Resolve the open alert of an event whose reason is gone; None when there is none."""
        alert = self._active(ledger, rule, subject=subject)
        return None if alert is None else self._resolved(ledger, alert, now=self._clock.now())

    def _active(self, ledger: Ledger, rule: str, *, subject: str) -> Alert | None:
        found = ledger.alerts.all(active=True, limit=MANY)
        return next((a for a in found if a.rule == rule and a.subject == subject), None)

    # --------------------------------------------------------------------------------------- from people

    def acknowledge(self, ledger: Ledger, id: str, *, who: str) -> Alert:
        """Note that ``who`` takes care of an alert: it is neither repeated nor escalated any more.

        Raises NotFound, or Conflict when it is resolved.
        """
        alert = ledger.alerts.get(id)
        if alert.state == "resolved":
            raise Conflict(f"alert {id!r} is resolved", remedy="nothing is left to acknowledge")
        kept = tuple(d for d in alert.deliveries if not (d.event == "escalate" and d.state == "waiting"))
        now = self._clock.now()
        alert = replace(alert, state="acknowledged", acknowledged_by=who, changed=now, deliveries=kept)
        ledger.alerts.put(alert)
        return alert

    def resolve(self, ledger: Ledger, id: str, *, false: bool = False) -> Alert:
        """Close an alert by hand; ``false`` notes that there was nothing behind it, also of one that is resolved.

        Raises NotFound, or Conflict when it is resolved already and nothing is to be noted.
        """
        alert = ledger.alerts.get(id)
        if false:
            alert = replace(alert, false=True, changed=self._clock.now())
            ledger.alerts.put(alert)
            if alert.state == "resolved":
                return alert
        if alert.state == "resolved":
            raise Conflict(f"alert {id!r} is resolved", remedy="nothing is left to do")
        return self._resolved(ledger, alert, now=self._clock.now())

    # ------------------------------------------------------------------------------------------- telling

    def escalate(self, ledger: Ledger) -> None:
        """Give every critical alert that was told and not acknowledged in time its escalation, once."""
        now = self._clock.now()
        for alert in ledger.alerts.all(active=True, limit=MANY):
            rule = self._by_name.get(alert.rule, Rule(name=alert.rule, reading="", condition=""))
            if outbox.overdue(alert, now=now, after=rule.escalate_after):
                more = self._deliveries("escalate", rule.escalate_to, alert=alert, now=now)
                ledger.alerts.put(replace(alert, changed=now, deliveries=(*alert.deliveries, *more)))

    def deliver(self, store: Store) -> int:
        """Send what is due, and keep what became of it; how many messages were taken."""
        return outbox.deliver(store, self.channels, clock=self._clock)


def _serves(ledger: Ledger, subject: str) -> bool:
    """False for a version that neither answers nor is tried any more."""
    model, _, number = subject.partition("@")
    if not number.isdigit():
        return True
    rollout = ledger.rollouts.get(model)
    return rollout is None or int(number) in {rollout.champion, rollout.challenger}


def _since(ledger: Ledger, rule: Rule, *, reading: Reading, met: bool) -> float:
    """Since when the condition has been ``met`` (or not) without a break, as far as the stored readings tell."""
    start = reading.at - max(rule.holds, rule.keep) - LOOK_BACK
    since = reading.at
    for past in reversed(ledger.readings.series(reading.name, reading.subject, start=start, end=reading.at + 1e-3)):
        then = holds(rule.condition, past)
        if then is None:
            continue
        if then != met:
            break
        since = min(since, past.at)
    return since


def _last_told(ledger: Ledger, alert: Alert) -> float | None:
    """When people were last told of this rule and subject, by this alert or an earlier one."""
    own = [d.due for d in alert.deliveries if d.event == "open"]
    if own:
        return max(own)
    earlier = [
        d.due
        for other in ledger.alerts.all(limit=MANY)
        if other.rule == alert.rule and other.subject == alert.subject
        for d in other.deliveries
        if d.event == "open"
    ]
    return max(earlier, default=None)


def _enqueue(ledger: Ledger, action: str, *, alert: Alert, attempt: int, now: float) -> None:
    """Enqueue a rule's action, unless it cannot help now or the same waits or runs."""
    model = model_of(alert.subject)
    if action == "retrain" and not (_trainable(ledger, model) and _worth_another(alert, attempt)):
        return
    for state in ("waiting", "running"):
        if any(job.subject == model for job in ledger.jobs.all(task=action, state=state, limit=MANY)):
            return
    again = f"-{attempt}" if attempt > 1 else ""
    by = f"alert {alert.id}"
    why = alert.message.partition("\n")[0]
    arguments = Raw(msgspec.json.encode({"model": model, "why": why, "by": by}))
    job = Job(
        id=f"{action}-{model}-{alert.id}{again}", task=action, due=now, created=now, arguments=arguments,
        subject=model, by=by,
    )  # fmt: skip
    ledger.jobs.add(job)


def _trainable(ledger: Ledger, model: str) -> bool:
    """Whether a training can help: there is a trainer, no challenger is on trial, and no input is known to be at fault.

    A fault of an input (a wrong yardstick) is repaired where it arises; learning from it would make it lasting.
    """
    rollout = ledger.rollouts.get(model)
    policy = ledger.versions.policy(model, None if rollout is None else rollout.policy)
    at_fault = any(
        a.rule == AT_FAULT and model_of(a.subject) == model for a in ledger.alerts.all(active=True, limit=MANY)
    )
    return bool(policy.retrain.trainer) and not at_fault and (rollout is None or rollout.challenger is None)


def _worth_another(alert: Alert, attempt: int) -> bool:
    """Whether to train again for an alert that trainings have not ended: for what wakes nobody ever more rarely.

    A notice that is repeated every week asks for a training after 1, 2, 4, 8, ... weeks.
    """
    return gravity(alert.severity) == "critical" or attempt & (attempt - 1) == 0


def _id(*said: str, at: float) -> str:
    text = "\n".join((*said, repr(at)))
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()


def _system() -> dict[str, float]:
    """How the machine is: load of the last minute, memory in use (per cent), this process's memory (MB)."""
    return {
        "load": os.getloadavg()[0],
        "memory_percent": psutil.virtual_memory().percent,
        "process_mb": round(psutil.Process().memory_info().rss / 2**20, 1),
    }
