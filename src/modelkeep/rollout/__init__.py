"""How one version follows another: the moves of a rollout, the judge of a trial, and how long it will take.

Pure: no clock, no store. ``moves`` change a Rollout; ``judge`` folds what happened into a small state; ``verdict`` says
what that state means; ``planner`` forecasts. The statistics are explained in ``docs/releases.md`` and proven by
``benchmarks/decisions``.
"""

from modelkeep.rollout.moves import begin, first, promote, roll_back, widen

__all__ = ["begin", "first", "promote", "roll_back", "widen"]
