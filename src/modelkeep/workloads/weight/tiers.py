"""Quality tiers: how closely photos are looked at, by the memory of the phone or by what the owner has set."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from modelkeep import Field

if TYPE_CHECKING:
    from modelkeep import Dataset, Rooms

Name = Literal["low", "medium", "high"]
MEMORY: tuple[tuple[float, Name], ...] = ((512.0, "low"), (1024.0, "medium"))
"""Below so many MB of memory the tier is this; high above. From the guide's memory tiers."""
ALL = "all"


class Tier(Struct, frozen=True, kw_only=True):
    """One tier.

    ``pixels`` is the longer side at which a photo is looked at, ``shortest`` what the shorter side of the photo must
    have; with ``advanced`` preprocessing a photo in which no coin is found is evened out and looked at again.
    """

    name: Name
    pixels: int
    shortest: int
    preprocessing: Literal["simple", "advanced"]


TIERS: Mapping[str, Tier] = {
    "low": Tier(name="low", pixels=384, shortest=320, preprocessing="simple"),
    "medium": Tier(name="medium", pixels=512, shortest=480, preprocessing="advanced"),
    "high": Tier(name="high", pixels=768, shortest=640, preprocessing="advanced"),
}

COLUMNS = (
    Field(name="request_class", kind="text"),
    Field(name="tier", kind="text"),
    Field(name="by", kind="text", nullable=True),
)


def settings(rooms: "Rooms") -> "Dataset":
    """Which tier was set for which class of requests, when and by whom."""
    return rooms.datasets.open("weight.tiers", columns=COLUMNS, time="at", key=("request_class", "at"))


def tier_of(rooms: "Rooms", *, asked: str = "", request_class: str = "") -> Tier:
    """The tier of a request: the one that it asks for, that of its class, that of all, else high."""
    if asked:
        return TIERS[asked]
    data = settings(rooms)
    if data.revision:
        newest = data.latest(by=("request_class",))
        known = dict(zip(newest["request_class"], newest["tier"], strict=True))
        return TIERS[str(known.get(request_class) or known.get(ALL) or "high")]
    return TIERS["high"]


def of_memory(megabytes: float) -> Tier:
    """The tier that a phone of so much memory can bear.

    >>> of_memory(480).name
    'low'
    """
    return TIERS[next((name for below, name in MEMORY if megabytes < below), "high")]
