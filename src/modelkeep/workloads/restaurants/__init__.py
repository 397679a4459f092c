"""Demand, preparation time, churn, lifetime value and inventory for many restaurants."""

from modelkeep import Workload
from modelkeep.workloads.restaurants.recipes import RECIPES

WORKLOAD = Workload(
    name="restaurants",
    summary="Demand, preparation time, churn, lifetime value and stock of many restaurants",
    recipes=RECIPES,
    policies=tuple(recipe.policy for recipe in RECIPES),
)
