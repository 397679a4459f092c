"""Tiers and the profile of a device."""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from modelkeep import Operation
from modelkeep.workloads.weight.tiers import ALL, TIERS, of_memory, settings, tier_of

if TYPE_CHECKING:
    from modelkeep import App

TierName = Literal["low", "medium", "high"]
THREADS = {"low": 1, "medium": 2, "high": 4}


class SetTier(Struct, frozen=True, kw_only=True):
    """Which tier holds from now on, for one class of requests or for all."""

    tier: TierName
    request_class: Annotated[str, Meta(description="A class of requests; all without it", max_length=100)] = ALL
    by: Annotated[str, Meta(max_length=200)] = ""


class TierView(Struct, frozen=True, kw_only=True):
    """A tier: at how many pixels photos are looked at, how small they may be, and how they are prepared."""

    request_class: str
    tier: TierName
    pixels: int
    shortest: int
    preprocessing: Literal["simple", "advanced"]


class Device(Struct, frozen=True, kw_only=True):
    """What a device has: memory in MB, kinds of acceleration, processor cores."""

    memory_mb: Annotated[float, Meta(ge=1, le=10_000_000)]
    nnapi: bool = False
    metal: bool = False
    gpu: bool = False
    cores: Annotated[int, Meta(ge=1, le=1024)] = 4


class DeviceProfile(Struct, frozen=True, kw_only=True):
    """What suits the device: the tier to ask for, which acceleration to turn on, and how many threads to use."""

    tier: TierName
    preprocessing: Literal["simple", "advanced"]
    pixels: int
    nnapi_enabled: bool
    metal_enabled: bool
    gpu_enabled: bool
    threads: int


def set_tier(app: "App", request: SetTier) -> TierView:
    """Set the tier of a class of requests, or of all that name none; it holds from the next estimate on."""
    settings(app.rooms).append(
        {
            "at": [app.rooms.clock.now()],
            "request_class": [request.request_class or ALL],
            "tier": [request.tier],
            "by": [request.by],
        }
    )
    tier = tier_of(app.rooms, request_class=request.request_class)
    return TierView(
        request_class=request.request_class or ALL,
        tier=tier.name,
        pixels=tier.pixels,
        shortest=tier.shortest,
        preprocessing=tier.preprocessing,
    )


def profile(_: "App", request: Device) -> DeviceProfile:
    """Say which tier suits a device, which acceleration to turn on, and how many threads to use.

    Below 512 MB it is low with simple preprocessing, below 1,024 MB medium, else high.
    """
    tier = of_memory(request.memory_mb)
    return DeviceProfile(
        tier=tier.name,
        preprocessing=TIERS[tier.name].preprocessing,
        pixels=tier.pixels,
        nnapi_enabled=request.nnapi,
        metal_enabled=request.metal,
        gpu_enabled=request.gpu,
        threads=max(1, min(THREADS[tier.name], request.cores)),
    )


OPERATIONS = (
    Operation(
        name="weight_set_tier",
        method="PUT",
        path="/api/weight/tier",
        request=SetTier,
        result=TierView,
        run=set_tier,
        plain=("tier",),
    ),
    Operation(
        name="weight_device_profile",
        method="POST",
        path="/v1/device-profile",
        request=Device,
        result=DeviceProfile,
        run=profile,
    ),
)
