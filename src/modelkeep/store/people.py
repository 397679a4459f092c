"""What is said of people on their shelf: consents, accesses, and what an erasure took away."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

Entity: TypeAlias = tuple[str, str]
"""A model and one of its keys."""


class Consent(Struct, frozen=True, kw_only=True):
    """One word on whether a person may be recorded: when, and who said it."""

    granted: bool
    at: float
    by: str = ""


class Access(Struct, frozen=True, kw_only=True):
    """Somebody read personal records: who, by which act, of whom (a pseudonym; None = of several), how many."""

    at: float
    who: str
    act: str
    records: int
    subject: str | None = None
    detail: str = ""


class Erased(Struct, frozen=True, kw_only=True):
    """Rows taken away, by table."""

    predictions: int = 0
    matches: int = 0
    outcomes: int = 0
    memory: int = 0
    feedback: int = 0
    reviews: int = 0

    def plus(self, other: Erased) -> Erased:
        """Both together."""
        return Erased(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})
