"""Whether what is collected is in order: readings of the recorder and the intake, the daily check, the weekly audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from modelkeep.jobs.rooms import Done, Rooms, Run
from modelkeep.nouns import Level, Prediction, Reading

SERVER = "server"
LARGE = 1024 * 1024
"""Bytes of one person's export beyond which there may be more of them than is needed."""
SHARE = 0.01
"""Of records that are refused or whose clock is wrong, more than this share is worth a word."""
NAMED = 1000
"""So many people are listed by an audit, those with the most bytes first."""
_PAGE = 1000


class CheckedCollection(Struct, frozen=True, kw_only=True):
    """What the task ``verify_collection`` found: ``warning`` when collection is off and records still wait."""

    status: Level
    enabled: bool
    pending: int
    opened: tuple[str, ...] = ()


class AuditedCollection(Struct, frozen=True, kw_only=True):
    """What the task ``audit_collection`` found: bytes of each person's export, and of each field in all records.

    People stand under pseudonyms; ``people`` is how many there are, ``largest`` the bytes of the largest export.
    """

    status: Level
    records: int
    people: int
    largest: int
    by_person: dict[str, int]
    by_field: dict[str, int]
    opened: tuple[str, ...] = ()


def collected(rooms: Rooms) -> Iterator[Reading]:
    """Readings ``collection`` of the server, and ``clock_skew`` and ``records_refused`` of models that send records."""
    yield _collection(rooms)
    now, counts = rooms.clock.now(), rooms.intake.lately()
    for model in sorted({model for model, _ in counts if model}):
        received = counts.get((model, "received"), 0)
        flagged, refused = counts.get((model, "flagged"), 0), counts.get((model, "refused"), 0)
        yield _share(
            "clock_skew", model, n=received, odd=flagged, at=now, what="were asked in the future: a clock is ahead"
        )
        yield _share("records_refused", model, n=received + refused, odd=refused, at=now, what="were refused")


def _collection(rooms: Rooms) -> Reading:
    state, enabled = rooms.recorder.state, rooms.recorder.enabled
    wrong = not enabled and state.held > 0
    word = "on" if enabled else "off"
    return Reading(
        name="collection", subject=SERVER, value=float(state.held), level="warning" if wrong else "ok",
        at=rooms.clock.now(), n=state.held, unit="records",
        detail=f"collection is {word}, {state.held} records are pending",
        facts={"enabled": enabled, "pending": state.held},
    )  # fmt: skip


def _share(name: str, model: str, *, n: int, odd: int, at: float, what: str) -> Reading:
    level: Level = "warning" if odd > SHARE * n else "ok"
    return Reading(
        name=name, subject=model, value=float(odd), level=level, at=at, n=n, unit="records",
        detail=f"{odd} of {n} records that were sent in the last 24 h {what}", facts={"share": odd / n if n else 0.0},
    )  # fmt: skip


def verify_collection(rooms: Rooms, run: Run) -> Done:
    """The task ``verify_collection``: is collection off while records wait? Its alert opens, or is resolved."""
    found = _collection(rooms)
    with rooms.store.write() as ledger:
        ledger.readings.add([found])
        alerts = rooms.book.evaluate(ledger, [found])
    result = CheckedCollection(
        status=found.level,
        enabled=rooms.recorder.enabled,
        pending=found.n,
        opened=tuple(alert.id for alert in alerts if alert.state != "resolved"),
    )
    run.step(found.level, detail=found.detail, evidence=result)
    return Done(result=result)


def audit_collection(rooms: Rooms, run: Run) -> Done:
    """The task ``audit_collection``: the bytes of each person's export and of each field; too many open an alert."""
    now, people, fields, records = rooms.clock.now(), Counter[str](), Counter[str](), 0
    with rooms.store.read() as ledger:
        for model in ledger.versions.models():
            after = 0
            while page := ledger.records.predictions(model, after=after, limit=_PAGE):
                after = page[-1][0]
                records += len(page)
                for _, prediction in page:
                    _weigh(prediction, people=people, fields=fields)
    largest = max(people.values(), default=0)
    many = sum(size > LARGE for size in people.values())
    level: Level = "warning" if many else "ok"
    found = Reading(
        name="collection_size", subject=SERVER, value=float(largest), level=level, at=now, n=len(people), unit="bytes",
        detail=f"the largest of {len(people)} people's exports has {largest:,} bytes; {many} have more than {LARGE:,}",
        facts={"people": many, "records": records},
    )  # fmt: skip
    with rooms.store.write() as ledger:
        keys = ledger.persons.keys
        named = {keys.pseudonym(person, at=now): size for person, size in people.most_common(NAMED)}
        ledger.readings.add([found])
        alerts = rooms.book.evaluate(ledger, [found])
    result = AuditedCollection(
        status=level,
        records=records,
        people=len(people),
        largest=largest,
        by_person=named,
        by_field=dict(fields.most_common()),
        opened=tuple(alert.id for alert in alerts if alert.state != "resolved"),
    )
    run.step(level, detail=found.detail, evidence=result)
    return Done(result=result)


def _weigh(prediction: Prediction, *, people: Counter[str], fields: Counter[str]) -> None:
    """Count the bytes of a record as JSON, the form in which a person gets it."""
    if prediction.subject is not None:
        people[prediction.subject] += len(msgspec.json.encode(prediction))
    for name, value in prediction.features.items():
        fields[f"features.{name}"] += len(msgspec.json.encode(value))
    for name in ("key", "subject", "output", "request", "given"):
        value = getattr(prediction, name)
        if value not in {None, ""}:
            fields[name] += len(msgspec.json.encode(value))
