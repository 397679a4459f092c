"""The table of models: how each one is, in one line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from modelkeep.edge.pages.patience import Patience
from modelkeep.edge.pages.words import age, claim, count, figure, percent, worst
from modelkeep.nouns import Alert, Level, Reading, Rollout, Rule, about, gravity, model_of
from modelkeep.store.seams import Ledger


class ModelRow(Struct, frozen=True, kw_only=True):
    """One model of the table: ``predicted`` and ``told`` are counts; other figures are texts, perhaps ``unknown``."""

    name: str
    level: Level
    reason: str
    basis: str
    version: str
    trial: str
    predicted: int
    told: int
    metric: str
    value: str
    interval: str
    skill: str
    skill_level: Level
    detail: str
    newest: float | None


class Known(Struct, frozen=True, kw_only=True):
    """What is known of all models at one moment; readings are by subject, then by name.

    A warning of one of ``notices`` is no reason to get up: what follows from it shows in other readings.
    """

    now: float
    readings: Mapping[str, Mapping[str, Reading]]
    alerts: Sequence[Alert]
    failures: Mapping[str, str]
    notices: frozenset[str] = frozenset()


def notices(rules: Iterable[Rule]) -> frozenset[str]:
    """The readings that rules look at for notices (severity ``info``) only."""
    told = list(rules)
    return frozenset(r.reading for r in told) - {r.reading for r in told if r.severity != "info"}


def by_subject(readings: Sequence[Reading]) -> dict[str, dict[str, Reading]]:
    """Readings by subject, then by name."""
    found: dict[str, dict[str, Reading]] = {}
    for reading in readings:
        found.setdefault(reading.subject, {})[reading.name] = reading
    return found


def row(ledger: Ledger, model: str, *, rollout: Rollout | None, known: Known, patience: Patience) -> ModelRow:
    """One model's line; of a model without a rollout only what is registered is known."""
    predictions, outcomes, newest = ledger.records.counts(model)
    subject = f"{model}@{rollout.champion}" if rollout else model
    mine = {**known.readings.get(model, {}), **known.readings.get(subject, {})}
    level, reason, basis = _standing(model, rollout, mine=mine, known=known, patience=patience)
    main = mine.get("accuracy") or mine.get("mae")
    value, interval = _main(main)
    skill, skill_level = skill_words(mine.get("skill"))
    return ModelRow(
        name=model,
        level=level,
        reason=reason,
        basis=basis,
        version=f"v{rollout.champion}" if rollout else "none released",
        trial=trial_words(rollout),
        predicted=predictions,
        told=outcomes,
        metric={"accuracy": "accuracy", "mae": "mean error"}.get(main.name if main else "", ""),
        value=value,
        interval=interval,
        skill=skill,
        skill_level=skill_level,
        detail=main.detail if main else "",
        newest=newest,
    )


def _standing(
    model: str, rollout: Rollout | None, *, mine: Mapping[str, Reading], known: Known, patience: Patience
) -> tuple[Level, str, str]:
    """The worst of what is known about a model, why in one sentence, and what that is based on."""
    broken = {name: why for name, why in known.failures.items() if model_of(name) == model}
    found: list[tuple[Level, str]] = [
        ("critical", f"{name} could not be loaded: {why}") for name, why in broken.items()
    ]
    alerts = [a for a in known.alerts if about(a.subject, model)]
    basis = dict(claim(a.message) for a in alerts)
    found += [(gravity(a.severity), claim(a.message)[0]) for a in alerts]
    if rollout is None:
        found.append(("unknown", f"{model} is registered but not released: nothing answers for it"))
    elif rollout.disabled:
        found.append(("warning", f"disabled: {rollout.disabled}"))
    elif not mine:
        found.append(("unknown", "nothing has been measured yet"))
    elif not patience.believes(model, max(r.at for r in mine.values()), now=known.now):
        last = age(max(r.at for r in mine.values()), known.now)
        found.append(("unknown", f"last looked at {last}: the watcher may have stopped"))
    counted = [r for r in mine.values() if r.level != "warning" or r.name not in known.notices]
    found += [(r.level, _told(r)) for r in counted if r.level != "ok"]
    level = worst([level for level, _ in found] or ["ok"])
    why = next((why for each, why in found if each == level), "")
    return level, why, basis.get(why, "")


def _told(reading: Reading) -> str:
    """A reading in a sentence that names it."""
    if reading.detail and reading.name in reading.detail:
        return reading.detail
    return f"{reading.name}: {reading.detail or figure(reading.value, reading.unit)}"


def _main(reading: Reading | None) -> tuple[str, str]:
    """The headline metric and, below it, its interval and n."""
    if reading is None:
        return "unknown", "no outcome yet"
    if reading.value is None:
        return "unknown", have_of_need(reading)
    say = percent if reading.name == "accuracy" else figure
    value = say(reading.value) + (f" {reading.unit}" if reading.unit and reading.name != "accuracy" else "")
    bounds = f"{say(reading.interval[0])} to {say(reading.interval[1])}, " if reading.interval else ""
    return value, f"{bounds}n = {count(reading.n)}"


def have_of_need(reading: Reading) -> str:
    """How much there is of how much is needed, when a reading says so.

    >>> facts = {"have": 4, "need": 10}
    >>> have_of_need(Reading(name="mae", subject="m@1", value=None, level="unknown", at=0.0, facts=facts))
    '4 of 10 outcomes'
    """
    have, need = reading.facts.get("have"), reading.facts.get("need")
    if isinstance(have, int | float) and isinstance(need, int | float):
        noun = "days with outcomes" if "days" in reading.detail.partition(" in ")[0] else "outcomes"
        return f"{have:g} of {need:g} {noun}"
    return reading.detail


def skill_words(reading: Reading | None) -> tuple[str, Level]:
    """How a model does against its best automatic baseline, in words.

    The reading's value is log(baseline's error / model's error); "by 12 %" is how much larger the model's error is, and
    "12 % better" how much smaller. Nothing is claimed that its interval does not bear.

    >>> worse = Reading(name="skill", subject="m@1", value=-0.1133, level="critical", at=0.0, interval=(-0.2, -0.05),
    ...     facts={"baseline": "ewma"})
    >>> skill_words(worse)
    ('below baseline (ewma) by 12 %', 'critical')
    """
    if reading is None:
        return "unknown: no outcome yet", "unknown"
    if reading.value is None:
        return f"unknown: {have_of_need(reading)}", "unknown"
    name = reading.facts.get("baseline") or "its baseline"
    low, high = reading.interval or (-math.inf, math.inf)
    if high < 0:
        return f"below baseline ({name}) by {percent(math.expm1(-reading.value))}", reading.level
    better = percent(-math.expm1(-reading.value))
    if low > 0:
        return f"{better} better than {name}", reading.level
    return f"not distinguishable from {name}", reading.level


def trial_words(rollout: Rollout | None) -> str:
    """What is on trial next to the champion.

    >>> trial_words(Rollout(model="m", champion=1, challenger=2, mode="canary", share=0.1))
    'v2 answers 10 % as canary'
    """
    if rollout is None or rollout.challenger is None:
        return ""
    if rollout.mode == "shadow":
        return f"v{rollout.challenger} in shadow"
    return f"v{rollout.challenger} answers {percent(rollout.share)} as canary"
