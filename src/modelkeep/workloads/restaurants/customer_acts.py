"""The acts on customers: ``/api/predictions/customer/...``, with the routes and envelope of the guide's service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from modelkeep import Features, NotFound, Operation, Prediction
from modelkeep.workloads.restaurants import items, keeping
from modelkeep.workloads.restaurants.answering import Envelope, RestaurantId, answered, refusal, serving
from modelkeep.workloads.restaurants.recipes import CHURN, VALUE

if TYPE_CHECKING:
    from modelkeep import App

DAY = 86400.0
KINDS = ("purchases",)
LOW, MEDIUM = 0.3, 0.6
"""Chances of churn below which the risk is low, or medium."""
OFFER, MAIL = 0.7, 0.5
THIRDS = (1 / 3, 2 / 3)
LEAST = 10
"""Customers from which one is placed among the others."""
MANY = 10_000
AWAY, WORTH = 90, 180
CustomerId = Annotated[str | int, Meta(description="The customer's id as it was sent")]
Share = Annotated[float, Meta(ge=0, le=1)]


class AskCustomer(Struct, frozen=True, kw_only=True):
    """Which customer of which restaurant."""

    restaurant_id: RestaurantId
    customer_id: CustomerId


class AskAll(Struct, frozen=True, kw_only=True):
    """Which restaurant, and which of its customers; all when none is named."""

    restaurant_id: RestaurantId
    customer_ids: tuple[str | int, ...] = ()


class AskAtRisk(Struct, frozen=True, kw_only=True):
    """Customers whose chance of staying away is at least ``threshold``."""

    restaurant_id: RestaurantId
    threshold: Share = 0.6
    limit: Annotated[int, Meta(ge=1, le=MANY)] = 100


class AskHighValue(Struct, frozen=True, kw_only=True):
    """Customers whose expected value is above this percentile of all."""

    restaurant_id: RestaurantId
    ltv_percentile: Annotated[float, Meta(ge=0, le=100)] = 75.0
    limit: Annotated[int, Meta(ge=1, le=MANY)] = 100


class Churn(Struct, frozen=True, kw_only=True):
    """Will a customer stay away for 90 days? ``prediction_id`` joins the answer with what happens."""

    customer_id: CustomerId
    churn_probability: float | None
    risk_segment: str
    will_churn: bool | None
    recommendation: str
    prediction_id: str


class ChurnAnswer(Envelope, frozen=True, kw_only=True):
    """Churn of one customer."""

    data: Churn


class Worth(Struct, frozen=True, kw_only=True):
    """What a customer will spend in ``horizon_days``, with an 80 % interval, and where it stands among all."""

    customer_id: CustomerId
    predicted_ltv: float | None
    lower: float | None
    upper: float | None
    ltv_segment: str
    horizon_days: int
    recommendation: str
    prediction_id: str


class ValueAnswer(Envelope, frozen=True, kw_only=True):
    """Value of one customer."""

    data: Worth


class Customer(Struct, frozen=True, kw_only=True):
    """One customer with chance of churn, value and what to do; null where a model is not released."""

    customer_id: str
    churn_probability: float | None
    risk_segment: str
    predicted_ltv: float | None
    ltv_segment: str
    recency_days: float
    visits: int
    spent: float
    recommendation: str


class Customers(Struct, frozen=True, kw_only=True):
    """Customers, and how many there are in each segment."""

    restaurant_id: RestaurantId
    customers: tuple[Customer, ...]
    total: int
    segments: dict[str, int]


class CustomersAnswer(Envelope, frozen=True, kw_only=True):
    """Customers."""

    data: Customers


def churn(app: App, request: AskCustomer) -> ChurnAnswer:
    """Say how likely a customer is to stay away for 90 days, calibrated.

    Raises NotFound for an unknown restaurant or customer, naming near ones, and when no version is released.
    """

    def make() -> tuple[Churn, str]:
        rows = _rows(app, request.restaurant_id, only=(str(request.customer_id),))
        one = _predicted(app, CHURN, rows=rows, restaurant=str(request.restaurant_id))[0]
        chance = probability(one)
        return Churn(
            customer_id=request.customer_id, churn_probability=chance, risk_segment=segment(chance),
            will_churn=None if chance is None else chance >= 0.5, recommendation=advice(chance, ""),
            prediction_id=one.id,
        ), f"{one.model}@{one.version}"  # fmt: skip

    data, metadata = answered(app, request, make=make, kinds=KINDS, models=(CHURN,))
    return ChurnAnswer(data=data, metadata=metadata)


def value(app: App, request: AskCustomer) -> ValueAnswer:
    """Say what a customer will spend in the next 180 days, and whether that is little or much among all.

    Raises NotFound for an unknown restaurant or customer, naming near ones, and when no version is released.
    """

    def make() -> tuple[Worth, str]:
        rows = _rows(app, request.restaurant_id)
        name = str(request.customer_id)
        if name not in rows:
            raise NotFound(f"customer of restaurant {request.restaurant_id}", name, known=rows)
        found = dict(zip(rows, _predicted(app, VALUE, rows=rows, restaurant=str(request.restaurant_id)), strict=True))
        worth = {who: amount(one) for who, one in found.items()}
        one, third = found[name], thirds(worth[name], [w for w in worth.values() if w is not None])
        low, high = one.interval or (None, None)
        return Worth(
            customer_id=request.customer_id, predicted_ltv=worth[name],
            lower=None if low is None else round(low, 2), upper=None if high is None else round(high, 2),
            ltv_segment=third, horizon_days=WORTH, recommendation=advice(None, third), prediction_id=one.id,
        ), f"{one.model}@{one.version}"  # fmt: skip

    data, metadata = answered(app, request, make=make, kinds=KINDS, models=(VALUE,))
    return ValueAnswer(data=data, metadata=metadata)


def analytics(app: App, request: AskAll) -> CustomersAnswer:
    """Tell chance of churn, value and what to do of all customers, or some.

    Raises NotFound for an unknown restaurant or customer, naming near ones, and when no version is released.
    """

    def make() -> tuple[Customers, str]:
        everyone, version = _everyone(app, request.restaurant_id)
        known = {one.customer_id: one for one in everyone}
        for name in map(str, request.customer_ids):
            if name not in known:
                raise NotFound(f"customer of restaurant {request.restaurant_id}", name, known=known)
        chosen = [known[str(name)] for name in request.customer_ids] or everyone
        return _listed(request.restaurant_id, chosen, total=len(everyone)), version

    data, metadata = answered(app, request, make=make, kinds=KINDS, models=(CHURN, VALUE))
    return CustomersAnswer(data=data, metadata=metadata)


def at_risk(app: App, request: AskAtRisk) -> CustomersAnswer:
    """List the customers who will likely stay away, the likeliest first.

    Raises NotFound for an unknown restaurant, naming near ones, and when no version is released.
    """

    def make() -> tuple[Customers, str]:
        everyone, version = _everyone(app, request.restaurant_id)
        chosen = [one for one in everyone if (one.churn_probability or 0.0) >= request.threshold]
        chosen.sort(key=lambda one: -(one.churn_probability or 0.0))
        return _listed(request.restaurant_id, chosen[: request.limit], total=len(chosen)), version

    data, metadata = answered(app, request, make=make, kinds=KINDS, models=(CHURN, VALUE))
    return CustomersAnswer(data=data, metadata=metadata)


def high_value(app: App, request: AskHighValue) -> CustomersAnswer:
    """List the customers of the highest expected value, the highest first.

    Raises NotFound for an unknown restaurant, naming near ones, and when no version is released.
    """

    def make() -> tuple[Customers, str]:
        everyone, version = _everyone(app, request.restaurant_id)
        worth = [one.predicted_ltv for one in everyone if one.predicted_ltv is not None]
        if not worth:
            serving(app.rooms, VALUE)  # says how to make one
            return _listed(request.restaurant_id, [], total=0), version
        line = items.quantile(worth, request.ltv_percentile / 100)
        chosen = [one for one in everyone if one.predicted_ltv is not None and one.predicted_ltv >= line]
        chosen.sort(key=lambda one: -(one.predicted_ltv or 0.0))
        return _listed(request.restaurant_id, chosen[: request.limit], total=len(chosen)), version

    data, metadata = answered(app, request, make=make, kinds=KINDS, models=(CHURN, VALUE))
    return CustomersAnswer(data=data, metadata=metadata)


# --------------------------------------------------------------------------------------------- how


def _rows(app: App, restaurant_id: str | int, *, only: Sequence[str] = ()) -> dict[str, Features]:
    """The features of the customers of a restaurant who ever bought, by customer. Raises NotFound."""
    live: Any = import_module("modelkeep.workloads.restaurants.live_customers")
    restaurant = keeping.sought(app.rooms, str(restaurant_id))
    rows: dict[str, Features] = live.rows(app.rooms, restaurant)
    for name in only:
        if name not in rows:
            raise NotFound(f"customer of restaurant {restaurant}", name, known=rows)
    return {name: rows[name] for name in only} if only else rows


def _predicted(app: App, model: str, *, rows: Mapping[str, Features], restaurant: str) -> tuple[Prediction, ...]:
    serving(app.rooms, model)
    if not rows:
        return ()
    target = app.rooms.clock.now() // DAY * DAY + DAY
    names = list(rows)
    found: list[Prediction] = []
    for start in range(0, len(names), MANY):
        part = names[start : start + MANY]
        keys = [f"{restaurant}/{name}" for name in part]
        found += app.predict(model, [rows[name] for name in part], keys=keys, targets=[target] * len(part))
    return tuple(found)


def _everyone(app: App, restaurant_id: str | int) -> tuple[list[Customer], str]:
    rows = _rows(app, restaurant_id)
    said: dict[str, dict[str, Prediction]] = {}
    for model in (CHURN, VALUE):
        try:
            found = _predicted(app, model, rows=rows, restaurant=str(restaurant_id))
        except NotFound:
            continue  # one of the two may do alone
        said[model] = dict(zip(rows, found, strict=True))
    if not said:
        serving(app.rooms, CHURN)
    worth = {name: amount(one) for name, one in said.get(VALUE, {}).items()}
    known = [one for one in worth.values() if one is not None]
    everyone = []
    for name, row in rows.items():
        chance = probability(said[CHURN][name]) if CHURN in said else None
        third = thirds(worth.get(name), known)
        everyone.append(
            Customer(
                customer_id=name,
                churn_probability=chance,
                risk_segment=segment(chance),
                predicted_ltv=worth.get(name),
                ltv_segment=third,
                recency_days=float(row["recency_days"] or 0.0),
                visits=int(row["visits"] or 0),
                spent=round(float(row["spent"] or 0.0), 2),
                recommendation=advice(chance, third),
            )
        )
    versions = sorted({f"{one.model}@{one.version}" for found in said.values() for one in found.values()})
    return everyone, ", ".join(versions) or "none"


def _listed(restaurant_id: str | int, chosen: Sequence[Customer], *, total: int) -> Customers:
    segments: dict[str, int] = {}
    for one in chosen:
        segments[one.risk_segment] = segments.get(one.risk_segment, 0) + 1
    return Customers(restaurant_id=restaurant_id, customers=tuple(chosen), total=total, segments=segments)


def probability(prediction: Prediction) -> float | None:
    """The chance of churn of an answer, whose score is that of the class it answers."""
    if prediction.output is None or prediction.score is None:
        return None
    return round(prediction.score if prediction.output is True else 1 - prediction.score, 4)


def amount(prediction: Prediction) -> float | None:
    """The money of an answer."""
    found = prediction.output
    return round(float(found), 2) if isinstance(found, int | float) else None


def segment(chance: float | None) -> str:
    """Low, medium or high risk.

    >>> segment(0.29), segment(0.3), segment(0.6), segment(None)
    ('low', 'medium', 'high', 'unknown')
    """
    if chance is None:
        return "unknown"
    return "low" if chance < LOW else "medium" if chance < MEDIUM else "high"


def thirds(worth: float | None, everyone: Sequence[float]) -> str:
    """The third of all customers into which a value falls; unknown among fewer than ten."""
    if worth is None or len(everyone) < LEAST:
        return "unknown"
    low, high = (items.quantile(everyone, share) for share in THIRDS)
    return "low" if worth < low else "medium" if worth < high else "high"


def advice(chance: float | None, third: str) -> str:
    """What to do, as the guide has it."""
    if chance is not None and chance >= OFFER:
        return "send an offer with bonus points"
    if chance is not None and chance >= MAIL:
        return "send a mail"
    return {"high": "treat as VIP", "medium": "encourage to come more often"}.get(third, "nothing special")


def _operation(name: str, method: str, *, path: str, request: type, result: type, run: object) -> Operation:  # type: ignore[type-arg]
    plain = tuple(field for field in ("restaurant_id", "customer_id") if field in request.__struct_fields__)  # type: ignore[attr-defined]
    return Operation(
        name=f"restaurants_{name}", method=method, path=f"/api/predictions/customer/{path}", request=request,  # type: ignore[arg-type]
        result=result, run=run, words=("customer", path), plain=plain, refusal=refusal,  # type: ignore[arg-type]
    )  # fmt: skip


OPERATIONS = (
    _operation("churn", "POST", path="churn", request=AskCustomer, result=ChurnAnswer, run=churn),
    _operation("ltv", "GET", path="ltv", request=AskCustomer, result=ValueAnswer, run=value),
    _operation("customers", "POST", path="batch-analytics", request=AskAll, result=CustomersAnswer, run=analytics),
    _operation("at_risk", "GET", path="at-risk", request=AskAtRisk, result=CustomersAnswer, run=at_risk),
    _operation("high_value", "GET", path="high-value", request=AskHighValue, result=CustomersAnswer, run=high_value),
)
