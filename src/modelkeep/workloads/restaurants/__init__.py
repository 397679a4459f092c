"""Demand, preparation time, churn, lifetime value and inventory for many restaurants."""

from modelkeep import Schedule, Workload
from modelkeep.workloads.restaurants import (
    customer_acts,
    demand_acts,
    inventory_acts,
    kitchen_acts,
    personal,
    service_acts,
    telling,
    watching,
)
from modelkeep.workloads.restaurants.panel import panel
from modelkeep.workloads.restaurants.recipes import RECIPES
from modelkeep.workloads.restaurants.sources import SOURCES

WORKLOAD = Workload(
    name="restaurants",
    summary="Demand, preparation time, churn, lifetime value and stock of many restaurants",
    sources=SOURCES,
    recipes=RECIPES,
    policies=tuple(recipe.policy for recipe in RECIPES),
    operations=(
        *demand_acts.OPERATIONS,
        *kitchen_acts.OPERATIONS,
        *customer_acts.OPERATIONS,
        *inventory_acts.OPERATIONS,
        *service_acts.OPERATIONS,
    ),
    personal=(personal.PERSONAL,),
    panel=panel,
    play="modelkeep.workloads.restaurants.playing:play",
    rules=watching.rules(),
    probes=(watching.probe,),
    tasks={"restaurants_outcomes": telling.outcomes},
    schedules={"restaurants_outcomes": Schedule(task="restaurants_outcomes", when="every 1h")},
)
