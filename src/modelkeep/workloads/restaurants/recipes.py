"""The recipes of this workload: how each model is made from a table, and what its owner wants of it.

Cheap to import: what trains and prepares is named, not imported.
"""

from modelkeep import Field, Policy, Recipe, Retrain, Trial

PLACE = "modelkeep.workloads.restaurants"
HOUR, DAY = 3600.0, 86400.0
DEMAND, HOURLY, CALENDAR = "restaurants-demand", "restaurants-hourly", "restaurants-calendar"
PREP, CHURN, VALUE = "restaurants-prep", "restaurants-churn", "restaurants-value"
REPLAYED = ("event_time", "entity", "label", "label_time")


def _unknown(name: str, unit: str = "", *, high: float | None = None) -> Field:
    return Field(name=name, kind="number", unit=unit, low=0.0, high=high, nullable=True)


def _text(name: str) -> Field:
    return Field(name=name, kind="text", nullable=True)


def _retrain(function: str, *, window: float, least: int) -> Retrain:
    return Retrain(trainer=f"{PLACE}.{function}", window=window, least=least, history=True)


WHEN = (_text("asked"), _text("told"))
DAYS = (
    _text("restaurant"),
    Field(name="date", kind="text"),
    _unknown("visitors", "visitors/day"),
    _unknown("amount", "visitors/day"),
    *WHEN,
    _unknown("reserved", "visitors"),
    Field(name="genre", kind="category", nullable=True),
    Field(name="area", kind="category", nullable=True),
    *(_unknown(name, high=1.0) for name in ("holiday", "holiday_before", "holiday_after")),
)
HOURS = (
    _text("restaurant"),
    Field(name="hour", kind="text"),
    _unknown("orders", "orders/h"),
    *WHEN,
    _unknown("holiday", high=1.0),
)
TICKETS = (
    Field(name="minutes", kind="number", unit="min", low=0.0),
    _text("assigned"),
    _text("completed"),
    *(Field(name=name, kind="category", nullable=True)
      for name in ("restaurant", "station", "item", "order_type", "vehicle", "rider")),
    _unknown("quantity"),
    _unknown("queue", "orders"),
    _unknown("rider_age", "years", high=120.0),
    _unknown("rider_rating"),
    _unknown("distance_km", "km"),
    *(Field(name=name, kind="number", unit="deg", nullable=True)
      for name in ("restaurant_latitude", "restaurant_longitude", "delivery_latitude", "delivery_longitude")),
)  # fmt: skip
PURCHASES = (
    Field(name="customer", kind="text"),
    Field(name="date", kind="text"),
    Field(name="amount", kind="number", unit="money", nullable=True),
    Field(name="qty", kind="number", nullable=True),
)

RECIPES = (
    Recipe(
        model=DEMAND,
        summary="Visitors a day of every restaurant, one to seven days ahead (or as far as asked), one model for all",
        columns=DAYS,
        prepare=f"{PLACE}.daily:prepare",
        simulate=f"{PLACE}.simulator:days",
        forms=((*REPLAYED, "target_date"),),
        policy=Policy(
            model=DEMAND,
            retrain=_retrain("demand:train", window=730 * DAY, least=200),
            trial=Trial(shadow=7 * DAY, canary=(0.1, 0.5), stage=7 * DAY, last=42 * DAY),
            horizon=8 * DAY,
            tolerance=DAY / 2,
            window=14 * DAY,
        ),
    ),
    Recipe(
        model=HOURLY,
        summary="Orders an hour of every restaurant, a day ahead: its level times the profile of its week",
        columns=HOURS,
        prepare=f"{PLACE}.hourly:prepare",
        simulate=f"{PLACE}.simulator:hours",
        forms=((*REPLAYED, "target_hour"),),
        policy=Policy(
            model=HOURLY,
            retrain=_retrain("hourly_training:train", window=730 * DAY, least=500),
            horizon=25 * HOUR,
            tolerance=HOUR / 2,
            window=14 * DAY,
        ),
    ),
    Recipe(
        model=CALENDAR,
        summary="Orders an hour by the calendar alone: cheap, and it rots as the restaurant grows; for comparison",
        columns=HOURS,
        prepare=f"{PLACE}.hourly:prepare_calendar",
        policy=Policy(
            model=CALENDAR,
            retrain=_retrain("hourly_training:train_calendar", window=365 * DAY, least=500),
            horizon=25 * HOUR,
            tolerance=HOUR / 2,
            window=14 * DAY,
        ),
    ),
    Recipe(
        model=PREP,
        summary="Minutes from an order to its being ready or delivered, with an interval",
        columns=TICKETS,
        prepare=f"{PLACE}.kitchen:prepare",
        simulate=f"{PLACE}.simulator:tickets",
        policy=Policy(
            model=PREP, retrain=_retrain("kitchen_training:train", window=90 * DAY, least=200), horizon=2 * HOUR
        ),
        time="assigned",
    ),
    Recipe(
        model=CHURN,
        summary="Will a customer stay away for 90 days, with a calibrated probability",
        columns=PURCHASES,
        prepare=f"{PLACE}.customers:prepare_churn",
        simulate=f"{PLACE}.simulator:purchases",
        policy=Policy(
            model=CHURN,
            retrain=_retrain("customer_training:train_churn", window=730 * DAY, least=200),
            horizon=90 * DAY,
        ),
    ),
    Recipe(
        model=VALUE,
        summary="What a customer will spend in 180 days",
        columns=PURCHASES,
        prepare=f"{PLACE}.customers:prepare_value",
        simulate=f"{PLACE}.simulator:purchases",
        policy=Policy(
            model=VALUE,
            retrain=_retrain("customer_training:train_value", window=900 * DAY, least=200),
            horizon=180 * DAY,
        ),
    ),
)
"""The main one first; ``modelkeep train restaurants`` and ``modelkeep replay`` take the first that a table fits."""
