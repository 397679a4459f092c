"""What is held of a person, wherever it is: records, raw data of workloads; and the models that learned of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from modelkeep.jobs.rooms import Rooms
from modelkeep.nouns import Outcome, Prediction, Value
from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.people import Consent, Entity

Row: TypeAlias = Mapping[str, Value]


def _no_keys(rooms: Rooms, subject: str) -> tuple[Entity, ...]:  # noqa: ARG001 - the form of Personal.keys
    return ()


@dataclass(frozen=True, kw_only=True)
class Personal:
    """Where a package keeps rows about people beside the predictions.

    ``keys`` names entities (a model and one of its keys) that are the person; ``held`` gives the rows by place;
    ``erase`` takes them away for good and tells how many went by place (it may be called again after a crash).
    ``plant`` puts a row about a person into an empty sandbox, so that the compliance check can prove the other two.
    """

    held: Callable[[Rooms, str], Mapping[str, Sequence[Row]]]
    erase: Callable[[Rooms, str], Mapping[str, int]]
    keys: Callable[[Rooms, str], Sequence[Entity]] = _no_keys
    plant: Callable[[Rooms, str], None] | None = None


class Recorded(Struct, frozen=True, kw_only=True):
    """One prediction of a person with every revision of its outcome."""

    prediction: Prediction
    outcomes: tuple[Outcome, ...]


class Holding(Struct, frozen=True, kw_only=True):
    """Everything held of a person."""

    pseudonym: str
    consents: tuple[Consent, ...]
    records: tuple[Recorded, ...]
    told: tuple[Outcome, ...]
    rows: dict[str, tuple[dict[str, Value], ...]]


class Learned(Struct, frozen=True, kw_only=True):
    """A version that was trained while predictions of a person were among the rows: it should be trained anew."""

    model: str
    version: int
    rows: int | None
    history: str | None = None


def entities(rooms: Rooms, subject: str, *, personals: Iterable[Personal], keyed: bool = False) -> list[Entity]:
    """The keys of models that are the person: those that workloads know, and its own name where it was a key.

    ``keyed`` takes the name as a key of every model.
    """
    with rooms.store.read() as ledger:
        found = ledger.persons.own_keys(subject)
        if keyed:
            found += [(model, subject) for model in ledger.versions.models()]
    found += [(model, key) for personal in personals for model, key in personal.keys(rooms, subject)]
    return list(dict.fromkeys(found))


def names(rooms: Rooms, subject: str) -> list[str]:
    """How a person stands in records: by its name, and by its pseudonym where records are sealed."""
    with rooms.store.read() as ledger:
        pseudonym = ledger.persons.keys.pseudonym(subject)
    return [subject, pseudonym] if pseudonym else [subject]


def holding(rooms: Rooms, subject: str, *, personals: Sequence[Personal], keyed: bool = False) -> Holding:
    """Everything that is held of a person."""
    own = entities(rooms, subject, personals=personals, keyed=keyed)
    found: list[Recorded] = []
    with rooms.store.read() as ledger:
        place = 0
        while some := ledger.persons.held(subject, own, after=place):
            place = some[-1][0]
            found += [Recorded(prediction=p, outcomes=tuple(ledger.records.outcomes(p.id))) for _, p in some]
        told, consents = ledger.persons.told(own), ledger.persons.said(subject)
        pseudonym = ledger.persons.keys.pseudonym(subject)
    if rooms.store.cold is not None:
        archive = Archive(rooms.store)
        for name in names(rooms, subject):
            found += [Recorded(prediction=p, outcomes=tuple(said)) for p, said in archive.find(name)]
        for model, key in own:
            found += [Recorded(prediction=p, outcomes=tuple(said)) for p, said in archive.find(key, model=model)]
    found = list({one.prediction.id: one for one in found}.values())
    rows: dict[str, tuple[dict[str, Value], ...]] = {}
    for personal in personals:
        for where, some_rows in personal.held(rooms, subject).items():
            rows[where] = tuple(dict(row) for row in some_rows)
    return Holding(pseudonym=pseudonym, consents=tuple(consents), records=tuple(found), told=tuple(told), rows=rows)


def learned(rooms: Rooms, spans: Iterable[tuple[str, float, float]]) -> tuple[Learned, ...]:
    """The versions whose training window holds moments (first, last) of a person's predictions, by model."""
    found: list[Learned] = []
    with rooms.store.read() as ledger:
        known = set(ledger.versions.models())
        for model, first, last in spans:
            for version in ledger.versions.all(model) if model in known else ():
                lineage = version.lineage
                start = float("-inf") if lineage.start is None else lineage.start
                end = version.created if lineage.end is None else lineage.end
                own = lineage.data_source in {"", "database"} and (lineage.rows is not None or lineage.history)
                if own and start <= last and first <= end:
                    found.append(
                        Learned(model=model, version=version.number, rows=lineage.rows, history=lineage.history)
                    )
    return tuple(found)


def places(rooms: Rooms) -> tuple[Path, ...]:
    """The folders in which the product owns files: this server's, and what the servers of its store share."""
    return (rooms.folder,) if rooms.common == rooms.folder else (rooms.folder, rooms.common)
