"""A photo as it comes in: decoded with care, turned upright, and measured for whether it can be used.

Nothing but pixels leaves this module: EXIF, and the place where the photo was taken with it, ends here.
"""

import importlib
import io
import warnings
from typing import Any, TypeAlias

import cv2
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from modelkeep import BadInput
from modelkeep.workloads.weight.tiers import Tier

Pixels: TypeAlias = NDArray[np.uint8]

MOST_BYTES = 20 * 2**20
MOST_PIXELS = 50_000_000
KINDS = ("JPEG", "PNG", "WEBP")
HEIC = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"mif1", b"msf1", b"avif"})
PASS = 0.7
LOOKED_AT = 512
"""The longer side at which quality is measured, so that its limits mean the same for every camera."""


class Photo(Struct, frozen=True, kw_only=True):
    """An upright photo: its pixels (height, width, 3) as RGB, at most ``tier.pixels`` on the longer side.

    ``width`` and ``height`` are those of the upright original; ``scale`` is pixels here per pixel there.
    """

    pixels: Any
    width: int
    height: int
    scale: float
    format: str


class Check(Struct, frozen=True, kw_only=True):
    """One check of a photo: its value, the limits that it must lie within, and its share of the score."""

    name: str
    value: float
    low: float | None
    high: float | None
    share: float
    passed: bool


class Quality(Struct, frozen=True, kw_only=True):
    """Whether a photo can be used: the sum of the shares of the checks that passed; 0.7 and more is good enough."""

    score: float
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)


LIMITS: dict[str, tuple[float, float | None, float]] = {
    "brightness": (0.12, 0.92, 0.2),
    "contrast": (0.06, None, 0.2),
    "blur": (12.0, None, 0.3),
    "saturation": (0.01, 0.9, 0.2),
    "reference": (0.3, None, 0.1),
}
"""Least, most, and share of the score, of each check. The shares are the guide's."""


def decode(data: bytes, tier: Tier) -> Photo:
    """Decode a photo.

    Args:
        data: JPEG, PNG, WebP, or HEIC where the package ``pillow-heif`` is installed.
        tier: Says how large it is looked at, and how small it may be.

    Raises:
        BadInput: What is wrong: too large a file, not a photo or another kind, broken or cut off, too many pixels (a
            decompression bomb), too small.
    """
    if len(data) > MOST_BYTES:
        raise BadInput.of("photo", expected=f"at most {MOST_BYTES:,} bytes", got=f"{len(data):,}")
    image, kind = _opened(data)
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise BadInput.of("photo", expected=f"at most {MOST_PIXELS:,} pixels", got=f"{width} x {height}")
    if min(width, height) < tier.shortest:
        raise BadInput.of(
            "photo",
            expected=f"a shorter side of at least {tier.shortest} pixels (tier {tier.name})",
            got=f"{width} x {height}",
            remedy="send the original photo, or ask for the tier low",
        )
    turned = image.getexif().get(274) in {5, 6, 7, 8}
    image.draft("RGB", (tier.pixels, tier.pixels))  # a JPEG is decoded at a half, a quarter or an eighth
    try:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError) as broken:
        raise BadInput.of("photo", expected="a whole file", got=f"a {kind} that breaks off: {broken}") from None
    if turned:
        width, height = height, width
    return _shrunk(np.asarray(upright, dtype=np.uint8), tier, width=width, height=height, kind=kind)


def _opened(data: bytes) -> tuple[Image.Image, str]:
    kinds: tuple[str, ...] = KINDS
    if data[4:8] == b"ftyp" and data[8:12] in HEIC:
        _learn_heic()
        kinds = ("HEIF",)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is checked by our own number
            image = Image.open(io.BytesIO(data), formats=kinds)
    except Image.DecompressionBombError as bomb:
        raise BadInput.of("photo", expected=f"at most {MOST_PIXELS:,} pixels", got=str(bomb)[:60]) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as wrong:
        raise BadInput.of(
            "photo", expected="a JPEG, PNG, WebP or HEIC photo", got=f"{_start(data)} ({type(wrong).__name__})"
        ) from None
    return image, image.format or kinds[0]


def _learn_heic() -> None:
    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError:
        raise BadInput.of(
            "photo",
            expected="a JPEG, PNG or WebP photo",
            got="a HEIC photo, which needs the package pillow-heif",
            remedy="pip install modelkeep[weight], or let the phone send JPEG ('Most Compatible')",
        ) from None
    heif.register_heif_opener()


def _start(data: bytes) -> str:
    return f"{len(data)} bytes that begin with {data[:4].hex(' ') or 'nothing'}"


def _shrunk(pixels: Pixels, tier: Tier, *, width: int, height: int, kind: str) -> Photo:
    here = max(pixels.shape[:2])
    if here > tier.pixels:
        size = tuple(max(1, round(side * tier.pixels / here)) for side in (pixels.shape[1], pixels.shape[0]))
        pixels = np.asarray(cv2.resize(pixels, (size[0], size[1]), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    scale = max(pixels.shape[:2]) / max(width, height)
    return Photo(pixels=pixels, width=width, height=height, scale=scale, format=kind)


def quality(photo: Photo, *, reference: float) -> Quality:
    """Measure a photo; ``reference`` is how sure it is that a reference object is in it (1 when its box was given).

    Brightness and saturation are means (0..1), contrast the deviation of brightness, blur the variance of Laplace's
    operator at 512 pixels: little of it is much blur (Pech-Pacheco et al. 2000).
    """
    pixels = np.asarray(photo.pixels)
    if max(pixels.shape[:2]) > LOOKED_AT:
        by = LOOKED_AT / max(pixels.shape[:2])
        pixels = np.asarray(cv2.resize(pixels, None, fx=by, fy=by, interpolation=cv2.INTER_AREA))
    gray = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.float64)
    colour = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV))[:, :, 1]
    values = {
        "brightness": float(gray.mean()) / 255.0,
        "contrast": float(gray.std()) / 255.0,
        "blur": float(cv2.Laplacian(gray, cv2.CV_64F).var()),
        "saturation": float(colour.mean()) / 255.0,
        "reference": reference,
    }
    checks = tuple(_check(name, values[name]) for name in LIMITS)
    return Quality(score=round(sum(check.share for check in checks if check.passed), 6), checks=checks)


def _check(name: str, value: float) -> Check:
    low, high, share = LIMITS[name]
    passed = value >= low and (high is None or value <= high)
    return Check(name=name, value=round(value, 4), low=low, high=high, share=share, passed=passed)
