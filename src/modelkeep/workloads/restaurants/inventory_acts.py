"""The acts on stock: ``/api/predictions/inventory/...``, with the routes and the envelope of the guide's service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep import NotFound, Operation, Rooms
from modelkeep.workloads.restaurants import keeping, stock
from modelkeep.workloads.restaurants.answering import Envelope, RestaurantId, answered, refusal
from modelkeep.workloads.restaurants.stock import Plan

if TYPE_CHECKING:
    from modelkeep import App

DAY = 86400.0
KINDS = ("stock", "movements")
RULE = "reorder point and economic order quantity"
URGENCIES = ("critical", "high", "medium", "low", "unknown")
Service = Annotated[float, Meta(description="Share of deliveries waited for without running out, such as 0.95")]
ItemId = Annotated[str | int, Meta(description="The item's id as it was sent")]


class AskItemStock(Struct, frozen=True, kw_only=True):
    """Which item of which restaurant."""

    restaurant_id: RestaurantId
    item_id: ItemId
    service_level: Service = 0.95


class AskItems(Struct, frozen=True, kw_only=True):
    """Which restaurant, and which of its items; all, when none is named. ``urgency`` keeps only those as urgent."""

    restaurant_id: RestaurantId
    item_ids: tuple[str | int, ...] = ()
    service_level: Service = 0.95
    urgency: Annotated[str, Meta(description="critical, high, medium, low or unknown; all when empty")] = ""


class AskStock(Struct, frozen=True, kw_only=True):
    """Which restaurant."""

    restaurant_id: RestaurantId
    service_level: Service = 0.95


class PlanAnswer(Envelope, frozen=True, kw_only=True):
    """What to do about one item."""

    data: Plan


class Recommendations(Struct, frozen=True, kw_only=True):
    """Items, the most urgent first."""

    restaurant_id: RestaurantId
    recommendations: tuple[Plan, ...]
    total: int


class RecommendationsAnswer(Envelope, frozen=True, kw_only=True):
    """What to do about several items."""

    data: Recommendations


class ToOrder(Struct, frozen=True, kw_only=True):
    """One item to be ordered."""

    item_id: str
    item_name: str
    urgency: str
    recommended_order_qty: float
    estimated_cost: float | None


class Reorders(Struct, frozen=True, kw_only=True):
    """What is to be ordered now; ``unknown_cost`` counts items whose unit cost was never said."""

    restaurant_id: RestaurantId
    items_to_reorder: tuple[ToOrder, ...]
    by_urgency: dict[str, int]
    total_estimated_cost: float
    unknown_cost: int


class ReordersAnswer(Envelope, frozen=True, kw_only=True):
    """The list to order by."""

    data: Reorders


class Standing(Struct, frozen=True, kw_only=True):
    """How one item stands."""

    item_id: str
    item_name: str
    status: str
    current_stock: float
    days_until_stockout: float | None
    reason: str


class Stocks(Struct, frozen=True, kw_only=True):
    """How all items stand, the worst first."""

    restaurant_id: RestaurantId
    items: tuple[Standing, ...]
    summary: dict[str, int]


class StocksAnswer(Envelope, frozen=True, kw_only=True):
    """The stock."""

    data: Stocks


class AtRisk(Struct, frozen=True, kw_only=True):
    """What of an item will hardly be used."""

    item_id: str
    item_name: str
    units: float
    cost: float | None
    reason: str


class Waste(Struct, frozen=True, kw_only=True):
    """What will hardly be used; ``total_cost`` is null when no unit cost of theirs is known."""

    restaurant_id: RestaurantId
    items: tuple[AtRisk, ...]
    total_units: float
    total_cost: float | None


class WasteAnswer(Envelope, frozen=True, kw_only=True):
    """What is about to go to waste."""

    data: Waste


class Costs(Struct, frozen=True, kw_only=True):
    """What the stock costs; ``unknown`` counts items with too few days of use, which are in no sum."""

    restaurant_id: RestaurantId
    stock_value: float
    holding_cost_a_month: float
    potential_savings: float
    potential_loss: float
    unknown: int


class CostsAnswer(Envelope, frozen=True, kw_only=True):
    """The cost of the stock."""

    data: Costs


def items_of(rooms: Rooms, restaurant: str) -> list[stock.Item]:
    """The newest count of every item of a restaurant."""
    found = keeping.dataset(rooms, "stock").sql(
        "SELECT item, arg_max(coalesce(item_name, item), moment), arg_max(current_stock, moment), max(moment), "
        "arg_max(min_level, moment), arg_max(reorder_level, moment), arg_max(max_level, moment), "
        "arg_max(lead_days, moment), "
        "arg_max(unit_cost, moment), arg_max(order_cost, moment), max_by(earliest_expiry, moment) "
        "FROM data WHERE restaurant = ? GROUP BY item ORDER BY item",
        [restaurant],
    )
    names = stock.Item.__struct_fields__
    return [stock.Item(**dict(zip(names, row, strict=True))) for row in found]


def used_of(rooms: Rooms, restaurant: str, *, item: str) -> list[float]:
    """What was used of an item on each of the last 90 days before today, from the first use on."""
    today = int(rooms.clock.now() // DAY)
    rows = keeping.dataset(rooms, "movements").sql(
        "SELECT CAST(floor(moment / 86400) AS BIGINT), sum(used) FROM data WHERE restaurant = ? AND item = ? "
        "AND moment < ? GROUP BY 1",
        [restaurant, item, today * DAY],
    )
    by_day = {int(day): float(many) for day, many in rows}
    first = max(min(by_day, default=today), today - stock.WINDOW)
    return [by_day.get(day, 0.0) for day in range(first, today)]


def plans(app: App, restaurant_id: str | int, *, service: float, only: Sequence[str | int] = ()) -> list[Plan]:
    """What to do about items, the most urgent first. Raises NotFound for an unknown restaurant or item."""
    restaurant = keeping.sought(app.rooms, str(restaurant_id))
    found = {item.item: item for item in items_of(app.rooms, restaurant)}
    for name in map(str, only):
        if name not in found:
            raise NotFound(f"item in stock of restaurant {restaurant}", name, known=found)
    wanted = [found[str(name)] for name in only] if only else list(found.values())
    now = app.rooms.clock.now()
    made = [
        stock.plan(item, used_of(app.rooms, restaurant, item=item.item), now=now, service=service) for item in wanted
    ]
    return sorted(made, key=lambda one: (URGENCIES.index(one.urgency), one.item_id))


def recommend(app: App, request: AskItemStock) -> PlanAnswer:
    """Say what to do about one item: order now, in an emergency, fewer, or hold; with the quantities behind it.

    Raises NotFound for an unknown restaurant or item, BadInput for a service level that is no share.
    """
    data, metadata = answered(
        app, request,
        make=lambda: (_planned(app, request), RULE),
        kinds=KINDS,
    )  # fmt: skip
    return PlanAnswer(data=data, metadata=metadata)


def _planned(app: App, request: AskItemStock) -> Plan:
    return plans(app, request.restaurant_id, service=request.service_level, only=[request.item_id])[0]


def optimize(app: App, request: AskItemStock) -> PlanAnswer:
    """Compute an item's reorder point and order quantity for another service level.

    Raises NotFound for an unknown restaurant or item, BadInput for a service level that is no share.
    """
    return recommend(app, request)


def recommend_all(app: App, request: AskItems) -> RecommendationsAnswer:
    """Say what to do about all items, or some, the most urgent first.

    Raises NotFound for an unknown restaurant or item, BadInput for a service level that is no share.
    """

    def make() -> tuple[Recommendations, str]:
        made = plans(app, request.restaurant_id, service=request.service_level, only=request.item_ids)
        kept = tuple(one for one in made if request.urgency in {"", one.urgency})
        return Recommendations(restaurant_id=request.restaurant_id, recommendations=kept, total=len(kept)), RULE

    data, metadata = answered(app, request, make=make, kinds=KINDS)
    return RecommendationsAnswer(data=data, metadata=metadata)


def reorders(app: App, request: AskStock) -> ReordersAnswer:
    """List what is to be ordered now, with its cost.

    Raises NotFound for an unknown restaurant.
    """

    def make() -> tuple[Reorders, str]:
        costs = _costs(app, request.restaurant_id)
        made = [one for one in plans(app, request.restaurant_id, service=request.service_level)
                if one.recommended_order_qty]  # fmt: skip
        listed = tuple(
            ToOrder(
                item_id=one.item_id, item_name=one.item_name, urgency=one.urgency,
                recommended_order_qty=one.recommended_order_qty or 0.0,
                estimated_cost=_money(one.recommended_order_qty or 0.0, costs.get(one.item_id)),
            )
            for one in made
        )  # fmt: skip
        known = [one.estimated_cost for one in listed if one.estimated_cost is not None]
        return Reorders(
            restaurant_id=request.restaurant_id, items_to_reorder=listed,
            by_urgency=dict(Counter(one.urgency for one in listed)), total_estimated_cost=round(sum(known), 2),
            unknown_cost=len(listed) - len(known),
        ), RULE  # fmt: skip

    data, metadata = answered(app, request, make=make, kinds=KINDS)
    return ReordersAnswer(data=data, metadata=metadata)


def standing(app: App, request: AskStock) -> StocksAnswer:
    """Say how every item stands: critical, low, medium, healthy, or unknown with the reason.

    Raises NotFound for an unknown restaurant.
    """

    def make() -> tuple[Stocks, str]:
        order = ("critical", "low", "medium", "unknown", "healthy")
        made = sorted(plans(app, request.restaurant_id, service=request.service_level),
                      key=lambda one: order.index(one.status))  # fmt: skip
        listed = tuple(
            Standing(
                item_id=one.item_id, item_name=one.item_name, status=one.status, current_stock=one.current_stock,
                days_until_stockout=one.days_until_stockout, reason=one.reason,
            )
            for one in made
        )  # fmt: skip
        summary = dict(Counter(one.status for one in listed))
        return Stocks(restaurant_id=request.restaurant_id, items=listed, summary=summary), RULE

    data, metadata = answered(app, request, make=make, kinds=KINDS)
    return StocksAnswer(data=data, metadata=metadata)


def waste(app: App, request: AskStock) -> WasteAnswer:
    """List what will hardly be used: it expires within a week, or is more than 60 days' supply.

    Raises NotFound for an unknown restaurant.
    """

    def make() -> tuple[Waste, str]:
        costs = _costs(app, request.restaurant_id)
        made = [one for one in plans(app, request.restaurant_id, service=request.service_level) if one.waste_risk]
        listed = tuple(
            AtRisk(
                item_id=one.item_id, item_name=one.item_name, units=one.waste_risk or 0.0,
                cost=_money(one.waste_risk or 0.0, costs.get(one.item_id)), reason=one.waste_reason,
            )
            for one in made
        )  # fmt: skip
        known = [one.cost for one in listed if one.cost is not None]
        return Waste(
            restaurant_id=request.restaurant_id, items=listed, total_units=round(sum(one.units for one in listed), 2),
            total_cost=round(sum(known), 2) if known or not listed else None,
        ), RULE  # fmt: skip

    data, metadata = answered(app, request, make=make, kinds=KINDS)
    return WasteAnswer(data=data, metadata=metadata)


def costs(app: App, request: AskStock) -> CostsAnswer:
    """Sum up what the stock is worth, what holding it costs, and what could be saved or lost.

    Raises NotFound for an unknown restaurant.
    """

    def make() -> tuple[Costs, str]:
        prices = _costs(app, request.restaurant_id)
        made = plans(app, request.restaurant_id, service=request.service_level)
        return Costs(
            restaurant_id=request.restaurant_id,
            stock_value=round(sum(one.current_stock * (prices.get(one.item_id) or 0.0) for one in made), 2),
            holding_cost_a_month=round(sum(one.current_stock for one in made) * stock.HOLDING_DAY * stock.MONTH, 2),
            potential_savings=round(sum(one.potential_savings or 0.0 for one in made), 2),
            potential_loss=round(sum(one.potential_loss or 0.0 for one in made), 2),
            unknown=sum(one.status == "unknown" for one in made),
        ), RULE  # fmt: skip

    data, metadata = answered(app, request, make=make, kinds=KINDS)
    return CostsAnswer(data=data, metadata=metadata)


def _costs(app: App, restaurant_id: str | int) -> dict[str, float | None]:
    return {item.item: item.unit_cost for item in items_of(app.rooms, str(restaurant_id))}


def _money(units: float, cost: float | None) -> float | None:
    return None if cost is None else round(units * cost, 2)


def _operation(name: str, method: str, *, path: str, request: type, result: type, run: object) -> Operation:  # type: ignore[type-arg]
    plain = tuple(field for field in ("restaurant_id", "item_id") if field in request.__struct_fields__)  # type: ignore[attr-defined]
    return Operation(
        name=f"restaurants_{name}", method=method, path=f"/api/predictions/inventory/{path}", request=request,  # type: ignore[arg-type]
        result=result, run=run, words=("inventory", path), plain=plain, refusal=refusal,  # type: ignore[arg-type]
    )  # fmt: skip


OPERATIONS = (
    _operation("inventory_recommendations", "GET", path="recommendations", request=AskItemStock, result=PlanAnswer,
               run=recommend),
    _operation("inventory_batch", "POST", path="batch-recommendations", request=AskItems, result=RecommendationsAnswer,
               run=recommend_all),
    _operation("inventory_reorders", "GET", path="reorder-summary", request=AskStock, result=ReordersAnswer,
               run=reorders),
    _operation("inventory_status", "GET", path="status", request=AskStock, result=StocksAnswer, run=standing),
    _operation("inventory_waste", "GET", path="waste-insights", request=AskStock, result=WasteAnswer, run=waste),
    _operation("inventory_costs", "GET", path="cost-analysis", request=AskStock, result=CostsAnswer, run=costs),
    _operation("inventory_optimize", "POST", path="optimize", request=AskItemStock, result=PlanAnswer, run=optimize),
)  # fmt: skip
