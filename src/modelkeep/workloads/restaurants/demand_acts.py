"""The acts on demand: ``/api/predictions/demand...``, with the routes and the envelope of the guide's service."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from modelkeep import Features, Operation, Prediction, iso, stamp
from modelkeep.workloads.restaurants import items, keeping
from modelkeep.workloads.restaurants.answering import (
    Envelope,
    RestaurantId,
    answered,
    coverage,
    refusal,
    serving,
    version_of,
)  # fmt: skip
from modelkeep.workloads.restaurants.recipes import DEMAND, HOURLY

if TYPE_CHECKING:
    from modelkeep import App

HOUR, DAY = 3600.0, 86400.0
KINDS = ("orders", "visits", "reservations", "about", "calendar")
LEAST = 14
"""Days with orders from which a forecast stands on the restaurant's own past."""
PEAK = 1.25
"""A peak hour has at least so many times the mean of the day's opening hours; at most three are named."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
Hours = Annotated[int, Meta(description="How far ahead, in hours", ge=1, le=168)]


class AskDemand(Struct, frozen=True, kw_only=True):
    """Which restaurant, how far ahead, and hour by hour or day by day."""

    restaurant_id: RestaurantId
    hours_ahead: Hours = 24
    forecast_type: Literal["hourly", "daily"] = "hourly"


class HourShare(Struct, frozen=True, kw_only=True):
    """A forecast for one hour of a day (UTC)."""

    hour: int
    predicted_orders: float | None


class Forecast(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One hour (``timestamp``, ``hour``) or one day (``date``, ``day_of_week``, shared out in ``hourly_breakdown``).

    ``predicted_orders`` is the mean to expect, ``lower`` to ``upper`` an 80 % interval, and ``confidence`` the share of
    the truths that such intervals have held on days that the model had not seen; null where it is not known. ``note``
    says why a restaurant is closed, or that the forecast stands on a prior.
    """

    predicted_orders: float | None
    lower: float | None
    upper: float | None
    confidence: float | None
    timestamp: datetime | None = None
    hour: int | None = None
    date: str = ""
    day_of_week: str = ""
    hourly_breakdown: tuple[HourShare, ...] = ()
    note: str = ""
    prediction_id: str = ""


class Demand(Struct, frozen=True, kw_only=True):
    """``basis`` says what it stands on: the restaurant's own past, or (prior) what restaurants like it do."""

    restaurant_id: RestaurantId
    forecast_type: str
    basis: str
    predictions: tuple[Forecast, ...]


class DemandAnswer(Envelope, frozen=True, kw_only=True):
    """Demand to come."""

    data: Demand


class AskItem(Struct, frozen=True, kw_only=True):
    """Which item of which restaurant."""

    restaurant_id: RestaurantId
    item_id: Annotated[str | int, Meta(description="The item's id as it was sent")]
    hours_ahead: Hours = 24
    service: Annotated[float, Meta(description="Share of days on which what is prepared shall do", gt=0, lt=1)] = 0.8


class AskCategory(Struct, frozen=True, kw_only=True):
    """Which category of which restaurant."""

    restaurant_id: RestaurantId
    category_name: Annotated[str, Meta(min_length=1)]
    hours_ahead: Hours = 24
    service: Annotated[float, Meta(description="Share of days on which what is prepared shall do", gt=0, lt=1)] = 0.8


class ItemDemand(Struct, frozen=True, kw_only=True):
    """What will be needed of an item on each day; ``reason`` says why it is not known."""

    restaurant_id: RestaurantId
    item_id: str
    item_name: str
    predictions: tuple[items.ItemDay, ...]
    reason: str = ""


class ItemAnswer(Envelope, frozen=True, kw_only=True):
    """Demand of an item."""

    data: ItemDemand


class CategoryDemand(Struct, frozen=True, kw_only=True):
    """What will be needed of a category on each day."""

    restaurant_id: RestaurantId
    category: str
    predictions: tuple[items.ItemDay, ...]
    reason: str = ""


class CategoryAnswer(Envelope, frozen=True, kw_only=True):
    """Demand of a category."""

    data: CategoryDemand


class AskPeaks(Struct, frozen=True, kw_only=True):
    """Which restaurant, and how many days."""

    restaurant_id: RestaurantId
    days_ahead: Annotated[int, Meta(ge=1, le=14)] = 7


class DayPeaks(Struct, frozen=True, kw_only=True):
    """The busiest hours of a day, the busiest first; none on a closed day."""

    date: str
    peak_hours: tuple[HourShare, ...]
    note: str = ""


class Peaks(Struct, frozen=True, kw_only=True):
    """The busiest hours of the days to come."""

    restaurant_id: RestaurantId
    analysis: tuple[DayPeaks, ...]


class PeakAnswer(Envelope, frozen=True, kw_only=True):
    """Peak hours."""

    data: Peaks


def forecast(app: App, request: AskDemand) -> DemandAnswer:
    """Forecast a restaurant's orders by the hour, or its visitors (orders, where nobody counts guests) by the day.

    A day or hour on which it is closed is 0 and says why; a restaurant without a past gets the prior of those like it.
    Raises NotFound for an unknown restaurant, naming near ones, and when no version of the model is released.
    """
    model = HOURLY if request.forecast_type == "hourly" else DEMAND
    data, metadata = answered(
        app, request, make=lambda: _forecast(app, request, model=model), kinds=KINDS, models=(model,)
    )
    return DemandAnswer(data=data, metadata=metadata)


def _forecast(app: App, request: AskDemand, *, model: str) -> tuple[Demand, str]:
    live: Any = import_module("modelkeep.workloads.restaurants.live")
    restaurant = keeping.sought(app.rooms, str(request.restaurant_id))
    now = live.now_of(app.rooms)
    days, hourly_days = live.history(now, restaurant)
    own = (hourly_days if model == HOURLY else days) >= LEAST
    basis = "own history" if own else f"prior: {days} days of its own, {LEAST} are needed; others of its kind stand in"
    make = _hours if model == HOURLY else _days
    predictions, version = make(app, now, restaurant=restaurant, hours=request.hours_ahead)
    data = Demand(
        restaurant_id=request.restaurant_id,
        forecast_type=request.forecast_type,
        basis=basis,
        predictions=predictions if own else tuple(replace(one, note=one.note or "prior") for one in predictions),
    )
    return data, version


def _hours(app: App, now: Any, *, restaurant: str, hours: int) -> tuple[tuple[Forecast, ...], str]:
    live: Any = import_module("modelkeep.workloads.restaurants.live")
    first = (now.at // HOUR + 1) * HOUR
    moments = [first + HOUR * i for i in range(hours)]
    opened = live.open_hours(now, restaurant)
    shut = {day: live.off(now, restaurant, day=day) for day in {int(at // DAY) for at in moments}}
    asked = [at for at in moments if int(at % DAY // HOUR) in opened and not shut[int(at // DAY)]]
    found = dict(zip(asked, _asked(app, HOURLY, rows=live.hour_rows(now, restaurant, hours=asked) if asked else [],
                                   restaurant=restaurant, targets=asked), strict=True))  # fmt: skip
    cover = coverage(serving(app.rooms, HOURLY))
    return tuple(
        replace(
            told(found.get(at), cover=cover, note=shut[int(at // DAY)] or "closed at this hour"),
            timestamp=stamp(at),
            hour=int(at % DAY // HOUR),
        )
        for at in moments
    ), version_of(tuple(found.values())) if found else serving(app.rooms, HOURLY).name


def _days(app: App, now: Any, *, restaurant: str, hours: int) -> tuple[tuple[Forecast, ...], str]:
    live: Any = import_module("modelkeep.workloads.restaurants.live")
    days = [now.today + 1 + i for i in range(max(1, -(-hours // 24)))]
    shut = {day: live.off(now, restaurant, day=day) for day in days}
    asked = [day for day in days if not shut[day]]
    rows = live.day_rows(now, restaurant, days=asked) if asked else []
    predictions = _asked(app, DEMAND, rows=rows, restaurant=restaurant, targets=[day * DAY for day in asked])
    found = dict(zip(asked, predictions, strict=True))
    cover = coverage(serving(app.rooms, DEMAND))
    answer = []
    for day in days:
        one = told(found.get(day), cover=cover, note=shut[day])
        shares = live.profile(now, restaurant, weekday=(day + 3) % 7) if found.get(day) else {}
        answer.append(
            replace(
                one,
                date=day_text(day),
                day_of_week=WEEKDAYS[(day + 3) % 7],
                hourly_breakdown=tuple(
                    HourShare(hour=hour, predicted_orders=round((one.predicted_orders or 0.0) * share, 2))
                    for hour, share in shares.items()
                ),
            )
        )
    return tuple(answer), version_of(predictions) if predictions else serving(app.rooms, DEMAND).name


def _asked(
    app: App, model: str, *, rows: Sequence[Features], restaurant: str, targets: Sequence[float]
) -> tuple[Prediction, ...]:
    if not rows:
        return ()
    return app.predict(model, rows, keys=[restaurant] * len(rows), targets=targets)


def told(prediction: Prediction | None, *, cover: float | None, note: str) -> Forecast:
    """A prediction as it goes out; without one the place is closed, and ``note`` says why."""
    if prediction is None:
        return Forecast(predicted_orders=0.0, lower=0.0, upper=0.0, confidence=None, note=note)
    value = prediction.output
    number = round(float(value), 2) if isinstance(value, int | float) else None
    low, high = prediction.interval or (None, None)
    return Forecast(
        predicted_orders=number,
        lower=None if low is None else round(low, 2),
        upper=None if high is None else round(high, 2),
        confidence=cover if low is not None else None,
        note="" if number is not None else prediction.error or "nobody could answer",
        prediction_id=prediction.id,
    )


def day_text(day: int) -> str:
    """A day number as ISO-8601."""
    return iso(day * DAY)[:10]


def item_demand(app: App, request: AskItem) -> ItemAnswer:
    """Forecast what will be needed of an item on each day, and how much to prepare: quantiles of its same weekdays.

    Raises NotFound for an unknown restaurant or item, naming near ones.
    """

    def make() -> tuple[ItemDemand, str]:
        restaurant = keeping.sought(app.rooms, str(request.restaurant_id))
        sold = items.sold(app.rooms, restaurant, by="item", name=str(request.item_id))
        days = items.days_ahead(sold, now=app.rooms.clock.now(), hours=request.hours_ahead, service=request.service)
        data = ItemDemand(
            restaurant_id=request.restaurant_id, item_id=str(request.item_id), item_name=sold.label,
            predictions=days, reason=sold.reason,
        )  # fmt: skip
        return data, items.RULE

    data, metadata = answered(app, request, make=make, kinds=("orders", "calendar"))
    return ItemAnswer(data=data, metadata=metadata)


def category_demand(app: App, request: AskCategory) -> CategoryAnswer:
    """Forecast what will be needed of a whole category on each day, in the same way.

    Raises NotFound for an unknown restaurant or category, naming near ones.
    """

    def make() -> tuple[CategoryDemand, str]:
        restaurant = keeping.sought(app.rooms, str(request.restaurant_id))
        sold = items.sold(app.rooms, restaurant, by="category", name=request.category_name)
        days = items.days_ahead(sold, now=app.rooms.clock.now(), hours=request.hours_ahead, service=request.service)
        data = CategoryDemand(
            restaurant_id=request.restaurant_id, category=request.category_name, predictions=days, reason=sold.reason
        )
        return data, items.RULE

    data, metadata = answered(app, request, make=make, kinds=("orders", "calendar"))
    return CategoryAnswer(data=data, metadata=metadata)


def peak_hours(app: App, request: AskPeaks) -> PeakAnswer:
    """Name the busiest hours of each day to come: at least 1.25 times the mean of the opening hours, at most three.

    Raises NotFound for an unknown restaurant, naming near ones, and when no version of the model is released.
    """

    def make() -> tuple[Peaks, str]:
        live: Any = import_module("modelkeep.workloads.restaurants.live")
        restaurant = keeping.sought(app.rooms, str(request.restaurant_id))
        now = live.now_of(app.rooms)
        found, version = _hours(app, now, restaurant=restaurant, hours=24 * request.days_ahead)
        by_day: dict[str, list[Forecast]] = {}
        for one in found:
            by_day.setdefault(str(one.timestamp)[:10], []).append(one)
        analysis = tuple(
            DayPeaks(date=day, peak_hours=peaks(hours), note=_closed(hours)) for day, hours in by_day.items()
        )
        return Peaks(restaurant_id=request.restaurant_id, analysis=analysis), version

    data, metadata = answered(app, request, make=make, kinds=KINDS, models=(HOURLY,))
    return PeakAnswer(data=data, metadata=metadata)


def peaks(hours: Sequence[Forecast]) -> tuple[HourShare, ...]:
    """The busiest hours among a day's forecasts, the busiest first."""
    opened = [one for one in hours if one.prediction_id and one.predicted_orders is not None]
    mean = sum(one.predicted_orders or 0.0 for one in opened) / max(len(opened), 1)
    busy = sorted(opened, key=lambda one: -(one.predicted_orders or 0.0))[:3]
    return tuple(
        HourShare(hour=one.hour or 0, predicted_orders=one.predicted_orders)
        for one in busy
        if (one.predicted_orders or 0.0) >= PEAK * mean > 0
    )


def _closed(hours: Sequence[Forecast]) -> str:
    return "" if any(one.prediction_id for one in hours) else hours[0].note


OPERATIONS = (
    Operation(
        name="restaurants_demand", method="POST", path="/api/predictions/demand", request=AskDemand,
        result=DemandAnswer, run=forecast, words=("demand",), plain=("restaurant_id",), refusal=refusal,
    ),
    Operation(
        name="restaurants_item_demand", method="POST", path="/api/predictions/demand/items", request=AskItem,
        result=ItemAnswer, run=item_demand, words=("items",), plain=("restaurant_id", "item_id"), refusal=refusal,
    ),
    Operation(
        name="restaurants_category_demand", method="POST", path="/api/predictions/demand/category",
        request=AskCategory, result=CategoryAnswer, run=category_demand, words=("category",),
        plain=("restaurant_id", "category_name"), refusal=refusal,
    ),
    Operation(
        name="restaurants_peak_hours", method="GET", path="/api/predictions/demand/peak-hours", request=AskPeaks,
        result=PeakAnswer, run=peak_hours, words=("peak-hours",), plain=("restaurant_id",), refusal=refusal,
    ),
)  # fmt: skip
