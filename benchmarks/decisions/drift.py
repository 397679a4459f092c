"""Simulates the drift alarms by the product's own measure: false alarms a year, and days until a rot is found.

    .venv/bin/python benchmarks/decisions/drift.py [RUNS]

A model with 200 labels a day over 365 days; the baseline's mean error is 1. Each row is a world:
``quiet``: independent days. ``AR(.9)``: the log error of a day remembers nine tenths of the one before, in common for
model and baseline, and half as much for the model alone. ``daily``: hours differ by half. ``weekly``: the skill of
Saturdays and Sundays is .2 lower. ``heavy``: errors with three degrees of freedom. ``storms``: one day in 30 has both
errors three times as large, and the model's by another half. The last column counts the page that a bare threshold
("the week's skill fell by more than a tenth") would have raised in the same quiet years.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from modelkeep.nouns import Baseline, Field, Policy, Signature, Version
from modelkeep.profile import LIFE, Floats, Life, Window
from modelkeep.quantities import DAY, HOUR
from modelkeep.watch.blocks import blocks
from modelkeep.watch.drift import _rot, ratio

YEAR, LABELS, SKILL = 365, 200, 0.3
WORLDS = ("quiet", "AR(.9)", "daily", "weekly", "heavy", "storms")
FALLS = (0.0, 0.2, 0.4, 0.8)
BEGINS = 120
NAMES = ("model", "persistence", "same_period", "ewma", "seasonal")


def remembered(draw: np.random.Generator, n: int, scale: float) -> Floats:
    """An AR(.9) series of standard deviation ``scale``."""
    found = np.zeros(n)
    for i in range(1, n):
        found[i] = 0.9 * found[i - 1] + draw.normal(0, scale * np.sqrt(1 - 0.81))
    return found


def life(world: str, *, fall: float, seed: int) -> Life:
    """A year, hour by hour."""
    draw = np.random.default_rng(seed)
    hours = np.arange(YEAR * 24) * HOUR
    day = np.arange(YEAR * 24) // 24
    common, own = np.zeros(YEAR), np.zeros(YEAR)
    if world == "AR(.9)":
        common, own = remembered(draw, YEAR, 0.3), remembered(draw, YEAR, 0.15)
    if world == "weekly":
        own += 0.2 * ((np.arange(YEAR) + 3) % 7 >= 5)
    if world == "storms":
        wild = draw.random(YEAR) < 1 / 30
        common, own = common + np.log(3) * wild, own + 0.4 * wild
    level = common[day]
    if world == "daily":
        level = level + 0.5 * np.sin(2 * np.pi * np.arange(YEAR * 24) / 24)
    n = draw.poisson(LABELS / 24, YEAR * 24)
    rows = np.repeat(np.arange(YEAR * 24), n)
    size = draw.standard_t(3, rows.size) if world == "heavy" else draw.normal(0, 1, rows.size)
    worse = level + own[day] - SKILL + fall * (day >= BEGINS)
    mine = np.exp(worse)[rows] * np.abs(size) * draw.lognormal(0, 0.4, rows.size)
    other = np.exp(level)[rows] * np.abs(size) * draw.lognormal(0, 0.4, rows.size)
    sums = np.zeros((YEAR * 24, len(NAMES), len(LIFE)))
    for place, losses in ((0, mine), (3, other)):
        sums[:, place, 0] = n
        for what in ("loss", "absolute"):
            sums[:, place, LIFE.index(what)] = np.bincount(rows, losses, YEAR * 24)
        sums[:, place, LIFE.index("square")] = np.bincount(rows, losses**2, YEAR * 24)
        sums[:, place, LIFE.index("truth")] = 10.0 * n
        sums[:, place, LIFE.index("truth_square")] = 101.0 * n
    return Life(names=NAMES, hours=hours, sums=sums)


def window(held: Life, *, day: int) -> Window:
    """What the watch sees at the end of a day."""
    output = Field(name="y", kind="number")
    version = Version(
        model="m", number=1, artifact="", size=1, runtime="none", signature=Signature(inputs=(), output=output),
        created=0.0, baseline=Baseline(),
    )  # fmt: skip
    cut = int(np.searchsorted(held.hours, day * DAY))
    part = Life(names=held.names, hours=held.hours[:cut], sums=held.sums[:cut])
    return Window(
        version=version, policy=Policy(model="m"), role="champion", start=(day - 7) * DAY, end=day * DAY, slices=(),
        life=part,
    )  # fmt: skip


def alarms(held: Life, *, every: int = 3) -> Iterator[int]:
    """The days on which an alarm begins, looked at every few days."""
    was = "ok"
    for day in range(10, YEAR + 1, every):
        seen = window(held, day=day)
        level = _rot(seen, blocks(seen)).level
        if level in {"warning", "critical"} and was not in {"warning", "critical"}:
            yield day
        was = level


def bare(held: Life) -> int:
    """How often the week's skill falls by a tenth below that of the first four weeks."""
    x, _ = ratio(blocks(window(held, day=YEAR)), "ewma")
    week = np.convolve(x, np.ones(7) / 7, "valid")
    low = week[28:] < x[:28].mean() - 0.1
    return int((low[1:] & ~low[:-1]).sum() + low[0])


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    head = "| world | false alarms a year | x1.22: days until found, share | x1.49 | x2.23 | a bare threshold a year |"
    print(head)
    print("|---|---|---|---|---|---|")
    for world in WORLDS:
        cells = []
        for fall in FALLS:
            days = [list(alarms(life(world, fall=fall, seed=seed))) for seed in range(runs)]
            if not fall:
                cells.append(f"{sum(map(len, days)) / runs:.2f}")
                continue
            late = [next((d - BEGINS for d in one if d >= BEGINS), None) for one in days]
            found = [d for d in late if d is not None]
            cells.append(f"{np.median(found):.0f}, {len(found) / runs:.0%}" if found else "never")
        simple = sum(bare(life(world, fall=0.0, seed=seed)) for seed in range(runs)) / runs
        print(f"| {world} | {' | '.join(cells)} | {simple:.1f} |", flush=True)


if __name__ == "__main__":
    main()
