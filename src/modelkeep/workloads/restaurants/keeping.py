"""What restaurants send, kept as datasets: orders, visits, tickets, purchases, stock, bookings, the calendar.

Ids of restaurants are texts: whole numbers and UUIDs both fit. A row that is sent again takes its own place.
"""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from modelkeep import Dataset, Field, NotFound, Rooms


class Kept(Struct, frozen=True, kw_only=True):
    """One dataset: its columns, the one with the moment, its key, and which columns a row must have."""

    name: str
    about: str
    columns: tuple[Field, ...]
    time: str
    key: tuple[str, ...]
    aliases: Mapping[str, str] = {}

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns without which a row is a bad one."""
        return tuple(field.name for field in self.columns if not field.nullable)


def _text(name: str, *, needed: bool = False) -> Field:
    return Field(name=name, kind="text", nullable=not needed)


def _number(name: str, unit: str = "", *, needed: bool = False, low: float | None = 0.0) -> Field:
    return Field(name=name, kind="number", unit=unit, low=low, nullable=not needed)


RESTAURANT = _text("restaurant", needed=True)
_SAME = {
    "at": "moment",
    "created_at": "moment",
    "restaurant_id": "restaurant",
    "menu_item_id": "item",
    "item_id": "item",
}

KINDS: Mapping[str, Kept] = MappingProxyType(
    {
        kept.name: kept
        for kept in (
            Kept(
                name="orders",
                about="order lines: one row an item of an order",
                columns=(
                    RESTAURANT, _text("order", needed=True), _number("moment", "s", needed=True), _text("item"),
                    _text("item_name"), _text("category"), _number("quantity", "pieces"),
                    _number("unit_price", "money"),
                ),
                time="moment",
                key=("restaurant", "order", "item"),
                aliases=_SAME | {"order_id": "order", "qty": "quantity", "ts": "moment", "category_name": "category"},
            ),
            Kept(
                name="visits",
                about="visitors a day, for restaurants that count guests; they go before the count of orders",
                columns=(RESTAURANT, _number("moment", "s", needed=True), _number("visitors", "visitors", needed=True)),
                time="moment",
                key=("restaurant", "moment"),
                aliases=_SAME | {"date": "moment", "visit_date": "moment"},
            ),
            Kept(
                name="tickets",
                about="kitchen tickets: when an item was assigned to a station and when it was ready",
                columns=(
                    RESTAURANT, _text("ticket", needed=True), _text("station", needed=True), _text("station_name"),
                    _text("item"), _number("quantity", "pieces"), _number("queue", "orders"),
                    _number("assigned", "s", needed=True), _number("completed", "s"),
                ),
                time="assigned",
                key=("restaurant", "ticket"),
                aliases=_SAME | {"id": "ticket", "ticket_id": "ticket", "station_id": "station",
                                 "assigned_at": "assigned", "completed_at": "completed"},
            ),
            Kept(
                name="purchases",
                about="what customers bought, one row a purchase",
                columns=(
                    RESTAURANT, _text("customer", needed=True), _text("purchase", needed=True),
                    _number("moment", "s", needed=True), _number("amount", "money", needed=True, low=None),
                ),
                time="moment",
                key=("restaurant", "customer", "purchase"),
                aliases=_SAME | {"customer_id": "customer", "purchase_id": "purchase", "order_id": "purchase",
                                 "date": "moment", "total": "amount", "grand_total": "amount"},
            ),
            Kept(
                name="stock",
                about="what is in stock, one row an item and count",
                columns=(
                    RESTAURANT, _text("item", needed=True), _number("moment", "s", needed=True), _text("item_name"),
                    _text("category"), _number("current_stock", "units", needed=True), _number("min_level", "units"),
                    _number("reorder_level", "units"), _number("max_level", "units"), _number("lead_days", "d"),
                    _number("unit_cost", "money"), _number("order_cost", "money"), _number("earliest_expiry", "s"),
                ),
                time="moment",
                key=("restaurant", "item", "moment"),
                aliases=_SAME | {"avg_unit_cost": "unit_cost"},
            ),
            Kept(
                name="movements",
                about="what was used of an item, one row a use",
                columns=(
                    RESTAURANT, _text("item", needed=True), _text("movement", needed=True),
                    _number("moment", "s", needed=True), _number("used", "units", needed=True),
                ),
                time="moment",
                key=("restaurant", "item", "movement"),
                aliases=_SAME | {"occurred_at": "moment", "qty_base": "used", "id": "movement"},
            ),
            Kept(
                name="reservations",
                about="tables booked: for when, made when, for how many",
                columns=(
                    RESTAURANT, _text("reservation", needed=True), _number("visit", "s", needed=True),
                    _number("booked", "s", needed=True), _number("visitors", "visitors", needed=True),
                ),
                time="booked",
                key=("restaurant", "reservation"),
                aliases=_SAME | {"reservation_id": "reservation", "id": "reservation", "visit_datetime": "visit",
                                 "reserve_datetime": "booked", "reserve_visitors": "visitors"},
            ),
            Kept(
                name="about",
                about="what a restaurant is: genre, area, country (ISO code, for its public holidays)",
                columns=(RESTAURANT, _number("moment", "s"), _text("genre"), _text("area"), _text("country")),
                time="moment",
                key=("restaurant",),
                aliases=_SAME | {"cuisine": "genre"},
            ),
            Kept(
                name="calendar",
                about="days that are holidays or on which a restaurant is closed; restaurant * means all",
                columns=(RESTAURANT, _number("moment", "s", needed=True), _number("holiday"), _number("closed")),
                time="moment",
                key=("restaurant", "moment"),
                aliases=_SAME | {"date": "moment", "calendar_date": "moment", "holiday_flg": "holiday"},
            ),
        )
    }
)  # fmt: skip
"""Every kind of data, by the name under which it is sent."""
EVERYONE = "*"


def dataset(rooms: Rooms, kind: str) -> Dataset:
    """The dataset of a kind. Raises NotFound naming those that there are."""
    kept = KINDS.get(kind)
    if kept is None:
        raise NotFound("kind of data", kind, known=KINDS)
    return rooms.datasets.open(f"restaurants.{kind}", columns=kept.columns, time=kept.time, key=kept.key)


def known(rooms: Rooms) -> tuple[str, ...]:
    """Every restaurant of which anything was sent, in alphabetical order."""
    found: set[str] = set()
    for kind in KINDS:
        found |= {row[0] for row in dataset(rooms, kind).sql("SELECT DISTINCT restaurant FROM data")}
    return tuple(sorted(found - {EVERYONE}))


def sought(rooms: Rooms, restaurant: str) -> str:
    """The restaurant, when anything of it was sent. Raises NotFound naming near ones."""
    for kind in KINDS:
        if dataset(rooms, kind).sql("SELECT 1 FROM data WHERE restaurant = ? LIMIT 1", [restaurant]):
            return restaurant
    raise NotFound("restaurant", restaurant, known=known(rooms))


def revision(rooms: Rooms, *kinds: str) -> tuple[int, ...]:
    """What changes with every row of these kinds."""
    return tuple(dataset(rooms, kind).revision for kind in kinds)
