"""Consent: who may be recorded, said and taken back."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from modelkeep.errors import StoreUnavailable
from modelkeep.operations.act import By, Operation, stamp

if TYPE_CHECKING:
    from modelkeep.app import App

Subject = Annotated[
    str, Meta(description="The person, as predictions name it in their subject", min_length=1, max_length=500)
]


SELF = "the person"
"""Who speaks for themselves: their name has no place in the audit chain, from which nothing can be taken away."""


class SayConsent(Struct, frozen=True, kw_only=True):
    """A word on whether a person may be recorded."""

    subject: Subject
    say: Annotated[Literal["grant", "withdraw"], Meta(description="grant or withdraw")]
    by: By = ""


class ShowConsent(Struct, frozen=True, kw_only=True):
    """Which person."""

    subject: Subject


class Word(Struct, frozen=True, kw_only=True):
    """One word on consent."""

    granted: bool
    at: datetime
    by: str


class ConsentView(Struct, frozen=True, kw_only=True):
    """Whether a person consents now, what was said when (oldest first), and the models that ask for consent."""

    subject: str
    granted: bool
    history: tuple[Word, ...]
    models: tuple[str, ...]


def say_consent(app: App, request: SayConsent) -> ConsentView:
    """Grant or withdraw a person's consent to being recorded; it holds from the next request on.

    It matters to models whose policy says ``privacy.consent = "required"``. Whoever has not consented is answered like
    everybody else, and nothing is kept of it.
    """
    say(app, request.subject, granted=request.say == "grant", by=request.by)
    return show_consent(app, ShowConsent(subject=request.subject))


def say(app: App, subject: str, *, granted: bool, by: str = "") -> None:
    """Keep a word on consent, in force in this process when this returns."""
    now = app.rooms.clock.now()
    by = SELF if by == subject else by
    with app.rooms.store.write() as ledger:
        ledger.persons.say(subject, granted=granted, at=now, by=by)
        ledger.acts.append(
            who=by or "unknown",
            what="consent_granted" if granted else "consent_withdrawn",
            subject=f"person {ledger.persons.keys.pseudonym(subject)}",
            why="",
            at=now,
        )
    try:
        app.rooms.router.consents()
    except StoreUnavailable:
        app.rooms.gateway.distrust()  # what was said is kept, and cannot be read: nobody counts as consenting


def show_consent(app: App, request: ShowConsent) -> ConsentView:
    """Show whether a person consents to being recorded, and every word on it."""
    with app.rooms.store.read() as ledger:
        said = ledger.persons.said(request.subject)
        gated = [m for m in ledger.versions.models() if ledger.versions.policy(m).privacy.consent == "required"]
    history = tuple(Word(granted=word.granted, at=stamp(word.at), by=word.by) for word in said)
    return ConsentView(
        subject=request.subject,
        granted=bool(history and history[-1].granted),
        history=history,
        models=tuple(gated),
    )


OPERATIONS = (
    Operation(
        name="consent", method="GET", path="/v1/privacy/consent", request=ShowConsent, result=ConsentView,
        run=show_consent,
    ),
    Operation(
        name="say_consent", method="POST", path="/v1/privacy/consent", request=SayConsent, result=ConsentView,
        run=say_consent, words=("privacy", "consent"), plain=("subject", "say"),
    ),
)  # fmt: skip
