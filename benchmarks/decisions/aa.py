"""A/A trials through the product's own judge, event by event: the same version on both sides."""

import random

from modelkeep.nouns import Guards
from modelkeep.rollout.judge import fold, start
from modelkeep.rollout.rounds import GradedPair, Served, yardstick
from modelkeep.rollout.verdict import Occasion, verdict

HOURS, CALLS, PAIRS = 24, 60, 25


def replayed(runs, seed=2026):
    """How many of so many A/A trials were rolled back, and how many promoted at their end."""
    fell = promoted = 0
    for run in range(runs):
        draw = random.Random(seed * 100_003 + run)
        said = verdict(_trial(draw), Occasion(now=HOURS * 3600.0, earliest=HOURS * 3600.0, last=1e9))
        fell += said.decision == "roll_back"
        promoted += said.decision == "promote"
    return fell, promoted


def _trial(draw):
    times = [draw.lognormvariate(-3.0, 0.4) for _ in range(2000)]
    errors = [abs(draw.gauss(0, 1)) for _ in range(1000)]
    measured = yardstick(times, errors, classes=False, grain=0.002)
    state = start(Guards(), measured, at=0.0, longest=HOURS * 3600.0)
    pairs_due = 0.0
    for call in range(HOURS * CALLS):
        at = call * 3600.0 / CALLS
        events = [_served(draw, measured, at=at, candidate=arm) for arm in (False, False, False, True)]
        pairs_due += PAIRS / CALLS
        if pairs_due >= 1:
            pairs_due -= 1
            noise = draw.gauss(0, 1)
            events.append(GradedPair(control=noise, candidate=noise + draw.gauss(0, 0.1), at=at))
        state = fold(state, events)
    return state


def _served(draw, measured, *, at, candidate):
    harms = measured.harms(draw.lognormvariate(-3.0, 0.4), failed=draw.random() < 0.01)
    return Served(candidate=candidate, harms=harms, at=at)
