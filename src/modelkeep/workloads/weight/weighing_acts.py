"""What the scale says, and how much was collected."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep import Operation, Outcome, stamp
from modelkeep.workloads.weight import consent
from modelkeep.workloads.weight.asking import WeightUnit
from modelkeep.workloads.weight.columns import GRAMS

if TYPE_CHECKING:
    from modelkeep import App

MODEL = "weight"
DAY = 86400.0


class Weigh(Struct, frozen=True, kw_only=True):
    """What an estimated object really weighs."""

    prediction_id: Annotated[str, Meta(min_length=1, max_length=100)]
    weight: Annotated[float, Meta(gt=0, le=1e8)]
    unit: WeightUnit = "g"
    source: Annotated[str, Meta(max_length=200)] = "scale"


class WeighedView(Struct, frozen=True, kw_only=True):
    """What became of it; ``error_percent`` is how far the estimate was off, as a share of the weight."""

    prediction_id: str
    state: str
    weight_g: float
    estimated_g: float | None
    error_percent: float | None


class Statistics(Struct, frozen=True, kw_only=True):
    """What was collected: counts since ever, and of the last seven days.

    ``required_fields`` and ``fields`` are those of an estimate's record.
    """

    collection_enabled: bool
    users_consenting: int
    users_withdrawn: int
    estimates: int
    estimates_recorded: int
    estimates_7d: int
    please_weigh_7d: int
    photos_refused_7d: int
    weighed: int
    predictions: int
    photos_kept: int
    pending_records: int
    required_fields: tuple[str, ...]
    fields: tuple[str, ...]
    oldest: datetime | None
    newest: datetime | None


class Nothing(Struct, frozen=True, kw_only=True):
    """No fields."""


def weigh(app: "App", request: Weigh) -> WeighedView:
    """Tell what an estimated object really weighs; the next training learns from it.

    Raises NotFound for an id that was never answered or not kept.
    """
    with app.rooms.store.read() as ledger:
        known = ledger.records.prediction(request.prediction_id)
    grams = request.weight * GRAMS[request.unit]
    outcome = Outcome(value=grams, at=app.rooms.clock.now(), prediction=request.prediction_id, source=request.source)
    told = app.tell([outcome])[0]
    said = None if known is None or known.output is None else float(known.output)
    return WeighedView(
        prediction_id=request.prediction_id,
        state=told.state,
        weight_g=grams,
        estimated_g=said,
        error_percent=None if said is None else 100 * abs(said - grams) / grams,
    )


def statistics(app: "App", _: Nothing) -> Statistics:
    """Count what was collected, from whom and in which fields."""
    rooms = app.rooms
    kept, since = consent.records(rooms), rooms.clock.now() - 7 * DAY
    whole = kept.sql('SELECT count(*), count(prediction), min("timestamp"), max("timestamp") FROM data')
    total, recorded, oldest, newest = whole[0] if whole else (0, 0, None, None)
    lately = kept.sql('SELECT count(*), sum(please_weigh::INT) FROM data WHERE "timestamp" > ?', (since,))
    refused = consent.refusals(rooms).sql('SELECT count(DISTINCT "at") FROM data WHERE "at" > ?', (since,))
    with rooms.store.read() as ledger:
        granted, withdrawn = ledger.persons.tally()
        asked, labelled, _newest = ledger.records.counts(MODEL)
    return Statistics(
        collection_enabled=bool(granted or recorded),
        users_consenting=granted,
        users_withdrawn=withdrawn,
        estimates=int(total),
        estimates_recorded=int(recorded),
        estimates_7d=int(lately[0][0]) if lately else 0,
        please_weigh_7d=int(lately[0][1] or 0) if lately else 0,
        photos_refused_7d=int(refused[0][0]) if refused else 0,
        weighed=labelled,
        predictions=asked,
        photos_kept=0,
        pending_records=0,
        required_fields=("timestamp", "model_version", "estimated_weight"),
        fields=("timestamp", *(field.name for field in consent.RECORD)),
        oldest=stamp(oldest),
        newest=stamp(newest),
    )


OPERATIONS = (
    Operation(
        name="weight_weighed", method="POST", path="/api/weight/weighed", request=Weigh, result=WeighedView, run=weigh
    ),
    Operation(
        name="weight_statistics",
        method="GET",
        path="/api/weight/statistics",
        request=Nothing,
        result=Statistics,
        run=statistics,
    ),
)
