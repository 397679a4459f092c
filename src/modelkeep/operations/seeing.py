"""Who sees people: values that tell who somebody is are masked unless the caller may see them, and reading is noted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, structs

from modelkeep.nouns import Prediction
from modelkeep.serving.discretion import masked
from modelkeep.store.people import Access

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.store.seams import Ledger, Store

Reveal = Annotated[bool, Meta(description="Show features that tell who somebody is: for the folder's owner alone")]


def personal(ledger: Ledger, model: str) -> frozenset[str]:
    """The features of a model that tell who somebody is: as its versions say, and as its policy does."""
    names = frozenset(ledger.versions.policy(model).privacy.pii)
    if model not in ledger.versions.models():
        return names
    return names.union(*(version.signature.personal for version in ledger.versions.all(model)))


def veiled(ledger: Ledger, found: Sequence[Prediction], *, reveal: bool = False) -> list[Prediction]:
    """Predictions as they may be shown."""
    if reveal:
        return list(found)
    names = {model: personal(ledger, model) for model in {p.model for p in found}}
    return [structs.replace(p, features=masked(p.features, names[p.model])) if names[p.model] else p for p in found]


def note_many(store: Store, records: int, *, act: str, who: str, at: float, detail: str = "") -> None:
    """Keep that somebody read records of which it is not known whether any is about a person."""
    with store.write("work") as ledger:
        ledger.persons.saw(Access(at=at, who=who or "unknown", act=act, records=records, detail=detail))


def note(app: App, found: Iterable[Prediction], *, act: str, who: str, detail: str = "") -> None:
    """Keep that somebody read predictions, when any of them is about a person."""
    people = [p.subject for p in found if p.subject is not None]
    if not people:
        return
    now = app.rooms.clock.now()
    with app.rooms.store.write("work") as ledger:
        one = ledger.persons.keys.pseudonym(people[0], at=now) if len(set(people)) == 1 else None
        ledger.persons.saw(
            Access(at=now, who=who or "unknown", act=act, records=len(people), subject=one, detail=detail)
        )
