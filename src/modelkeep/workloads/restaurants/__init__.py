"""Demand, preparation time, churn, lifetime value and inventory for many restaurants."""

from modelkeep import Workload
from modelkeep.workloads.restaurants import (
    customer_acts,
    demand_acts,
    inventory_acts,
    kitchen_acts,
    service_acts,
)
from modelkeep.workloads.restaurants.recipes import RECIPES

WORKLOAD = Workload(
    name="restaurants",
    summary="Demand, preparation time, churn, lifetime value and stock of many restaurants",
    recipes=RECIPES,
    policies=tuple(recipe.policy for recipe in RECIPES),
    operations=(
        *demand_acts.OPERATIONS,
        *kitchen_acts.OPERATIONS,
        *customer_acts.OPERATIONS,
        *inventory_acts.OPERATIONS,
        *service_acts.OPERATIONS,
    ),
)
