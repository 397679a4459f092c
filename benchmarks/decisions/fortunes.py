"""The product's betting rule for many trials at once: the same formula over arrays, checked against the product."""

import numpy as np

from modelkeep.rollout.betting import BETS, HELD, PRIOR, Account, Round, bet

B, W = np.array(BETS), np.array(PRIOR)


def against(z, *, limit, low=-1.0, hours=24, per_hour=None, hour=None, held=HELD):
    """Rollback wealth after each round; z is (trials, rounds). Rounds come at ``per_hour``, or at ``hour`` each."""
    trials, rounds = z.shape
    money = np.tile((1 - held) * W, (trials, 1))
    cash, reached = held, 0
    out = np.empty((trials, rounds))
    for j in range(rounds):
        now = int(hour[j]) if hour is not None else int(j / per_hour)
        due = min(now, hours) - reached
        if due > 0:
            fresh = min(due * held / hours, cash)
            cash, reached = cash - fresh, min(now, hours)
            money += fresh * W
        money = np.minimum(money * (1 + B / (limit - low) * (z[:, j : j + 1] - limit)), 1e200)
        out[:, j] = money.sum(1) + cash
    return out


def favour(z, *, limit, high=1.0):
    """Promote wealth after each round; z is (trials, rounds)."""
    money = np.tile(W, (len(z), 1))
    out = np.empty(z.shape)
    for j in range(z.shape[1]):
        money = np.minimum(money * (1 + B / (high - limit) * (limit - z[:, j : j + 1])), 1e200)
        out[:, j] = money.sum(1)
    return out


def first(hits):
    """The index of the first True of each row, or -1."""
    return np.where(hits.any(1), hits.argmax(1), -1)


def agrees(z, *, limit, low, high, per_hour):
    """The largest relative difference between these arrays and the product's own account, over a few trials."""
    worst = 0.0
    a, f = against(z, limit=limit, low=low, per_hour=per_hour), favour(z, limit=limit, high=high)
    for i in range(len(z)):
        account = Account(limit=limit, low=low, high=high)
        for j, value in enumerate(z[i]):
            account = bet(account, Round(control=0.0, candidate=0.0, z=float(value)), hour=int(j / per_hour), hours=24)
            worst = max(worst, abs(account.against / a[i, j] - 1), abs(account.favour / f[i, j] - 1))
    return worst
