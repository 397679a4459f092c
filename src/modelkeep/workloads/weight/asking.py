"""What is asked about an object, and what is answered."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from modelkeep.workloads.weight.prices import Price

Pixel = Annotated[float, Meta(ge=-100_000, le=100_000)]
Length = Annotated[float, Meta(gt=0, le=100_000)]
Side = Annotated[float, Meta(ge=1, le=100_000)]
View = Literal["", "top", "side"]
WeightUnit = Literal["g", "kg", "lb"]
LengthUnit = Literal["mm", "cm", "in"]
Label = Literal["High", "Medium", "Low", "Very low", "unknown"]


class Ask(Struct, frozen=True, kw_only=True):
    """What to estimate: a photo with the object's box, or boxes alone, or measurements; and what it is made of.

    Boxes are in pixels of the upright photo, left ``x0``, top ``y0``, right ``x1``, bottom ``y1``; ``cx0`` to ``cy1``
    are those of the reference object, which is looked for in the photo when they are absent (a coin only). ``second_``
    are boxes of a second photo, from the other side. ``reference`` names the reference object (``coin_25``,
    ``quarter``, ``euro_1``, ``business_card``, ...), or ``reference_mm`` is its width. ``length``, ``width``,
    ``height`` and ``thickness`` are in ``length_unit``. ``user`` is whom it is about; the estimate is kept when
    ``consent`` is true, or left out and the user has granted it. ``tier`` asks for low, medium or high; else that of
    ``request_class`` holds. ``price`` is per ``price_unit`` in ``currency`` instead of the table's.
    """

    photo: Annotated[bytes, Meta(description="JPEG, PNG, WebP or HEIC")] | None = None
    material: Annotated[str, Meta(max_length=100)] = ""
    shape: Annotated[str, Meta(description="prism, cylinder, pipe, irregular, sphere or sheet", max_length=20)] = ""
    view: View = ""
    x0: Pixel | None = None
    y0: Pixel | None = None
    x1: Pixel | None = None
    y1: Pixel | None = None
    reference: Annotated[str, Meta(max_length=40)] = ""
    reference_mm: Length | None = None
    cx0: Pixel | None = None
    cy0: Pixel | None = None
    cx1: Pixel | None = None
    cy1: Pixel | None = None
    image_width: Side | None = None
    image_height: Side | None = None
    second_view: View = ""
    second_x0: Pixel | None = None
    second_y0: Pixel | None = None
    second_x1: Pixel | None = None
    second_y1: Pixel | None = None
    second_cx0: Pixel | None = None
    second_cy0: Pixel | None = None
    second_cx1: Pixel | None = None
    second_cy1: Pixel | None = None
    second_image_width: Side | None = None
    second_image_height: Side | None = None
    length: Length | None = None
    width: Length | None = None
    height: Length | None = None
    thickness: Length | None = None
    length_unit: LengthUnit = "mm"
    unit: WeightUnit = "g"
    user: Annotated[str, Meta(max_length=200)] = ""
    consent: bool | None = None
    tier: Literal["", "low", "medium", "high"] = ""
    request_class: Annotated[str, Meta(max_length=100)] = ""
    price: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    price_unit: WeightUnit = "lb"
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] = "USD"


class MemberView(Struct, frozen=True, kw_only=True):
    """What one member of the ensemble answers, and its weight for an object known so well."""

    name: str
    estimate: float
    weight: float


class CheckView(Struct, frozen=True, kw_only=True):
    """One check of the photo: its value and the limits that it must lie within."""

    name: str
    value: float
    low: float | None
    high: float | None
    share: float
    passed: bool


class QualityView(Struct, frozen=True, kw_only=True):
    """Whether the photo can be used: 0.7 and more is good enough."""

    score: float
    passed: bool
    checks: tuple[CheckView, ...]


class BoxView(Struct, frozen=True, kw_only=True):
    """A box in pixels of the photo, and where it comes from: ``client`` or ``found`` (then with its probability)."""

    x0: float
    y0: float
    x1: float
    y1: float
    source: Literal["client", "found"]
    sure: float | None = None


class Estimate(Struct, frozen=True, kw_only=True):
    """An estimated weight in ``unit``, with its 90 % interval ``low`` to ``high``.

    ``confidence`` is the share of held-out objects, known as well as this one, whose weight was estimated within 20 %
    (null with a reason among ``factors`` when none was); ``confidence_label`` is High from 0.8, Medium from 0.6, Low
    from 0.4. ``method`` says who answered, ``factors`` why, ``suggestions`` what would make it better.
    ``please_weigh`` is true when the estimate should not be paid by. ``prediction_id`` is what the weighed outcome is
    told by (null when nothing was kept: ``not_recorded`` says why).
    """

    estimate: float
    unit: WeightUnit
    low: float | None
    high: float | None
    confidence: float | None
    confidence_label: Label
    please_weigh: bool
    method: str
    factors: tuple[str, ...]
    suggestions: tuple[str, ...]
    members: tuple[MemberView, ...]
    price: Price
    quality: QualityView | None
    reference_box: BoxView | None
    tier: str
    preprocessing: str
    model_version: str
    prediction_id: str | None
    recorded: bool
    not_recorded: str
    milliseconds: float
    timestamp: datetime
