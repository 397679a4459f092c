"""What of people is recorded: who has consented, which features are kept, and what must not stand in a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct, structs

from modelkeep.nouns import Features, Policy, Prediction, Privacy, Signature
from modelkeep.store.sealing import SUBJECTS, pseudonym
from modelkeep.store.seams import Ledger

MASK = "(pii)"
"""What stands in the place of a value that tells who somebody is."""
_TELLING = 3
"""A shorter value is no name, and to mask it everywhere would garble the text."""


class Consents(Struct, frozen=True, kw_only=True):
    """Everybody who consents at one moment, as pseudonyms; immutable, and replaced whole.

    ``revision`` is that of the store's words on consent when it was read, ``erased`` that of erasures.
    """

    key: bytes = b""
    granted: frozenset[str] = frozenset()
    revision: int = -1
    erased: int = 0

    def of(self, subject: str | None) -> bool:
        """Whether a person consents now; nobody who is not named does."""
        return bool(subject and self.key) and pseudonym(self.key, subject or "") in self.granted


def read(ledger: Ledger) -> Consents:
    """Everybody who consents now."""
    persons = ledger.persons
    return Consents(
        key=persons.keys.get(SUBJECTS) or b"",
        granted=persons.granted(),
        revision=persons.revision(),
        erased=persons.erased(),
    )


def guarded(privacy: Privacy) -> bool:
    """Whether it must be looked at who is meant before a prediction is recorded."""
    return privacy.consent == "required"


def standing(ledger: Ledger, policy: Policy) -> Policy:
    """A policy with the privacy of the model's newest: a rollback brings back limits, never less care for people."""
    return structs.replace(policy, privacy=ledger.versions.policy(policy.model).privacy)


def marked(signature: Signature, privacy: Privacy) -> Signature:
    """The signature with the fields of ``privacy.pii`` marked, and without the values that such had in training."""
    names = signature.personal.union(privacy.pii)
    if not names:
        return signature
    inputs = tuple(structs.replace(f, pii=True, categories=()) if f.name in names else f for f in signature.inputs)
    return structs.replace(signature, inputs=inputs)


def minimal(predictions: Sequence[Prediction], keep: Iterable[str]) -> list[Prediction]:
    """The predictions with those features alone that are to be kept."""
    names = frozenset(keep)
    return [
        structs.replace(p, features={name: value for name, value in p.features.items() if name in names})
        for p in predictions
    ]


def unnamed(text: str, row: Features, *, personal: Iterable[str]) -> str:
    """A text without the values of some features of the row that it is about.

    >>> unnamed("no tariff for 'Anna Berg'", {"name": "Anna Berg", "age": 40}, personal=["name"])
    "no tariff for '(pii)'"
    """
    values = {str(row[name]) for name in personal if row.get(name) is not None and not isinstance(row[name], bool)}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _TELLING:
            text = text.replace(value, MASK)
    return text


def masked(features: Features, personal: Iterable[str]) -> Features:
    """Features as they may be shown to whoever has no right to see people."""
    names = frozenset(personal)
    if not names & features.keys():
        return features
    return {name: MASK if name in names and value is not None else value for name, value in features.items()}
