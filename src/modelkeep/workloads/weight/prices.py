"""What scrap of a material brings; every request may name a price of its own."""

from collections.abc import Mapping

from msgspec import Struct

from modelkeep.workloads.weight.columns import GRAMS

CURRENCY, UNIT = "USD", "lb"
TABLE: Mapping[str, float] = {
    "steel": 0.15,
    "aluminum": 0.85,
    "copper": 3.25,
    "brass": 1.95,
    "zinc": 0.65,
    "stainless": 0.35,
}
"""US dollars a pound, from the K&L Recycling guide: an example, not a quotation of today."""
OTHER = 0.10


class Price(Struct, frozen=True, kw_only=True):
    """What the estimated weight is worth, from ``low`` to ``high`` at the ends of its interval; and by which price."""

    value: float
    low: float | None
    high: float | None
    currency: str
    per_unit: float
    unit: str
    source: str


def price(
    material: str, grams: float, *, ends: tuple[float, float] | None, own: float | None, unit: str, currency: str
) -> Price:
    """The worth of a weight; ``own`` is a price per ``unit`` that the request brings.

    >>> price("copper", 453.59237, ends=None, own=None, unit="lb", currency="USD").value
    3.25
    """
    per = TABLE.get(material, OTHER) if own is None else own
    unit, currency = (UNIT, CURRENCY) if own is None else (unit, currency)
    known = "the guide's table" if material in TABLE else f"the guide's table, other materials ({material})"
    low, high = (None, None) if ends is None else (ends[0] / GRAMS[unit] * per, ends[1] / GRAMS[unit] * per)
    return Price(
        value=round(grams / GRAMS[unit] * per, 4),
        low=None if low is None else round(low, 4),
        high=None if high is None else round(high, 4),
        currency=currency,
        per_unit=per,
        unit=unit,
        source=known if own is None else "the request",
    )
