"""The betting core of the judge: two fortunes per guard that grow only when a limit is broken, or kept.

A round yields z, the candidate's harm minus the control's. Against the null "on average z <= limit" a fortune bets that
z is larger (rollback); against "on average z >= limit" another bets that it is smaller (promote). Under its null a
fortune is a non-negative supermartingale that starts at 1, so by Ville's inequality it *ever* reaches 1/a with
probability at most a, however often anyone looks (Waudby-Smith & Ramdas 2023, arXiv 2010.09686). Each fortune is a
mixture over eight sizes of bet, from bold (finds large harm soon) to timid (finds small harm in the end).

Half of the rollback money is held back and bet in equal parts at each hour of the trial, so that a harm that begins
late does not have to make good what the early bets lost. Fortunes are kept as logarithms: they neither overflow nor
vanish.
"""

import math
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

BETS: Final = (0.97, 0.8, 0.6, 0.42, 0.27, 0.15, 0.07, 0.02)
"""Bets, as fractions of the boldest one that can never lose everything."""
PRIOR: Final = (0.08, 0.17, 0.2, 0.18, 0.14, 0.1, 0.08, 0.05)
"""How the money is spread over the bets at the start."""
HELD: Final = 0.5
"""The part of the rollback money that is bet hour by hour."""
_LARGEST: Final = 600.0  # exp(600) is still a float, with room for sums

_LOG_PRIOR = tuple(math.log(w) for w in PRIOR)


class Round(Struct, frozen=True, kw_only=True):
    """One comparison: mean harms of both arms, the z that is bet on, and how many observations stand behind it."""

    control: float
    candidate: float
    z: float
    controls: int = 1
    candidates: int = 1


class Account(Struct, frozen=True, kw_only=True):
    """The fortunes of one guard, and what its evidence needs.

    z lies in [``low``, ``high``]. ``rollback`` and ``promote`` are logarithms of the money at each size of bet,
    ``cash`` the rollback money not yet bet, ``hour`` the last hour at which some was. Sums are over the ``rounds`` of
    the trial; ``here`` counts those of this stage. ``earned`` is the promote wealth that pairs had at the end of the
    last stage that had any.
    """

    limit: float
    low: float = -1.0
    high: float = 1.0
    rollback: tuple[float, ...] = tuple(math.log(1 - HELD) + w for w in _LOG_PRIOR)
    promote: tuple[float, ...] = _LOG_PRIOR
    cash: float = HELD
    hour: int = 0
    rounds: int = 0
    here: int = 0
    earned: float = 1.0
    control: float = 0.0
    candidate: float = 0.0
    square: float = 0.0
    total: float = 0.0
    total_square: float = 0.0
    controls: int = 0
    candidates: int = 0

    @property
    def against(self) -> float:
        """The rollback wealth: 1 at the start, >= 20 happens to a harmless candidate in at most 1 of 20 trials."""
        return math.exp(min(_log_sum(self.rollback), _LARGEST)) + self.cash

    @property
    def favour(self) -> float:
        """The promote wealth of this stage: 1 at its start, >= 100 happens to a harmful one in at most 1 of 100."""
        return math.exp(min(_log_sum(self.promote), _LARGEST))


def bet(account: Account, played: Round, *, hour: int, hours: int) -> Account:
    """The account after one round in the ``hour``-th hour of a trial that is planned for ``hours`` hours."""
    rollback, cash = account.rollback, account.cash
    due = min(hour, hours) - account.hour
    if due > 0:
        fresh = min(due * HELD / hours, cash)
        cash -= fresh
        if fresh > 0:
            rollback = tuple(_log_sum((m, math.log(fresh) + w)) for m, w in zip(rollback, _LOG_PRIOR, strict=True))
    z, span = played.z, account.limit - account.low
    excess, gap, room = z - account.limit, account.limit - z, account.high - account.limit
    difference = played.candidate - played.control
    return Account(
        limit=account.limit,
        low=account.low,
        high=account.high,
        rollback=tuple(m + math.log1p(b / span * excess) for m, b in zip(rollback, BETS, strict=True)),
        promote=tuple(m + math.log1p(b / room * gap) for m, b in zip(account.promote, BETS, strict=True)),
        cash=cash,
        hour=max(account.hour, min(hour, hours)),
        rounds=account.rounds + 1,
        here=account.here + 1,
        earned=account.earned,
        control=account.control + played.control,
        candidate=account.candidate + played.candidate,
        square=account.square + difference * difference,
        total=account.total + z,
        total_square=account.total_square + z * z,
        controls=account.controls + played.controls,
        candidates=account.candidates + played.candidates,
    )


def next_stage(account: Account, *, pairs: bool) -> Account:
    """The account at the start of a stage: promotion must be earned anew, what speaks against stays.

    ``pairs`` says that the rounds of the stage that ends were pairs: what they have earned is remembered.
    """
    earned = account.favour if pairs and account.here else account.earned
    return replace(account, promote=_LOG_PRIOR, here=0, earned=earned)


def rounds_needed(account: Account, *, mean: float, variance: float, goal: float, against: bool) -> int | None:
    """After how many more rounds a fortune of ``account`` typically reaches ``goal``; None = never.

    ``mean`` and ``variance`` are those of z. Its distribution is taken as the two-point one with that mean and variance
    whose upper point is the largest z: exact when one arm's harm is 0 or 1 and the other's rate is known, and on the
    careful side otherwise. Searches up to 10 million rounds.
    """
    high = account.high
    distance = max(high - mean, 1e-9)
    chance = variance / (variance + distance**2)
    usual = max(mean - variance / distance, account.low)
    span, sign = (account.limit - account.low, 1.0) if against else (high - account.limit, -1.0)
    growth = [
        chance * math.log1p(b / span * sign * (high - account.limit))
        + (1 - chance) * math.log1p(b / span * sign * (usual - account.limit))
        for b in BETS
    ]
    money = account.rollback if against else account.promote
    least, most = 1, 10_000_000

    def wealth(n: int) -> float:
        return _log_sum([m + n * g for m, g in zip(money, growth, strict=True)])

    if max(growth) <= 0 or wealth(most) < math.log(goal):
        return None
    while least < most:
        middle = (least + most) // 2
        if wealth(middle) >= math.log(goal):
            most = middle
        else:
            least = middle + 1
    return least


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))
