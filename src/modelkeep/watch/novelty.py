"""What the model never saw: a category it was not trained on, an entity that nobody asked about before."""

from __future__ import annotations

from msgspec import Struct

from modelkeep.nouns import Facts, Reading
from modelkeep.profile import Window
from modelkeep.quantities import iso
from modelkeep.watch.cases import known_values
from modelkeep.watch.folding import columns, last_day, unknown

FEW = 0.05
"""New entities are conspicuous from this share of all entities of a day on, and from FIRST of them."""
FIRST = 5
SHOWN = 5


class Newcomers(Struct, frozen=True, kw_only=True):
    """Entities of the newest day that were never asked about before.

    ``count`` of ``keys``, first for a target at the moment ``since``, in ``predictions``; ``shown`` are some of them.
    """

    count: int
    keys: int
    predictions: int
    since: float | None = None
    shown: tuple[str, ...] = ()


def novelty(window: Window, newcomers: Newcomers | None = None) -> Reading:
    """Reading ``novelty``: how many values and entities the newest 24 h brought that the version never learned of.

    Known from the first prediction on. Level: warning for any unseen category, and when at least five entities and one
    in twenty are new; unknown without predictions. Facts: ``column`` and ``values`` (the unseen ones, at most five),
    ``predictions``, ``since``, ``entities`` (new ones).
    """
    hours = last_day(window.slices)
    if not hours:
        return unknown(window, "novelty", detail="there was no prediction", facts={"reason": "no predictions"})
    held = columns(hours)
    unseen: dict[str, dict[str, int]] = {}
    for field in window.version.signature.inputs:
        column = held.get(field.name)
        known = known_values(field, window.reference) if field.kind == "category" else frozenset()
        if column is not None and known:
            strange = {value: n for value, n in column.values.items() if value not in known}
            if strange:
                unseen[field.name] = dict(sorted(strange.items(), key=lambda item: -item[1]))
    facts: Facts = {}
    said = []
    n = 0
    for name, values in unseen.items():
        count = sum(values.values())
        n += count
        shown = ", ".join(list(values)[:SHOWN]) + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")
        said.append(f"unknown {name}: {shown} in {count} predictions")
        facts = facts or {"column": name, "values": shown, "predictions": count, "since": _since(window, name)}
    fresh = 0 if newcomers is None else newcomers.count
    many = newcomers is not None and fresh >= FIRST and fresh >= FEW * newcomers.keys
    if newcomers is not None and fresh:
        facts |= {"entities": fresh}
        said.append(f"{fresh} of {newcomers.keys} entities were never asked about before")
        n += newcomers.predictions
        if many and not unseen:
            facts |= {"column": "entity", "values": ", ".join(newcomers.shown), "predictions": newcomers.predictions}
            facts["since"] = newcomers.since
    since = facts.get("since")
    when = f", since {iso(since)}" if isinstance(since, float) else ""
    return Reading(
        name="novelty", subject=window.version.name, value=float(sum(map(len, unseen.values())) + fresh),
        level="warning" if unseen or many else "ok", at=window.end, n=n or sum(s.profile.n for s in hours),
        detail="; ".join(said) + when if said else "nothing new in the newest 24 h with predictions", facts=facts,
    )  # fmt: skip


def _since(window: Window, name: str) -> float | None:
    """The first hour of the window in which the column held an unseen value."""
    field = next(f for f in window.version.signature.inputs if f.name == name)
    known = known_values(field, window.reference)
    for s in window.slices:
        column = s.profile.columns.get(name)
        if column is not None and not known.issuperset(column.values):
            return s.start
    return None
