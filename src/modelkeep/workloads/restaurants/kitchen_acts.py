"""The acts on the kitchen: ``/api/predictions/kitchen/...``, with the routes and envelope of the guide's service."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from modelkeep import Features, Operation, Prediction, Rooms
from modelkeep.workloads.restaurants import keeping, stations
from modelkeep.workloads.restaurants.answering import (
    Envelope,
    RestaurantId,
    answered,
    coverage,
    refusal,
    serving,
    version_of,
)  # fmt: skip
from modelkeep.workloads.restaurants.recipes import PREP

if TYPE_CHECKING:
    from modelkeep import App

KINDS = ("tickets",)
RULE = "stations against their own earlier weeks"
PAST = 90 * 86400.0
Id = Annotated[str | int, Meta(description="An id as it was sent")]


class Order(Struct, frozen=True, kw_only=True):
    """One item to be made; ``ticket_id`` joins the forecast with what it really took."""

    station_id: Id
    menu_item_id: Id = ""
    quantity: Annotated[float, Meta(gt=0)] = 1.0
    queue: Annotated[float, Meta(description="Orders waiting before it; unknown when left out", ge=0)] | None = None
    ticket_id: Id = ""


class AskPrep(Order, frozen=True, kw_only=True):
    """One item to be made in a restaurant's kitchen."""

    restaurant_id: RestaurantId


class AskBatch(Struct, frozen=True, kw_only=True):
    """Several items to be made."""

    restaurant_id: RestaurantId
    orders: Annotated[tuple[Order, ...], Meta(min_length=1, max_length=500)]


class AskKitchen(Struct, frozen=True, kw_only=True):
    """Which restaurant."""

    restaurant_id: RestaurantId


class Prep(Struct, frozen=True, kw_only=True):
    """Minutes to expect with an 80 % interval; ``confidence`` is the share that such intervals have held.

    ``basis`` says whether the station has a past of its own, or a prior answers.
    """

    station_id: Id
    menu_item_id: Id
    predicted: float | None
    lower: float | None
    upper: float | None
    confidence: float | None
    basis: str
    prediction_id: str


class PrepAnswer(Envelope, frozen=True, kw_only=True):
    """The time of one item."""

    data: Prep


class Batch(Struct, frozen=True, kw_only=True):
    """Every item's time; stations work side by side, each makes its items one after the other."""

    restaurant_id: RestaurantId
    item_predictions: tuple[Prep, ...]
    estimated_total_time_minutes: float | None


class BatchAnswer(Envelope, frozen=True, kw_only=True):
    """The time of several items."""

    data: Batch


class Bottlenecks(Struct, frozen=True, kw_only=True):
    """The stations that have become slower; ``stations`` are all that were looked at."""

    restaurant_id: RestaurantId
    bottlenecks: tuple[stations.Bottleneck, ...]
    stations: tuple[stations.Bottleneck, ...]


class BottlenecksAnswer(Envelope, frozen=True, kw_only=True):
    """Bottlenecks."""

    data: Bottlenecks


class Performance(Struct, frozen=True, kw_only=True):
    """Every station's times."""

    restaurant_id: RestaurantId
    stations: tuple[stations.Station, ...]


class PerformanceAnswer(Envelope, frozen=True, kw_only=True):
    """Stations."""

    data: Performance


def prep_time(app: App, request: AskPrep) -> PrepAnswer:
    """Forecast the minutes of one item at its station.

    Raises NotFound for an unknown restaurant, naming near ones, and when no version of the model is released.
    """

    def make() -> tuple[Prep, str]:
        found, version = _asked(app, str(request.restaurant_id), orders=(request,))
        return found[0], version

    data, metadata = answered(app, request, make=make, kinds=KINDS, models=(PREP,))
    return PrepAnswer(data=data, metadata=metadata)


def batch_prep_time(app: App, request: AskBatch) -> BatchAnswer:
    """Forecast the minutes of several items, and of all of them together.

    Raises NotFound for an unknown restaurant, naming near ones, and when no version of the model is released.
    """

    def make() -> tuple[Batch, str]:
        found, version = _asked(app, str(request.restaurant_id), orders=request.orders)
        data = Batch(
            restaurant_id=request.restaurant_id, item_predictions=found, estimated_total_time_minutes=total(found)
        )
        return data, version

    data, metadata = answered(app, request, make=make, kinds=KINDS, models=(PREP,))
    return BatchAnswer(data=data, metadata=metadata)


def total(found: tuple[Prep, ...]) -> float | None:
    """The time of the busiest station; None when an item's time is not known."""
    by_station: dict[str, float] = {}
    for one in found:
        if one.predicted is None:
            return None
        by_station[str(one.station_id)] = by_station.get(str(one.station_id), 0.0) + one.predicted
    return round(max(by_station.values()), 2)


def _asked(app: App, restaurant_id: str, *, orders: tuple[Order, ...]) -> tuple[tuple[Prep, ...], str]:
    restaurant = keeping.sought(app.rooms, restaurant_id)
    version = serving(app.rooms, PREP)
    rows = _rows(app.rooms, restaurant, orders=orders)
    keys = [f"{restaurant}/{order.ticket_id or order.station_id}" for order in orders]
    predictions = app.predict(PREP, rows, keys=keys)
    cover = coverage(version)
    found = tuple(
        _told(one, order, row=row, cover=cover) for one, order, row in zip(predictions, orders, rows, strict=True)
    )
    return found, version_of(predictions)


def _rows(rooms: Rooms, restaurant: str, *, orders: tuple[Order, ...]) -> list[Features]:
    live: Any = import_module("modelkeep.workloads.restaurants.live_kitchen")
    rows: list[Features] = live.rows(rooms, restaurant, orders=orders, past=PAST)
    return rows


def _told(prediction: Prediction, order: Order, *, row: Features, cover: float | None) -> Prep:
    value, interval = prediction.output, prediction.interval
    number = round(float(value), 2) if isinstance(value, int | float) else None
    own = row.get("station_minutes") is not None
    return Prep(
        station_id=order.station_id,
        menu_item_id=order.menu_item_id,
        predicted=number,
        lower=None if interval is None else round(interval[0], 2),
        upper=None if interval is None else round(interval[1], 2),
        confidence=None if interval is None else cover,
        basis="own history" if own else "prior: no finished ticket of this station yet",
        prediction_id=prediction.id,
    )


def bottlenecks(app: App, request: AskKitchen) -> BottlenecksAnswer:
    """Name the stations whose last 7 days are slower than their own 56 days before, with the interval of the ratio.

    Raises NotFound for an unknown restaurant, naming near ones.
    """

    def make() -> tuple[Bottlenecks, str]:
        restaurant = keeping.sought(app.rooms, str(request.restaurant_id))
        now = app.rooms.clock.now()
        found = tuple(stations.slowed(one, now=now) for one in stations.times(app.rooms, restaurant))
        slow = tuple(sorted((one for one in found if one.bottleneck), key=lambda one: -(one.ratio or 0.0)))
        return Bottlenecks(restaurant_id=request.restaurant_id, bottlenecks=slow, stations=found), RULE

    data, metadata = answered(app, request, make=make, kinds=KINDS)
    return BottlenecksAnswer(data=data, metadata=metadata)


def station_performance(app: App, request: AskKitchen) -> PerformanceAnswer:
    """Tell every station's times of the last weeks.

    Raises NotFound for an unknown restaurant, naming near ones.
    """

    def make() -> tuple[Performance, str]:
        restaurant = keeping.sought(app.rooms, str(request.restaurant_id))
        found = tuple(stations.performance(one) for one in stations.times(app.rooms, restaurant))
        return Performance(restaurant_id=request.restaurant_id, stations=found), RULE

    data, metadata = answered(app, request, make=make, kinds=KINDS)
    return PerformanceAnswer(data=data, metadata=metadata)


OPERATIONS = (
    Operation(
        name="restaurants_prep_time", method="POST", path="/api/predictions/kitchen/prep-time", request=AskPrep,
        result=PrepAnswer, run=prep_time, words=("kitchen", "prep-time"),
        plain=("restaurant_id", "station_id", "menu_item_id"), refusal=refusal,
    ),
    Operation(
        name="restaurants_batch_prep_time", method="POST", path="/api/predictions/kitchen/batch-prep-time",
        request=AskBatch, result=BatchAnswer, run=batch_prep_time, words=("kitchen", "batch-prep-time"),
        plain=("restaurant_id",), refusal=refusal,
    ),
    Operation(
        name="restaurants_bottlenecks", method="GET", path="/api/predictions/kitchen/bottlenecks", request=AskKitchen,
        result=BottlenecksAnswer, run=bottlenecks, words=("kitchen", "bottlenecks"), plain=("restaurant_id",),
        refusal=refusal,
    ),
    Operation(
        name="restaurants_station_performance", method="GET", path="/api/predictions/kitchen/station-performance",
        request=AskKitchen, result=PerformanceAnswer, run=station_performance, words=("kitchen", "stations"),
        plain=("restaurant_id",), refusal=refusal,
    ),
)  # fmt: skip
