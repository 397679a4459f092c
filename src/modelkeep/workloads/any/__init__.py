"""A team's own model, from a file or a registry, with no code of theirs."""

from modelkeep import Workload

WORKLOAD = Workload(name="any", summary="Any team's own model, with no code of theirs")
