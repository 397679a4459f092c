"""What the watch says of drift: the window of a champion with its whole life, its readings, and their causes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from modelkeep.nouns import Facts, Level, Reading, Rollout, model_of
from modelkeep.profile import Window, references
from modelkeep.quantities import DAY, HOUR, WEEK, iso
from modelkeep.store.seams import Ledger
from modelkeep.watch.cases import Case, Strain, cases, causes, strain, told
from modelkeep.watch.drift import SEVERE, drift, promise
from modelkeep.watch.novelty import SHOWN, Newcomers, novelty

LONGEST = 400 * DAY
"""So far back the life of a version is looked at."""
WARM = 28 * DAY
"""By then a baseline that began with the model's first outcome has seen every hour of the week four times."""
ROWS = 20_000
"""At most so many cases are read for causes."""
BESIDE = 28 * DAY
"""So far back cases are read."""
AGAIN = 6 * HOUR
"""Not sooner than this the cases of an alarm that lasts are read again."""
MADE = ("rot", "world", "level_shift")
CAUSES = ("cause", "cause 2", "cause 3")
ALARMED = frozenset({"warning", "critical"})

Last = Mapping[tuple[str, str], Reading]


def drifting(
    ledger: Ledger, window: Window, *, roles: Sequence[str], rollout: Rollout, last: Last, fleet: int
) -> list[Reading]:
    """Readings ``rot``, ``world``, ``level_shift`` and ``novelty`` of the version that answers.

    What is heavy is done anew when an hour has begun or an outcome was told, and stays as it was in between.
    """
    found = _novelty(ledger, window, last=last)
    labelled = ledger.records.counts(rollout.model)[1]
    same = [last.get((name, window.version.name)) for name in MADE]
    if all(_still(one, window, labelled=labelled) for one in same[:2]):
        return [found, *(msgspec.structs.replace(one, at=window.end) for one in same if one is not None)]
    window = _whole(ledger, window, roles=roles, rollout=rollout, fleet=fleet)
    plain = drift(window)
    before = {name: last.get((name, window.version.name)) for name in MADE}
    known = _known(plain, before=before, found=found, now=window.end)
    made = known if known is not None else _explained(ledger, window, made=plain, found=found)
    made = [_since(_blamed(one, last) if one.name == "rot" else one, before[one.name]) for one in made]
    return [found, *(_noting(one, labelled=labelled) for one in made)]


def _since(one: Reading, old: Reading | None) -> Reading:
    """An alarm that lasts began when it was first said to have begun."""
    then, now = _fact(old, "since"), _fact(one, "since")
    if old is None or old.level not in ALARMED or one.level not in ALARMED or then is None or now is None:
        return one
    return msgspec.structs.replace(one, facts={**one.facts, "since": min(then, now)})


def _still(one: Reading | None, window: Window, *, labelled: int) -> bool:
    return one is not None and one.facts.get("labelled") == labelled and one.at // HOUR == window.end // HOUR


def _noting(one: Reading, *, labelled: int) -> Reading:
    return msgspec.structs.replace(one, facts={**one.facts, "labelled": labelled})


def _whole(ledger: Ledger, window: Window, *, roles: Sequence[str], rollout: Rollout, fleet: int) -> Window:
    """The window with the life of its version since it took over."""
    model, records = rollout.model, ledger.records
    since = rollout.since
    for one in reversed(ledger.rollouts.history(model)):
        if one.champion != rollout.champion:
            break
        since = one.since
    start = max(since, window.end - LONGEST) // HOUR * HOUR
    names = references(window.version.signature)
    life = records.life(model, window.version.number, roles=roles, names=names, start=start, end=window.end)
    first = records.first(model)
    warm = 0.0
    if first is not None:
        hour, pairs = first
        cold = 2 * pairs.get(names[0], 0.0) < pairs.get("model", 0.0)
        warm = hour + WARM if cold and not window.version.signature.classifies else hour
    horizon = window.policy.horizon or min(records.lag(model), WEEK)
    return msgspec.structs.replace(window, life=life, warm=warm, horizon=horizon, fleet=fleet)


# ------------------------------------------------------------------------------------------------ novelty


def _novelty(ledger: Ledger, window: Window, *, last: Last) -> Reading:
    fresh, keys, asked = ledger.records.newcomers(window.version.model, start=window.end - DAY)
    since = min(fresh.values(), default=None)
    newcomers = Newcomers(
        count=len(fresh), keys=keys, predictions=asked, since=since, shown=tuple(sorted(fresh)[:SHOWN])
    )
    found = novelty(window, newcomers)
    before = last.get(("novelty", window.version.name))
    facts: Facts = dict(found.facts)
    # Labels of what is new come later: what it costs is looked at as long as they may.
    if found.level == "warning":
        facts["until"] = window.end + BESIDE + window.policy.horizon
        facts["first"] = _least(_fact(before, "first"), since)
    elif (_fact(before, "until") or 0.0) > window.end:
        facts["until"], facts["first"] = _fact(before, "until"), _fact(before, "first")
    return msgspec.structs.replace(found, facts=facts)


def _fact(reading: Reading | None, name: str) -> float | None:
    value = None if reading is None else reading.facts.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _least(one: float | None, other: float | None) -> float | None:
    held = [value for value in (one, other) if value is not None]
    return min(held, default=None)


# ------------------------------------------------------------------------------------------------- causes


def _known(
    made: Sequence[Reading], *, before: Mapping[str, Reading | None], found: Reading, now: float
) -> list[Reading] | None:
    """The readings with the causes that were found lately; None when cases must be read again."""
    result = []
    for one in made:
        old = before.get(one.name)
        looked = _fact(old, "looked")
        fresh = looked is not None and now - looked < AGAIN
        alarmed = one.level in ALARMED
        if alarmed and not (fresh and old is not None and old.level in ALARMED):
            return None
        if one.name == "rot" and not alarmed and "until" in found.facts:
            if not fresh:
                return None
            if old is not None and old.level in ALARMED and "new" in old.facts:
                result.append(msgspec.structs.replace(old, at=one.at))
                continue
        result.append(one if old is None or looked is None else _carried(one, old, alarmed=alarmed))
    return result


def _carried(one: Reading, old: Reading, *, alarmed: bool) -> Reading:
    causes_of = {name: old.facts[name] for name in CAUSES if alarmed and name in old.facts}
    reading = _because(one, causes_of)
    return msgspec.structs.replace(reading, facts={**reading.facts, "looked": old.facts["looked"]})


def _explained(ledger: Ledger, window: Window, *, made: Sequence[Reading], found: Reading) -> list[Reading]:
    """The readings with their causes; rot also where what is new to the model raises its error."""
    alarmed = [one for one in made if one.level in ALARMED]
    news = "until" in found.facts
    if not alarmed and not news:
        return list(made)
    held, keys = _cases(ledger, window, first=_fact(found, "first"))
    result = []
    for one in made:
        reading = one
        cost = strain(held, window) if one.name == "rot" and one.level in {"ok", "unknown"} and news else None
        if cost is not None:
            reading = _strained(one, cost, window=window)
        if reading.level in ALARMED:
            since = _fact(reading, "since") or window.start
            # The test dates a fall by when it became plain; what is new dates it better.
            came = _fact(found, "since")
            since = since if came is None or came < since - WEEK else min(since, came)
            now, before = [c for c in held if c.at >= since], [c for c in held if c.at < since]
            if cost is not None:
                before = before or [c for c in now if not c.new]
            reading = _because(reading, told(causes(now, before), keys=keys))
        result.append(msgspec.structs.replace(reading, facts={**reading.facts, "looked": window.end}))
    return result


def _cases(ledger: Ledger, window: Window, *, first: float | None) -> tuple[list[Case], int]:
    model = window.version.model
    start = window.end - BESIDE - window.horizon - WEEK
    pairs = ledger.records.labelled(model, start=start, end=window.end - window.horizon, limit=ROWS)
    keys = {p.key for p, _ in pairs if p.key}
    newcomers: list[str] = []
    if first is not None:
        newcomers = [key for key, target in ledger.records.first_targets(model, keys).items() if target >= first]
    return cases(window, pairs, newcomers=newcomers), len(keys)


def _strained(one: Reading, cost: Strain, *, window: Window) -> Reading:
    level: Level = "critical" if cost.value >= SEVERE else "warning"
    detail = (
        f"what is new to {window.version.name} raises its error by {math.expm1(cost.value):.0%} beside what it knows, "
        f"in {cost.n} new cases since {iso(cost.since)}"
    )
    facts: Facts = {**one.facts, "since": cost.since, "new": cost.n, "promise": promise(window)}
    facts.pop("reason", None)
    return msgspec.structs.replace(
        one, value=cost.value, level=level, n=cost.n, interval=None, unit="log ratio", detail=detail, facts=facts
    )


def _blamed(rot: Reading, last: Last) -> Reading:
    """Rot with the fact ``explained``, and with the cause of whoever knows better.

    A probe may say why a model errs: a reading of the model with the facts ``explains = "rot"`` and ``cause``, at
    level warning or worse. Then the input is to be repaired, and nothing is to be learned from it.
    """
    model = model_of(rot.subject)
    knows = [
        r for r in last.values()
        if r.facts.get("explains") == "rot" and model_of(r.subject) == model and r.level in ALARMED
    ]  # fmt: skip
    if not knows:
        return msgspec.structs.replace(rot, facts={**rot.facts, "explained": 0.0})
    said = str(knows[0].facts.get("cause") or knows[0].detail)
    facts: Facts = {**rot.facts, "explained": 1.0, "cause": said}
    for place, name in enumerate([name for name in ("cause", "cause 2") if name in rot.facts], 2):
        facts[f"cause {place}"] = rot.facts[name]
    return msgspec.structs.replace(rot, facts=facts, detail=f"{rot.detail}; cause: {said}")


def _because(reading: Reading, found: Facts) -> Reading:
    said = "; ".join(str(value) for value in found.values())
    detail = f"{reading.detail}; cause: {said}" if said else reading.detail
    return msgspec.structs.replace(reading, detail=detail, facts={**reading.facts, **found})
