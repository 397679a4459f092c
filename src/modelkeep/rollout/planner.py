"""How long a trial will take, before it starts."""

from msgspec import Struct

from modelkeep.nouns import Guards
from modelkeep.quantities import HOUR, duration
from modelkeep.rollout.betting import Account, rounds_needed


class Traffic(Struct, frozen=True, kw_only=True):
    """What today's traffic is like: calls and labelled answers per hour, the champion's error rate.

    ``differ`` is how often the two versions may be expected to be wrong on different inputs (of labelled pairs).
    """

    calls: float
    labels: float = 0.0
    errors: float = 0.01
    differ: float = 0.1


class Forecast(Struct, frozen=True, kw_only=True):
    """The typical seconds to a verdict; None where none is to be expected within the trial.

    ``harm`` are seconds to a rollback by points of extra errors; ``good`` to a proof that a version without a
    difference is within the limits; ``graded`` the part of it that the labels need. ``proposal`` is empty when the
    trial can decide.
    """

    share: float
    harm: dict[str, float | None]
    good: float | None
    graded: float | None
    proposal: str = ""

    def lines(self) -> tuple[str, ...]:
        """The forecast in words, one line each."""
        said = [f"with {points} pts more errors: {_when(at, 'rolled back')}" for points, at in self.harm.items()]
        said.append(f"without a difference: {_when(self.good, 'promoted')}")
        return (*said, self.proposal) if self.proposal else tuple(said)


def forecast(guards: Guards, traffic: Traffic, *, share: float, stage: float, last: float) -> Forecast:
    """Forecast a stage of a trial at ``share`` of the traffic (0 = shadow: every call is a round).

    ``stage`` is the least time of the stage and ``last`` the longest of the trial, in seconds. Times are those at which
    the *expected* fortune reaches its bound: half of all trials take longer.

    >>> plan = forecast(Guards(), Traffic(calls=6000), share=0.01, stage=86400.0, last=14 * 86400.0)
    >>> [round(seconds / 3600, 1) for seconds in plan.harm.values() if seconds]
    [7.8, 2.2]
    """
    rounds = traffic.calls * (share or 1.0)
    weight = guards.shares[0]
    harm: dict[str, float | None] = {}
    for points in (2, 5, 10):
        rate = min(traffic.errors + points / 100, 1.0)
        need = rounds_needed(
            Account(limit=guards.error),
            mean=points / 100,
            variance=rate * (1 - rate) + (traffic.errors * (1 - traffic.errors) if not share else 0.0),
            goal=1 / (guards.alpha * weight),
            against=True,
        )
        harm[str(points)] = _seconds(need, rounds)
    served = _seconds(_good(guards, traffic, share=share), rounds)
    graded = _graded(guards, traffic, share=share)
    good = None if served is None or (graded is None and traffic.labels > 0) else max(served, graded or 0.0, stage)
    proposal = "" if good is not None and good <= last else _propose(guards, traffic, share=share, last=last)
    return Forecast(share=share, harm=harm, good=good, graded=graded, proposal=proposal)


def _good(guards: Guards, traffic: Traffic, *, share: float) -> int | None:
    errors = traffic.errors * (1 - traffic.errors) * (1.0 if share else 2.0)
    slow = ((0.4, guards.latency[0]), (0.03, guards.latency[1]), (0.004, guards.latency[2]))
    needs = [rounds_needed(Account(limit=guards.error), mean=0.0, variance=errors, goal=1 / guards.beta, against=False)]
    for rate, limit in slow:
        variance = rate * (1 - rate) * (1.0 if share else 2.0)
        needs.append(
            rounds_needed(Account(limit=limit), mean=0.0, variance=variance, goal=1 / guards.beta, against=False)
        )
    known = [need for need in needs if need is not None]
    return max(known) if len(known) == len(needs) else None


def _graded(guards: Guards, traffic: Traffic, *, share: float) -> float | None:
    if traffic.labels <= 0:
        return None
    need = rounds_needed(
        Account(limit=guards.loss), mean=0.0, variance=traffic.differ, goal=1 / guards.beta, against=False
    )
    return _seconds(need, traffic.labels * (share or 1.0))


def _propose(guards: Guards, traffic: Traffic, *, share: float, last: float) -> str:
    for wider in (0.05, 0.1, 0.25, 0.5, 0.0):
        if wider and not 0 < share < wider:
            continue
        served = _seconds(_good(guards, traffic, share=wider), traffic.calls * (wider or 1.0))
        graded = _graded(guards, traffic, share=wider) if traffic.labels else 0.0
        if served is not None and graded is not None and max(served, graded) <= last:
            instead = f"a canary of {wider:.0%}" if wider else "a shadow of all traffic"
            after = duration(max(served, graded, 1.0))
            return f"{share:.0%} cannot decide in {duration(last)}; {instead} decides in {after}"
    return f"today's traffic cannot decide in {duration(last)}: expect an inconclusive verdict, or allow a longer trial"


def _seconds(rounds: int | None, per_hour: float) -> float | None:
    return None if rounds is None or per_hour <= 0 else HOUR * rounds / per_hour


def _when(seconds: float | None, end: str) -> str:
    return f"not {end}" if seconds is None else f"{end} after {duration(max(seconds, 1.0))}"
