"""The features of a restaurant's customers now; by the code that made those of the training."""

import numpy as np

from modelkeep import Features, Rooms
from modelkeep.workloads.restaurants import customers, keeping
from modelkeep.workloads.restaurants.columns import optional

DAY = 86400.0


def rows(rooms: Rooms, restaurant: str) -> dict[str, Features]:
    """One row a customer who ever bought, as the models of churn and value take them.

    They look at the end of yesterday, as the training's looks were at ends of days; today's purchases count tomorrow.
    """
    now = rooms.clock.now()
    today = int(now // DAY)
    known = keeping.dataset(rooms, "purchases").read(
        end=today * DAY, where={"restaurant": restaurant}, columns=("customer", "moment", "amount")
    )
    purchases = customers.read_purchases(
        {"customer": known["customer"], "date": known["moment"], "amount": known["amount"]}
    )
    if not len(purchases.day):
        return {}
    who, found = customers.features(purchases, today - 1)
    columns = {name: optional(values) for name, values in found.items()}
    names = [purchases.names[i] for i in np.asarray(who).tolist()]
    return {name: {column: values[i] for column, values in columns.items()} for i, name in enumerate(names)}
