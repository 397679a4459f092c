"""The features of items to be made now, from the tickets that are finished; by the code that made the training's."""

from collections.abc import Sequence

import numpy as np

from modelkeep import Rooms, Value
from modelkeep.workloads.restaurants import keeping, kitchen
from modelkeep.workloads.restaurants.kitchen_acts import Order

COLUMNS = ("restaurant", "station", "item", "quantity", "queue", "assigned", "completed")


def rows(rooms: Rooms, restaurant: str, *, orders: Sequence[Order], past: float) -> list[dict[str, Value]]:
    """One row an order, as the model of preparation times takes them."""
    now = rooms.clock.now()
    known = keeping.dataset(rooms, "tickets").read(
        start=now - past, end=now, where={"restaurant": restaurant}, columns=COLUMNS
    )
    table = {name: list(known[name]) for name in COLUMNS}
    for order in orders:
        values: tuple[Value, ...] = (
            restaurant, str(order.station_id), str(order.menu_item_id), order.quantity, order.queue, now, None,
        )  # fmt: skip
        for name, value in zip(COLUMNS, values, strict=True):
            table[name].append(value)
    asked = np.array(table["assigned"], dtype=float)
    told = np.array([np.nan if value is None else value for value in table["completed"]], dtype=float)
    minutes = (told - asked) / 60
    fits = (minutes > 0) & (minutes <= kitchen.LONGEST)
    columns = kitchen.columns_of(table, minutes=np.where(fits, minutes, np.nan), asked=asked, told=told)
    return [{name: values[i] for name, values in columns.items()} for i in range(len(asked) - len(orders), len(asked))]
