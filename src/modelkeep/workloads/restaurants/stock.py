"""Stock of an item: when to order, how much, what is about to spoil. Formulas only, from its use by day.

Reorder point d L + z sigma sqrt(L) and safety stock z sigma sqrt(L) (King, "Crack the code", APICS 2011); order
quantity sqrt(2 D S / H) (Harris, 1913). ``service`` is a share: 0.95 means that in 95 of 100 waits for a delivery
nothing runs out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist, fmean, stdev

from msgspec import Struct

from modelkeep import BadInput

DAY = 86400.0
LEAST = 30
"""Days of use from which anything is said."""
WINDOW = 90
LEAD, ORDER_COST, HOLDING = 3.0, 50.0, 0.5
"""Days until a delivery, cost of an order, and cost of holding a unit for a year, where the stock says nothing else."""
HOLDING_DAY, SHORT_COST = 0.01, 10.0
"""Cost of a unit held for a day, and of a unit that is missing."""
EMERGENCY = 1.5
LOW, MEDIUM = 7.0, 14.0
WASTE_TIMES, WASTE_DAYS, EXPIRES = 3.0, 60.0, 7.0
MONTH = 30.0


class Item(Struct, frozen=True, kw_only=True):
    """What is known of an item in stock; None where it was not said. ``expiry`` is a moment."""

    item: str
    name: str
    stock: float
    counted: float
    min_level: float | None = None
    reorder_level: float | None = None
    max_level: float | None = None
    lead_days: float | None = None
    unit_cost: float | None = None
    order_cost: float | None = None
    expiry: float | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """What the formulas say of an item; units are the item's own, money the restaurant's.

    Everything is null with fewer than 30 days of use, and ``reason`` says so.
    """

    item_id: str
    item_name: str
    current_stock: float
    status: str
    action: str
    urgency: str
    reason: str
    recommended_order_qty: float | None
    reorder_point: float | None
    safety_stock: float | None
    economic_order_qty: float | None
    days_until_stockout: float | None
    daily_consumption_rate: float | None
    days_of_data: int
    service_level: float
    potential_savings: float | None
    potential_loss: float | None
    waste_risk: float | None
    waste_reason: str


def safety_stock(sigma: float, lead: float, *, service: float) -> float:
    """z(service) sigma sqrt(lead). Raises BadInput for a service level that is no share between 0 and 1.

    >>> round(safety_stock(2.0, 4.0, service=0.95), 3)
    6.579
    """
    if not 0 < service < 1:
        raise BadInput.of("service_level", expected="a share between 0 and 1, such as 0.95", got=f"{service:g}")
    return max(0.0, NormalDist().inv_cdf(service)) * sigma * sqrt(lead)


def order_quantity(yearly: float, *, order_cost: float, holding: float) -> float:
    """sqrt(2 D S / H): the order at which ordering and holding cost the same.

    >>> order_quantity(3650.0, order_cost=50.0, holding=0.5)
    854.4003745317531
    """
    return sqrt(2 * yearly * order_cost / holding) if yearly > 0 else 0.0


def plan(item: Item, used: Sequence[float], *, now: float, service: float) -> Plan:
    """What to do about an item; ``used`` is its use on each of the last days, today aside (0 on days of none)."""
    lead = LEAD if item.lead_days is None else item.lead_days
    if len(used) < LEAST:
        safety_stock(0.0, lead, service=service)
        return unknown(item, days=len(used), service=service)
    rate, sigma = fmean(used), stdev(used)
    safe = safety_stock(sigma, lead, service=service)
    point = rate * lead + safe
    cost = ORDER_COST if item.order_cost is None else item.order_cost
    economic = order_quantity(rate * 365, order_cost=cost, holding=HOLDING)
    days = item.stock / rate if rate > 0 else None
    action, urgency, reason, quantity = _action(item, point=point, economic=economic, rate=rate)
    waste, why = _waste(item, now=now, rate=rate, days=days)
    over = max(0.0, item.stock - point - economic)
    short = max(0.0, rate * lead - item.stock)
    return Plan(
        item_id=item.item,
        item_name=item.name,
        current_stock=item.stock,
        status=_status(item, rate=rate, lead=lead, days=days),
        action=action,
        urgency=urgency,
        reason=reason,
        recommended_order_qty=round(quantity, 2),
        reorder_point=round(point, 2),
        safety_stock=round(safe, 2),
        economic_order_qty=round(economic, 2),
        days_until_stockout=None if days is None else round(days, 2),
        daily_consumption_rate=round(rate, 4),
        days_of_data=len(used),
        service_level=service,
        potential_savings=round(over * HOLDING_DAY * MONTH, 2),
        potential_loss=round(short * SHORT_COST, 2),
        waste_risk=round(waste, 2),
        waste_reason=why,
    )


def unknown(item: Item, *, days: int, service: float) -> Plan:
    """What can be said with too few days of use: nothing, and why."""
    return Plan(
        item_id=item.item,
        item_name=item.name,
        current_stock=item.stock,
        status="unknown",
        action="unknown",
        urgency="unknown",
        reason=f"{days} days of use, {LEAST} are needed",
        recommended_order_qty=None,
        reorder_point=None,
        safety_stock=None,
        economic_order_qty=None,
        days_until_stockout=None,
        daily_consumption_rate=None,
        days_of_data=days,
        service_level=service,
        potential_savings=None,
        potential_loss=None,
        waste_risk=None,
        waste_reason="",
    )


def _status(item: Item, *, rate: float, lead: float, days: float | None) -> str:
    if item.stock - rate * lead < 0 or item.stock <= 0 < rate:
        return "critical"
    if days is None or days >= MEDIUM:
        return "healthy"
    return "low" if days < LOW else "medium"


def _action(item: Item, *, point: float, economic: float, rate: float) -> tuple[str, str, str, float]:
    stock = item.stock
    if rate <= 0:
        return "hold", "low", f"nothing was used in {WINDOW} days", 0.0
    if item.min_level is not None and stock <= item.min_level:
        return (
            "emergency_reorder", "critical", f"{stock:g} in stock, the least is {item.min_level:g}",
            EMERGENCY * economic,
        )  # fmt: skip
    if stock <= point:
        return "reorder", "high", f"{stock:g} in stock, order at {point:.1f}", economic
    if item.max_level is not None and stock >= item.max_level:
        return "reduce_orders", "medium", f"{stock:g} in stock, the most is {item.max_level:g}", 0.0
    return "hold", "low", f"{stock:g} in stock, order at {point:.1f}", 0.0


def _waste(item: Item, *, now: float, rate: float, days: float | None) -> tuple[float, str]:
    """Units that will hardly be used, and why."""
    if item.expiry is not None and item.expiry - now <= EXPIRES * DAY:
        left = max(0.0, (item.expiry - now) / DAY)
        spoiled = max(0.0, item.stock - rate * left)
        if spoiled > 0:
            return spoiled, f"expires in {left:.1f} days, {rate * left:.1f} will be used by then"
    level = item.reorder_level
    if level is not None and item.stock > WASTE_TIMES * level and (days is None or days > WASTE_DAYS):
        supply = "nothing is used" if days is None else f"{days:.0f} days' supply"
        return max(0.0, item.stock - max(WASTE_TIMES * level, rate * WASTE_DAYS)), f"{supply}, more than {WASTE_DAYS:g}"
    return 0.0, ""
