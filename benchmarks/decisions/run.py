"""Reproduce the release judge's figures against the rules it replaces.

``python benchmarks/decisions/run.py [--quick]``.

Fixed seeds. The full run takes a few minutes, ``--quick`` some seconds (fewer trials, so coarser figures). It ends with
an error when a promise of the judge is broken.
"""

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import scenes
from aa import replayed
from fortunes import agrees


def within(rate, bound, trials):
    """Whether a simulated rate agrees with a bound: three standard errors of slack."""
    return rate <= bound + 3 * (bound * (1 - bound) / trials) ** 0.5


def table(trials):
    print(f"Low traffic: 60 canary requests/h, base error 1 %, limit +2 pt, every minute for 24 h ({trials} trials)")
    columns, hours = [], []
    for i, extra in enumerate((0.0, 0.02, 0.05, 0.10)):
        found, when = scenes.low_traffic(extra, trials, seed=i)
        columns.append(found)
        hours.append(when)
    print(f"{'P(rollback)':45s} {'+0':>6s} {'+2 pt':>6s} {'+5 pt':>6s} {'+10 pt':>6s}")
    for name in columns[0]:
        print(f"{name:45s} " + " ".join(f"{c[name]:6.3f}" for c in columns))
    for name in hours[0]:
        print(f"  median hours, {name}: {hours[2][name]:.1f} at +5 pt, {hours[3][name]:.1f} at +10 pt")
    return columns


def claims(trials):
    few = max(trials // 5, 20)
    pooled, blocks = scenes.ramp(few, 10)
    yield (
        "ramp 1/10/50 %, base 1/1/6 %: pooled / blocks roll a good version back",
        (pooled, blocks),
        within(blocks, 0.05, few),
    )
    request, entity = scenes.entities(trials, 11)
    yield (
        "20 entities x 30 requests at the limit: request / entity rounds",
        (request, entity),
        within(entity, 0.05, trials),
    )
    caught = scenes.late_onset(trials, 12)
    yield "+10 pt from hour 12: caught, median hour; without restarts", caught, caught[0] >= 0.99
    yield (
        "both arms fail 50 % for 30 min: rolled back",
        (common := scenes.incident(trials, 13),),
        within(common, 0.01, trials),
    )
    for ratio in (0.95, 1.0, 1.05):
        fell = scenes.mae(ratio, trials, 14)
        kept = within(fell[0], 0.05, trials) and (ratio < 1.05 or within(fell[2], 0.01, trials))
        yield f"MAE ratio {ratio}, 100 pairs/h, 24 h: rolled back, median hour, ever promotable", fell, kept
    fell = scenes.mae(1.10, trials, 14, alone=True)
    yield (
        "MAE ratio 1.10, loss guard alone, 24 h: rolled back, median hour",
        fell[:2],
        fell[0] >= (0.9 if trials < 1000 else 0.95),
    )
    for hours, least in ((24, 0.8), (48, 0.95)):
        fell = scenes.mae(1.10, trials, 14, hours=hours)
        yield f"MAE ratio 1.10, one guard of three, {hours} h: rolled back, median hour", fell[:2], fell[0] >= least
    arrival, mature = scenes.delayed(trials, 15)
    yield (
        "labels 2 h / 36 h: judged on arrival / in mature cohorts, rolled back",
        (arrival, mature),
        within(mature, 0.05, trials),
    )
    yield "1 % of answers differ: median shadowed requests until wealth 20 / 100", scenes.disagreement(trials, 16), True
    for heavy in (False, True):
        kind = "heavy-tailed" if heavy else "log-normal"
        slower = scenes.slow(few, 17, factor=1.5, heavy=heavy)
        yield f"latency x1.5, {kind}: caught, median hour", slower[:2], slower[0] >= 0.99
        both = scenes.slow(few, 18, factor=1.0, heavy=heavy, incident=True)
        yield (
            f"both arms 3x slower for 30 min, {kind}: rolled back; p95 every 15 min",
            (both[0], both[2]),
            within(both[0], 0.05, few),
        )
    good = scenes.whole(few, 19, calls=60, pairs=25)
    yield (
        "good version, 60/h + 25 pairs/h: rolled back, promotable at 24 h, from hour",
        good[:3],
        within(good[0], 0.05, few),
    )
    busy = scenes.whole(few, 20, calls=600, pairs=100, hours=12)
    yield (
        "good version, 600/h + 100 pairs/h, 12 h: rolled back, promotable, from hour",
        busy[:3],
        within(busy[0], 0.05, few),
    )
    limit = scenes.whole(few, 21, calls=60, pairs=25, at_limit=True)
    kept = within(limit[0], 0.05, few) and within(limit[3], 0.01, few)
    yield "every guard at its limit: rolled back, ever promotable", (limit[0], limit[3]), kept
    for pairs in (25, 100):
        worse = scenes.whole(few, 22, calls=60, pairs=pairs, harm=(0.0, 1.0, 0.10))
        yield f"accuracy -10 pt at {pairs} pairs/h, 24 h: caught, promotable", worse[:2], within(worse[1], 0.01, few)


def main(quick):
    start = time.perf_counter()
    trials = 100 if quick else 2000
    sample = np.random.default_rng(5).choice([-1.0, 0.0, 1.0], p=[0.05, 0.9, 0.05], size=(3, 400))
    difference = agrees(sample, limit=0.02, low=-1.0, high=1.0, per_hour=60)
    print(f"arrays against the product's accounts: largest relative difference {difference:.1e}")
    columns = table(trials)
    broken = [] if difference < 1e-9 else ["the arrays are not the product's rule"]
    broken += [] if columns[0]["this rule, error guard alone"] <= 0.05 else ["A/A"]
    broken += [] if columns[1]["this rule, error guard alone"] <= 0.05 else ["at the limit"]
    print(f"O'Brien-Fleming spends {scenes.spent(20_000, 30):.3f} of 0.05")
    for name, figures, kept in claims(trials):
        print(f"{name:80s} " + " / ".join(f"{f:.3f}" for f in figures) + ("" if kept else "   BROKEN"))
        broken += [] if kept else [name]
    runs = 8 if quick else 1000
    fell, promoted = replayed(runs)
    print(
        f"{runs} A/A trials by the product's own judge: {fell / runs:.3f} rolled back, {promoted / runs:.3f} promoted"
    )
    broken += [] if fell <= 0.05 * runs else ["A/A replay"]
    print(f"{time.perf_counter() - start:.0f} s")
    return broken


if __name__ == "__main__":
    if found := main("--quick" in sys.argv):
        sys.exit(f"broken: {'; '.join(found)}")
