"""What a request says about an object, as the numbers that the members of the ensemble take.

This one file is packed with every version, the tables that training fitted in place of ``FITTED``: feature code and its
constants roll back with their model. It needs nothing but Python.

Lengths are mm, volumes cm3, weights g; everything that a model takes is a natural logarithm, because errors of a
weight are shares of it. Shape factors, thicknesses and densities of metals are those of the K&L Recycling guide; a
photo without a shape is read as an ellipsoid, whose volume is pi/6 of its box (Archimedes).
"""

import math
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]

FITTED: Row = {}

REFERENCES: dict[str, tuple[float, float]] = {
    "quarter": (24.257, 24.257),
    "penny": (19.05, 19.05),
    "nickel": (21.209, 21.209),
    "dime": (17.907, 17.907),
    "euro_1_cent": (16.25, 16.25),
    "euro_2_cent": (18.75, 18.75),
    "euro_5_cent": (21.25, 21.25),
    "euro_10_cent": (19.75, 19.75),
    "euro_20_cent": (22.25, 22.25),
    "euro_50_cent": (24.25, 24.25),
    "euro_1": (23.25, 23.25),
    "euro_2": (25.75, 25.75),
    "coin_25": (25.0, 25.0),
    "business_card": (88.9, 50.8),
    "ruler": (152.4, 25.4),
}
"""True size of each reference object in mm, longer side first. coin_25 is the coin of 25.0 mm of the ECUSTFD photos."""

DENSITIES: dict[str, float] = {
    "steel": 7.833,
    "stainless": 8.027,
    "aluminum": 2.713,
    "copper": 8.941,
    "brass": 8.415,
    "iron": 7.197,
    "zinc": 7.086,
    "tin": 7.390,
    "lead": 11.404,
    "titanium": 4.512,
    "bronze": 8.774,
}
"""g/cm3: the guide's lb/in3 times 27.68."""

SHAPES: dict[str, float] = {"prism": 1.0, "cylinder": 0.785, "pipe": 0.688, "irregular": 0.75, "sphere": 0.524}
"""The share of its box that a shape fills; a thin ``sheet`` is its area times its thickness, with 0.85 of it filled."""

THICKNESS: dict[str, float] = {
    "aluminum": 1.5875,
    "steel": 3.175,
    "copper": 3.175,
    "brass": 3.175,
    "zinc": 2.38,
    "stainless": 2.38,
}
"""mm of a sheet of each metal; any other 6.35."""

NAMES: dict[str, str] = {
    "aluminium": "aluminum",
    "stainless steel": "stainless",
    "stainless_steel": "stainless",
    "": "unknown",
}
BOTH = " both"
FEW = 3
"""A material with fewer weighed objects than this is known only roughly."""
ROUND = 1.6
"""A coin whose box is longer than wide by more than this was boxed wrongly, or photographed from too low."""
SMALLEST = 8.0
"""A reference of fewer pixels than this tells no scale."""
CROP = 0.5
"""Boxes of object and reference that share more than this are one and the same thing."""


def features(row: Row) -> Row:
    """The members' inputs of one request row; None is what cannot be known.

    Args:
        row: The request's fields by name (see ``columns.py``); absent ones count as None.

    Returns:
        ``trust`` says what the estimate can stand on: ``known``, ``few`` (fewer than three weighed objects of the
        material), ``listed`` (none, but its density stands in a table) or ``new`` (neither), with " both" behind it for
        two views; or ``scale`` (no usable size).
    """
    return inputs(row, size_of(row), fitted=FITTED)


def inputs(row: Row, size: Row, *, fitted: Row) -> Row:
    """The same from the row's sizes and the tables that training fitted."""
    material = material_of(row)
    found = {
        "material": material,
        "kind": size["kind"],
        "side": 1.0 if size["kind"] == "side" else 0.0,
        "material_kind": material + "|" + size["kind"],
        "long": size["long"],
        "short": size["short"],
        "third": size["third"],
        "volume": size["volume"],
        "flat": None if size["long"] is None else size["long"] - size["short"],
        "coin": size["coin"],
        "coin_ratio": size["coin_ratio"],
        "drop": size["drop"],
    }
    return found | _known(material, size, fitted=fitted)


def material_of(row: Row) -> str:
    """The material's name: lower case, spelled one way, ``unknown`` when the row has none.

    >>> material_of({"material": " Aluminium "})
    'aluminum'
    """
    name = " ".join(str(row.get("material") or "").lower().split())
    return NAMES.get(name, name)


def size_of(row: Row) -> Row:
    """Log sizes of the object: from measurements when the row has them, else from boxes and a reference.

    >>> size_of({"length_mm": 100.0, "width_mm": 50.0, "height_mm": 20.0})["kind"]
    'measured'
    """
    measured = [row.get(name) for name in ("length_mm", "width_mm", "height_mm")]
    known = sorted((value for value in measured if value), reverse=True)
    if len(known) >= 2:
        return _sized("measured", known, row=row)
    first = photo_of(row, "")
    if first is None or first["fault"]:
        return _unsized()
    second = photo_of(row, "second_")
    if second is not None and not second["fault"] and {first["view"], second["view"]} == {"top", "side"}:
        top, side = (first, second) if first["view"] == "top" else (second, first)
        return _sized("both", [*_sorted(top), side["high"]], row=row) | _geometry(top)
    return _sized(first["view"], _sorted(first), row=row) | _geometry(first)


def photo_of(row: Row, prefix: str) -> Row | None:
    """Size and place of an object in one photo, or None without its boxes; ``fault`` says why it tells no scale."""
    box: list[Any] = [row.get(prefix + name) for name in ("x0", "y0", "x1", "y1")]
    coin: list[Any] = [row.get(prefix + name) for name in ("cx0", "cy0", "cx1", "cy1")]
    if any(value is None for value in (*box, *coin)):
        return None
    wide, high = box[2] - box[0], box[3] - box[1]
    across, down = coin[2] - coin[0], coin[3] - coin[1]
    view = row.get(prefix + "view") or ("side" if prefix else "top")
    bare = {"view": view, "fault": "", "wide": 0.0, "high": 0.0, "coin": 0.0, "coin_ratio": 0.0, "drop": 0.0}
    size = _reference(row)
    fault = _fault(box, coin, size=size)
    if fault or size is None:
        return bare | {"fault": fault}
    scale = math.sqrt(across * down / (size[0] * size[1]))
    if size[0] != size[1]:
        scale = max(across, down) / size[0]
    width, height = row.get(prefix + "image_width"), row.get(prefix + "image_height")
    diagonal = math.hypot(width, height) if width and height else None
    return bare | {
        "wide": wide / scale,
        "high": high / scale,
        "coin": None if diagonal is None else math.log(scale * 25.0 / diagonal),
        "coin_ratio": math.log(across / down) if size[0] == size[1] else 0.0,
        "drop": (box[3] - coin[3]) / (scale * 25.0),
    }


def _fault(box: list[float], coin: list[float], *, size: tuple[float, float] | None) -> str:
    """Why boxes tell no scale, or an empty text."""
    across, down = coin[2] - coin[0], coin[3] - coin[1]
    measured = f"{across:.0f} x {down:.0f} pixels"
    found = ""
    if box[2] <= box[0] or box[3] <= box[1]:
        found = "the object's box has no area"
    elif size is None:
        found = "the size of the reference is not known"
    elif min(across, down) < SMALLEST:
        found = f"the reference measures {measured}, less than {SMALLEST:g}"
    elif size[0] == size[1] and max(across, down) > ROUND * min(across, down):
        found = f"the box of the round reference measures {measured}: it is not round"
    elif _shared(box, coin) > CROP:
        found = "object and reference have the same box"
    return found


def _reference(row: Row) -> tuple[float, float] | None:
    own = row.get("reference_mm")
    if own:
        return (own, own)
    return REFERENCES.get(row.get("reference") or "")


def _shared(one: list[float], other: list[float]) -> float:
    """Intersection over union of two boxes."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return across * down / (sum(areas) - across * down)


def _sorted(photo: Row) -> list[float]:
    return sorted((photo["wide"], photo["high"]), reverse=True)


def _geometry(photo: Row) -> Row:
    return {name: photo[name] for name in ("coin", "coin_ratio", "drop")}


def _unsized() -> Row:
    names = ("long", "short", "third", "volume", "coin", "coin_ratio", "drop")
    return {"kind": "none"} | dict.fromkeys(names)


def _sized(kind: str, sizes: list[float], *, row: Row) -> Row:
    """Sizes in mm (two or three) as logs, with the log of the volume in cm3 that the shape gives them."""
    long, short = sizes[0], sizes[1]
    third = sizes[2] if len(sizes) > 2 else None
    deep = short if third is None else third
    shape = row.get("shape") or ""
    volume = long * short * deep * SHAPES.get(shape, math.pi / 6)
    if shape == "sheet":
        volume = long * short * 0.85 * (row.get("thickness_mm") or THICKNESS.get(material_of(row), 6.35))
    return _unsized() | {
        "kind": kind,
        "long": math.log(long),
        "short": math.log(short),
        "third": None if third is None else math.log(third),
        "volume": math.log(volume / 1000.0),
    }


# ------------------------------------------------------------------------------------- what training fitted


def _known(material: str, size: Row, *, fitted: Row) -> Row:
    """What the fitted tables add: the physics, the material's usual weight, both together, and the trust."""
    density, usual = fitted.get("density", {}), fitted.get("usual", {})
    known = material in usual
    typical = usual.get(material) or usual.get("", (0.0, 1.0))
    objects = fitted.get("objects", {}).get(material, 0)
    trust = "known" if objects >= FEW else "few" if objects else "listed" if material in DENSITIES else "new"
    found = {"typical": typical[0], "code": fitted.get("codes", {}).get(material)}
    if size["volume"] is None:
        return found | {"physics": typical[0], "balanced": typical[0], "above": None, "trust": "scale"}
    kind = size["kind"]
    physics = size["volume"] + density.get(material, density.get("", math.log(DENSITIES.get(material, 1.0))))
    physics += fitted.get("kinds", {}).get(kind, 0.0) + fitted.get("pairs", {}).get(material + "|" + kind, 0.0)
    balanced = balance(physics, typical, noise=fitted.get("noise", {}).get(kind, 0.2)) if known else physics
    above = physics - typical[0] if known else None
    return found | {"physics": physics, "balanced": balanced, "above": above, "trust": trust + BOTH * (kind == "both")}


def balance(
    physics: float, typical: tuple[float, float], *, noise: float, odd: float = 0.25, wide: float = 0.8
) -> float:
    """The expected log weight given what physics says and what objects of the material usually weigh (Bayes' rule).

    Physics errs by ``noise``; the usual log weight is ``typical`` = (mean, spread). A share ``odd`` of objects is not
    usual: their spread is ``wide``, so that an object twice as large as the others is believed to be large.
    """
    mean, spread = typical
    weights, means = [], []
    for share, variance in ((1.0 - odd, spread * spread), (odd, wide * wide)):
        total = variance + noise * noise
        weights.append(share * math.exp(-0.5 * (physics - mean) ** 2 / total) / math.sqrt(total))
        means.append((physics * variance + mean * noise * noise) / total)
    whole = sum(weights)
    if whole < 1e-12:
        return means[1]
    return sum(weight * value for weight, value in zip(weights, means, strict=True)) / whole
