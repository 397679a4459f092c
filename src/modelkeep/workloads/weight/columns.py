"""What a table or a request says about an object: columns, their units, and the other names under which they come."""

from collections.abc import Mapping

from msgspec import structs

from modelkeep import Field
from modelkeep.workloads.weight.features import REFERENCES, SHAPES

BOX = ("x0", "y0", "x1", "y1")
COIN = ("cx0", "cy0", "cx1", "cy1")
VIEWS = ("top", "side")
GRAMS: Mapping[str, float] = {
    "g": 1.0,
    "kg": 1000.0,
    "lb": 453.59237,
    "oz": 28.349523125,
    "mg": 0.001,
    "t": 1_000_000.0,
    "ct": 0.2,
}
"""Grams in a unit of weight; ct is the metric carat."""
MILLIMETRES: Mapping[str, float] = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "in": 25.4, "ft": 304.8}
SPELLED: Mapping[str, str] = {
    "gram": "g",
    "grams": "g",
    "kilogram": "kg",
    "kilograms": "kg",
    "lbs": "lb",
    "pound": "lb",
    "pounds": "lb",
    "ounce": "oz",
    "ounces": "oz",
    "carat": "ct",
    "carats": "ct",
    "inch": "in",
    "inches": "in",
}
WEIGHTS = (0.001, 100_000_000.0)
"""Grams that a weight may have: a milligram to a hundred tonnes."""
LENGTHS = (0.01, 100_000.0)


def _pixel(name: str) -> Field:
    return Field(name=name, kind="number", unit="px", low=-100_000.0, high=100_000.0, nullable=True)


def _length(name: str) -> Field:
    return Field(name=name, kind="number", unit="mm", low=LENGTHS[0], high=LENGTHS[1], nullable=True)


def _size(name: str) -> Field:
    return Field(name=name, kind="number", unit="px", low=1.0, high=100_000.0, nullable=True)


def _view(name: str) -> Field:
    return Field(name=name, kind="category", categories=VIEWS, nullable=True)


INPUTS: tuple[Field, ...] = (
    Field(name="material", kind="category", nullable=True),
    Field(name="shape", kind="category", categories=(*SHAPES, "sheet"), nullable=True),
    _length("length_mm"),
    _length("width_mm"),
    _length("height_mm"),
    _length("thickness_mm"),
    Field(name="reference", kind="category", categories=tuple(REFERENCES), nullable=True),
    _length("reference_mm"),
    _view("view"),
    *(_pixel(name) for name in (*BOX, *COIN)),
    _size("image_width"),
    _size("image_height"),
    _view("second_view"),
    *(_pixel(f"second_{name}") for name in (*BOX, *COIN)),
    _size("second_image_width"),
    _size("second_image_height"),
)
"""What the model takes: measurements, or boxes of object and reference in one or two photos; and the material."""

WEIGHT = Field(name="weight_g", kind="number", unit="g", low=WEIGHTS[0], high=WEIGHTS[1])

COLUMNS: tuple[Field, ...] = (
    structs.replace(WEIGHT, nullable=True),
    *(Field(name=f"weight_{unit}", kind="number", unit=unit, nullable=True) for unit in GRAMS if unit != "g"),
    Field(name="weight", kind="number", nullable=True),
    Field(name="unit", kind="category", categories=tuple(GRAMS), nullable=True),
    *INPUTS,
    *(
        Field(name=f"{side}{'_' * bool(unit)}{unit}", kind="number", unit=unit or "mm", nullable=True)
        for side in ("length", "width", "height")
        for unit in ("", *MILLIMETRES)
        if unit != "mm"
    ),
    Field(name="object_id", kind="text", nullable=True),
    Field(name="asked", kind="number", unit="s", nullable=True),
    Field(name="weighed", kind="number", unit="s", nullable=True),
)
"""What a table may hold: the weight (in one unit or another), inputs, which object it is, when it was seen and weighed.
"""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "material": ("type", "species", "category"),
    "object_id": ("entity", "object", "id"),
    "asked": ("event_time", "timestamp", "at", "time"),
    "weighed": ("label_time", "told"),
    "image_width": ("img_w",),
    "image_height": ("img_h",),
}
"""Other names of a column, tried in order when the table lacks its own."""
MEASURES: Mapping[str, tuple[str, ...]] = {
    "length_mm": ("length",),
    "width_mm": ("width",),
    "height_mm": ("height", "depth"),
    "thickness_mm": ("thickness",),
    "reference_mm": ("reference",),
}


def unit_of(text: str) -> str:
    """A unit spelled one way.

    >>> unit_of(" Pounds ")
    'lb'
    """
    name = text.strip().lower()
    return SPELLED.get(name, name)
