"""Collection: what waits, what is kept, and switching it off and on."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Raw, Struct, json

from modelkeep.errors import StoreUnavailable
from modelkeep.operations.act import By, DurationText, Operation, Why, stamp
from modelkeep.quantities import seconds
from modelkeep.store.repeating import repeated
from modelkeep.store.seams import Extent

if TYPE_CHECKING:
    from modelkeep.app import App


class ReadCollection(Struct, frozen=True, kw_only=True):
    """Nothing to say."""


class CollectionStats(Struct, frozen=True, kw_only=True):
    """How collection stands.

    ``pending`` records wait for the store, ``spooled`` of them on disk; ``cause`` is why. ``stored`` predictions are in
    the database with ``bytes`` (``exact``, or estimated from the newest), ``oldest`` asked first; ``fields`` are the
    inputs that are recorded. What the store would tell is None while it is away.
    """

    enabled: bool
    pending: int
    spooled: int
    cause: str
    batch: int
    dropped: int
    refused: int
    aside: int
    stored: int | None
    bytes: int | None
    exact: bool
    oldest: datetime | None
    fields: tuple[str, ...]
    received: int
    repeated: int
    flagged: int


class Flush(Struct, frozen=True, kw_only=True):
    """How long to wait for what is pending."""

    within: DurationText = "30s"
    by: By = ""


class SwitchOff(Struct, frozen=True, kw_only=True):
    """Why nothing is collected."""

    why: Why = ""
    by: By = ""


class SwitchOn(Struct, frozen=True, kw_only=True):
    """Why it is collected again."""

    why: Why = ""
    by: By = ""


class Flushed(Struct, frozen=True, kw_only=True):
    """How many records were brought to the store, how many still wait, and why."""

    flushed: int
    pending: int
    cause: str


class Switched(Struct, frozen=True, kw_only=True):
    """Whether collection is on, and how many records are pending.

    ``remembered`` is false while the store is away: it is in force here, and kept for restarts when the store is back.
    """

    enabled: bool
    pending: int
    remembered: bool


def stats(app: App, _: ReadCollection) -> CollectionStats:
    """Tell how collection stands: on or off, pending, stored, bytes, fields, oldest; also while the store is away."""
    recorder, state = app.rooms.recorder, app.rooms.recorder.state
    counts = app.rooms.intake.lately()
    cause = state.cause
    try:
        found = repeated(lambda: _extent(app))
    except StoreUnavailable as away:
        found, cause = None, cause or str(away)
    sent = {what: sum(n for (_, w), n in counts.items() if w == what) for what in ("received", "repeated", "flagged")}
    return CollectionStats(
        enabled=recorder.enabled,
        pending=state.held,
        spooled=state.spooled,
        cause=cause,
        batch=recorder.batch,
        dropped=state.dropped,
        refused=state.refused,
        aside=state.aside,
        stored=found.stored if found else None,
        bytes=found.size if found else None,
        exact=bool(found and found.exact),
        oldest=stamp(found.oldest) if found else None,
        fields=found.fields if found else (),
        **sent,
    )


def _extent(app: App) -> Extent | None:
    with app.rooms.store.read() as ledger:
        return ledger.records.extent()


def flush(app: App, request: Flush) -> Flushed:
    """Bring what is pending to the store now, also while collection is off."""
    recorder = app.rooms.recorder
    before = recorder.state.held
    left = recorder.flush(seconds(request.within, "within"))
    return Flushed(flushed=max(before - left, 0), pending=left, cause=recorder.state.cause if left else "")


def switch_off(app: App, request: SwitchOff) -> Switched:
    """Stop collecting: models go on answering, nothing new is recorded, and what is pending stays until it is flushed.

    It stays off after a restart.
    """
    return _switched(app, request, on=False)


def switch_on(app: App, request: SwitchOn) -> Switched:
    """Collect again, and bring what is pending to the store."""
    return _switched(app, request, on=True)


def _switched(app: App, request: SwitchOff | SwitchOn, *, on: bool) -> Switched:
    recorder = app.rooms.recorder
    was = recorder.enabled
    remembered = recorder.switch(on=on)
    if was != on and remembered:
        with app.rooms.store.write() as ledger:
            ledger.acts.append(
                who=request.by or "unknown",
                what="collection_on" if on else "collection_off",
                subject="server",
                why=request.why,
                at=app.rooms.clock.now(),
                before=Raw(json.encode({"enabled": was})),
                after=Raw(json.encode({"enabled": on})),
            )
    return Switched(enabled=recorder.enabled, pending=recorder.state.held, remembered=remembered)


def _forgotten(found: Switched) -> str:
    return "" if found.remembered else "the store is away: a restart before it is back would forget this"


OPERATIONS = (
    Operation(
        name="collection_stats", method="GET", path="/v1/collection/stats", request=ReadCollection,
        result=CollectionStats, run=stats, words=("collection", "stats"),
    ),
    Operation(
        name="collection_flush", method="POST", path="/v1/collection/flush", request=Flush, result=Flushed, run=flush,
        words=("collection", "flush"),
        finding=lambda found: f"{found.pending} records still wait: {found.cause}" if found.pending else "",
    ),
    Operation(
        name="collection_off", method="POST", path="/v1/collection/off", request=SwitchOff, result=Switched,
        run=switch_off, words=("collection", "off"), finding=_forgotten,
    ),
    Operation(
        name="collection_on", method="POST", path="/v1/collection/on", request=SwitchOn, result=Switched,
        run=switch_on, words=("collection", "on"), finding=_forgotten,
    ),
)  # fmt: skip
