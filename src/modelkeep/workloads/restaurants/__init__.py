"""Demand, preparation time, churn, lifetime value and inventory for many restaurants."""

from modelkeep import Workload

WORKLOAD = Workload(name="restaurants", summary="Demand, preparation time, churn, lifetime value and stock")
