"""Simulated scrap, photographed by sellers and weighed by the yard a day later. Nothing here is real.

An object is a metal, a shape and three lengths; its weight is density times the volume of the shape, less what is
hollow or cut away. A photo is taken with a pin-hole camera from 0.4 to 0.9 m: what stands nearer than the coin looks
larger (perspective), boxes are drawn a little off, and the coin's box, being small, is off by more of itself.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct

from modelkeep import Value
from modelkeep.workloads.weight.features import DENSITIES, REFERENCES, SHAPES, THICKNESS

DAY = 86400.0
START = 1_735_689_600.0
"""2025-01-01T00:00:00Z: the first simulated day."""
METALS: dict[str, tuple[float, float]] = {
    "steel": (60.0, 260.0),
    "aluminum": (50.0, 240.0),
    "copper": (40.0, 160.0),
    "brass": (30.0, 140.0),
    "zinc": (40.0, 150.0),
    "stainless": (50.0, 220.0),
    "iron": (60.0, 240.0),
    "lead": (30.0, 110.0),
}
"""The longest side of objects of each metal, mm, from and to."""
KINDS = (*SHAPES, "sheet")
WIDTH, HEIGHT, FOCAL = 1600, 1200, 1450.0
COIN = "quarter"
HOLLOW = 0.12
DRAWN = 2.5
"""Boxes are off by so many pixels (standard deviation) on each side."""


class Thing(Struct, frozen=True, kw_only=True):
    """One piece of scrap: its metal, shape, lengths (mm) and true weight (g)."""

    name: str
    metal: str
    shape: str
    sizes: tuple[float, float, float]
    grams: float


def simulate(rows: int, seed: int) -> dict[str, list[Value]]:
    """Photos of simulated scrap with the weights that a yard found.

    Args:
        rows: How many photos; an object has up to six.
        seed: The same seed gives the same table.

    Returns:
        Columns as the recipe names them, by time.
    """
    draw = np.random.default_rng(seed)
    found: list[dict[str, Value]] = []
    number = 0
    while len(found) < rows:
        one = thing(seed, number)
        at = START + number * DAY / 12 + float(draw.uniform(0, 3600))
        found += [
            row | {"object_id": one.name, "weight_g": one.grams, "asked": at + 60 * i, "weighed": at + DAY}
            for i, row in enumerate(photos(one, int(draw.integers(1, 7)), seed=seed + number))
        ]
        number += 1
    found = found[:rows]
    return {name: [row[name] for row in found] for name in found[0]}


def thing(seed: int, number: int, *, metals: Sequence[str] = tuple(METALS)) -> Thing:
    """The piece of scrap ``number`` of a seed."""
    draw = np.random.default_rng((seed, number))
    metal = metals[int(draw.integers(len(metals)))]
    shape = KINDS[int(draw.integers(len(KINDS)))]
    low, high = METALS[metal]
    long = float(np.exp(draw.uniform(math.log(low), math.log(high))))
    wide = long * float(draw.uniform(0.5, 0.9))
    deep = wide * float(draw.uniform(0.6, 1.0))
    if shape == "sphere":
        wide = deep = long
    if shape in {"cylinder", "pipe"}:
        deep = wide
    if shape == "sheet":
        deep = THICKNESS.get(metal, 6.35) * float(draw.uniform(0.7, 1.3))
    filled = SHAPES.get(shape, 0.85) * float(np.exp(draw.normal(0.0, HOLLOW)))
    grams = DENSITIES[metal] * long * wide * deep / 1000.0 * min(filled, 1.0)
    sizes = sorted((long, wide, deep), reverse=True)
    return Thing(
        name=f"scrap-{number:05d}",
        metal=metal,
        shape=shape,
        sizes=(sizes[0], sizes[1], sizes[2]),
        grams=round(max(grams, 1.0), 1),
    )


def photos(one: Thing, count: int, *, seed: int) -> Iterator[dict[str, Value]]:
    """Request rows of so many photos of a piece, from above and from the side by turns."""
    draw = np.random.default_rng((seed, count, 17))
    for number in range(count):
        view = "top" if number % 2 == 0 or one.shape == "sheet" else "side"  # a sheet shows its area from above
        long, wide, deep = one.sizes
        across, along, towards = (long, wide, deep) if view == "top" else (long, deep, wide)
        distance = float(draw.uniform(400.0, 900.0))
        near = FOCAL / max(distance - towards / 2, 150.0)  # the object's middle is nearer than the table or wall
        coin = REFERENCES[COIN][0] * FOCAL / distance
        yield {
            "material": one.metal,
            "shape": one.shape,
            "view": view,
            "reference": COIN,
            "image_width": float(WIDTH),
            "image_height": float(HEIGHT),
            **_box(("x0", "y0", "x1", "y1"), (700.0, 600.0), size=(across * near, along * near), draw=draw),
            **_box(("cx0", "cy0", "cx1", "cy1"), (1300.0, 900.0), size=(coin, coin), draw=draw),
        }


def _box(
    names: Sequence[str], middle: tuple[float, float], *, size: tuple[float, float], draw: np.random.Generator
) -> dict[str, Value]:
    (x, y), (across, down) = middle, size
    sides = (x - across / 2, y - down / 2, x + across / 2, y + down / 2)
    off = draw.normal(0.0, DRAWN, 4)
    return {name: round(side + float(o), 1) for name, side, o in zip(names, sides, off, strict=True)}
