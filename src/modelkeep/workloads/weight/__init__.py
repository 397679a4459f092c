"""Weight of an object from a photo with a reference object beside it, or from its measurements."""

from modelkeep import Workload

WORKLOAD = Workload(name="weight", summary="Weight of an object from a photo or from measurements")
