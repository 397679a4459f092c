"""What happens in the simulated trials: each scene answers the figures that the table prints."""

import numpy as np
from fortunes import against, favour, first

from modelkeep.rollout.rounds import CAP

ERROR, SLOW, LOSS = 0.02, (0.15, 0.05, 0.02), 0.05
SHARES = (0.4, 0.4, 0.2)


def rng(seed):
    return np.random.default_rng([2026, seed])


def errors(draw, *, trials, n, base, extra, controls=99):
    """Blocks of one canary request and ``controls`` others (a canary of 1 %): z of the error guard."""
    candidate = draw.random((trials, n)) < np.broadcast_to(base + extra, (n,))
    control = draw.binomial(controls, np.broadcast_to(base, (n,)), (trials, n))
    return candidate * 1.0, control / controls


def median(values):
    kept = [v for v in values if v >= 0]
    return float(np.median(kept)) if kept else float("nan")


# ----------------------------------------------------------------------------------- the table: low traffic


def low_traffic(extra, trials, seed):
    """60 canary requests an hour for 24 h, base error 1 %, looked at every minute: P(rollback) of five rules."""
    n = 24 * 60
    x, control = errors(rng(seed), trials=trials, n=n, base=0.01, extra=extra)
    looks = np.arange(1, n + 1)
    rate, base = np.cumsum(x, 1) / looks, np.cumsum(control, 1) / looks
    found = {
        "plain thresholds each minute, 5 failures": (np.cumsum(x - control > ERROR, 1) >= 5).any(1).mean(),
        "guide's point rule peeked": (rate - base > ERROR).any(1).mean(),
        "fixed-sample z-test peeked": (_pooled_z(rate, base, looks) > 1.645).any(1).mean(),
        "O'Brien-Fleming, 24 hourly looks": _obrien_fleming(rate, base, looks),
    }
    wealth = against(x - control, limit=ERROR, per_hour=60)
    at = first(wealth >= 20)
    found["this rule, error guard alone"] = (at >= 0).mean()
    whole = first(SHARES[0] * wealth + 1 - SHARES[0] >= 20)
    found["this rule, as one guard of three"] = (whole >= 0).mean()
    unheld = first(against(x - control, limit=ERROR, per_hour=60, held=0.0) >= 20)
    hours = {"alone": median(at) / 60, "of three": median(whole) / 60, "without restarts": median(unheld) / 60}
    return found, hours


def _pooled_z(rate, base, n):
    together = (rate + 99 * base) / 100
    return (rate - base) / np.sqrt(np.maximum(together * (1 - together), 1e-9) * (1 + 1 / 99) / n)


def _z(rate, base, n, *, margin):
    spread = np.sqrt(np.maximum(rate * (1 - rate), 1 / n**1.5) / n + base * (1 - base) / (99 * n) + 1e-12)
    return (rate - base - margin) / spread


def _obrien_fleming(rate, base, n, constant=1.87):
    """Against the margin of 2 points; the constant spends 5 % over 24 looks (checked by ``spent``)."""
    every = np.arange(59, 24 * 60, 60)
    z = _z(rate[:, every], base[:, every], n[every], margin=ERROR)
    return (z > constant * np.sqrt(24 / np.arange(1, 25))).any(1).mean()


# -------------------------------------------------------------------------------------------- the other claims


def ramp(trials, seed):
    """A good version while the share goes 1/10/50 % and everybody's errors 1/1/6 %: (pooled, blocks) rolled back."""
    draw = rng(seed)
    share, base, calls = (0.01, 0.1, 0.5), (0.01, 0.01, 0.06), 8 * 600
    pooled, blocks = 0, 0
    for _ in range(trials):
        new = np.concatenate([draw.random(calls) < s for s in share])
        bad = np.concatenate([draw.random(calls) < b for b in base])
        n1, n0 = np.cumsum(new), np.cumsum(~new)
        p1, p0 = np.cumsum(bad & new) / np.maximum(n1, 1), np.cumsum(bad & ~new) / np.maximum(n0, 1)
        pooled += bool(((p1 - p0 > ERROR) & (n1 >= 100)).any())
        z, at = _blocks(new, bad)
        blocks += bool((against(z[None], limit=ERROR, hour=at // 600)[0] * SHARES[0] + 0.6 >= 20).any())
    return pooled / trials, blocks / trials


def _blocks(new, bad):
    """z of the blocks of a stream, and where each closed."""
    z, at, sums, counts = [], [], [0.0, 0.0], [0, 0]
    for i, (arm, harm) in enumerate(zip(new.astype(int).tolist(), bad.tolist(), strict=True)):
        sums[arm] += harm
        counts[arm] += 1
        if counts[0] and counts[1]:
            z.append(sums[1] / counts[1] - sums[0] / counts[0])
            at.append(i)
            sums, counts = [0.0, 0.0], [0, 0]
    return np.array(z), np.array(at)


def entities(trials, seed):
    """20 canary entities of 30 requests, at the limit; each entity has its own error rate: (request, entity) rounds."""
    draw = rng(seed)
    request = entity = 0
    for _ in range(trials):
        rates = draw.beta(0.03 * 0.4, 0.97 * 0.4, 20)
        control = draw.beta(0.01 * 0.4, 0.99 * 0.4, (20, 99))
        x = draw.random((20, 30)) < rates[:, None]
        c = draw.binomial(30, control) / 30
        z = (x - c.mean(1)[:, None]).T.reshape(1, -1)
        request += bool((against(z, limit=ERROR, per_hour=60) >= 20).any())
        entity += bool((against((x.mean(1) - c.mean(1))[None], limit=ERROR, per_hour=60) >= 20).any())
    return request / trials, entity / trials


def late_onset(trials, seed):
    """+10 points from hour 12 of low traffic on: caught, and the median hour after the start."""
    n = 24 * 60
    extra = np.where(np.arange(n) < 12 * 60, 0.0, 0.10)
    x, control = errors(rng(seed), trials=trials, n=n, base=0.01, extra=extra)
    at = first(against(x - control, limit=ERROR, per_hour=60) >= 20)
    plain = first(against(x - control, limit=ERROR, per_hour=60, held=0.0) >= 20)
    return (at >= 0).mean(), median(at) / 60, (plain >= 0).mean(), median(plain) / 60


def incident(trials, seed):
    """Both arms fail in half of their requests for 30 minutes: rolled back."""
    n = 24 * 60
    base = np.where((np.arange(n) >= 600) & (np.arange(n) < 630), 0.5, 0.01)
    x, control = errors(rng(seed), trials=trials, n=n, base=base, extra=0.0)
    return (against(x - control, limit=ERROR, per_hour=60) * SHARES[0] + 0.6 >= 20).any(1).mean()


def mae(ratio, trials, seed, *, hours=24, alone=False):
    """Shadow pairs of a regression, 100 an hour: the error that no model can avoid is common, the rest the version's.

    Rolled back (by the guard alone, or as one guard of three), the median hour, and ever promotable.
    """
    draw, n = rng(seed), 100 * hours
    noise = draw.standard_normal((trials, n))
    old = np.abs(noise)
    cap = np.quantile(old, CAP)
    extra = np.sqrt(max(ratio**2 - 1.0, 0.0))
    new = np.abs(noise + extra * draw.standard_normal((trials, n))) if ratio >= 1 else ratio * old
    z = (np.minimum(new, cap) - (1 + LOSS) * np.minimum(old, cap)) / cap
    wealth = against(z, limit=0.0, low=-1 - LOSS, per_hour=100)
    at = first((wealth if alone else SHARES[2] * wealth + 1 - SHARES[2]) >= 20)
    proven = (favour(z, limit=0.0) >= 100).any(1)
    return (at >= 0).mean(), median(at) / 100, proven.mean()


def delayed(trials, seed):
    """Labels: positives in 2 h, negatives in 36 h; the version is worse on positives and as much better on negatives.

    Rolled back when judged (in the order of arrival, in mature cohorts of 36 h). 25 pairs an hour for 72 h.
    """
    draw, n = rng(seed), 25 * 72
    positive = draw.random((trials, n)) < 0.3
    flip = draw.random((trials, n))
    z = np.where(positive, (flip < 0.28) * 1.0, (flip < 0.12) * -1.0)
    told = np.arange(n) / 25 + np.where(positive, 2.0, 36.0)
    order = np.argsort(told, axis=1, kind="stable")
    known = np.take_along_axis(told, order, 1)
    arrived = np.where(known <= 72, np.take_along_axis(z, order, 1), LOSS)
    ripe = z[:, : 25 * 36]
    scores = [against(part, limit=LOSS, per_hour=25, hours=72) * SHARES[2] + 0.8 for part in (arrived, ripe)]
    return tuple((s >= 20).any(1).mean() for s in scores)


def disagreement(trials, seed):
    """A version that answers 1 % differently: the median number of shadowed requests that show < 5 %."""
    x = (rng(seed).random((trials, 1500)) < 0.01) * 1.0
    wealth = favour(x, limit=LOSS)
    return median(first(wealth >= 20) + 1), median(first(wealth >= 100) + 1)


def service(draw, shape, *, heavy):
    """Service times: log-normal, or with a tail of Pareto waits."""
    times = draw.lognormal(-3.0, 0.4, shape)
    return times + (draw.random(shape) < 0.05) * 0.05 * draw.pareto(1.8, shape) if heavy else times


def slow(trials, seed, *, factor, heavy, incident=False):
    """Latency guards together at 60 canary requests an hour: rolled back, the median hour, the p95 rule's rate."""
    draw, n = rng(seed), 24 * 60
    past = service(draw, 20_000, heavy=heavy)
    marks = [np.quantile(past, q) * f for q, f in ((0.5, 1.25), (0.95, 1.25), (0.99, 2.0))]
    load = np.where(incident & (np.arange(n) >= 600) & (np.arange(n) < 630), 3.0, 1.0)
    mine = service(draw, (trials, n), heavy=heavy) * factor * load
    others = service(draw, (trials, n, 20), heavy=heavy) * load[:, None]
    wealth = [
        against((mine > m) - (others > m).mean(2), limit=limit, per_hour=60)
        for m, limit in zip(marks, SLOW, strict=True)
    ]
    at = first(SHARES[1] * np.mean(wealth, 0) + 1 - SHARES[1] >= 20)
    quarter = mine.reshape(trials, -1, 15), others.reshape(trials, n // 15, -1)
    point = (np.quantile(quarter[0], 0.95, axis=2) > 1.5 * np.quantile(quarter[1], 0.95, axis=2)).any(1).mean()
    return (at >= 0).mean(), median(at) / 60, point


def whole(trials, seed, *, calls, pairs, harm=(0.0, 1.0, 0.0), at_limit=False, hours=24):
    """All guards together: rolled back, promotable at the end, and the median hour from which it was.

    ``harm``: extra error rate, latency factor, extra wrong answers. ``at_limit`` sets every guard to its limit.
    """
    draw, n = rng(seed), calls * hours
    base_slow = (0.29, 0.02, 0.003)
    extra = ERROR if at_limit else harm[0]
    x, control = errors(draw, trials=trials, n=n, base=0.01, extra=extra)
    parts, favours = [SHARES[0] * against(x - control, limit=ERROR, per_hour=calls)], [favour(x - control, limit=ERROR)]
    slower = [lim if at_limit else (harm[1] - 1) * b for lim, b in zip(SLOW, base_slow, strict=True)]
    for base, more, limit in zip(base_slow, slower, SLOW, strict=True):
        a, b = errors(draw, trials=trials, n=n, base=base, extra=more)
        parts.append(SHARES[1] / 3 * against(a - b, limit=limit, per_hour=calls))
        favours.append(favour(a - b, limit=limit))
    m, wrong = pairs * hours, LOSS if at_limit else harm[2]
    draws = draw.random((trials, m))
    z = np.where(draws < 0.02 + wrong, 1.0, np.where(draws > 0.98, -1.0, 0.0))
    loss = SHARES[2] * against(z, limit=LOSS, per_hour=pairs)
    proof = favour(z, limit=LOSS)
    place = np.minimum((np.arange(n) * pairs) // calls, m - 1)
    fallen = first(sum(parts) + loss[:, place] >= 20)
    proven = np.min(favours, 0) >= 100
    proven &= proof[:, place] >= 100
    when = first(proven)
    return (fallen >= 0).mean(), (proven[:, -1] & (fallen < 0)).mean(), median(when) / calls, (when >= 0).mean()


def spent(trials, seed, constant=1.87):
    """The chance that Brownian motion crosses the O'Brien-Fleming bound at one of 24 looks: should be 5 %."""
    walk = np.cumsum(rng(seed).standard_normal((trials, 24)), 1) / np.sqrt(np.arange(1, 25))
    return (walk > constant * np.sqrt(24 / np.arange(1, 25))).any(1).mean()
