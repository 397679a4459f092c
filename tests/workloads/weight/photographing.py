"""Photos that are drawn, and where the real ones are."""

import io
import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

OBJECT = (250, 260, 700, 620)
COIN = (980, 700, 1060, 780)


def shared(name: str) -> Path:
    """A file of the shared data; skips by its name where it is absent."""
    named = os.environ.get("PUBLIC_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[4] / "shared" / "data"
    path = folder / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return path


def picture(*, coin: bool = True, dark: float = 1.0, blur: float = 0.0, size: tuple[int, int] = (1280, 960)):
    """A table with an object and a coin, as RGB pixels."""
    image = _table(size).copy()
    cv2.ellipse(image, (475, 440), (225, 180), 0, 0, 360, (30, 40, 90), -1)
    if coin:
        cv2.circle(image, (1020, 740), 40, (190, 190, 195), -1)
        cv2.circle(image, (1020, 740), 40, (120, 120, 125), 2)
        cv2.putText(image, "1", (1006, 755), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (165, 165, 170), 3)
    if blur:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    return np.clip(image * dark, 0, 255).astype(np.uint8)


@cache
def _table(size: tuple[int, int]):
    """A table's grain."""
    width, height = size
    image = np.full((height, width, 3), (176, 128, 74), dtype=np.uint8)
    return np.clip(image + np.random.default_rng(7).normal(0, 3, image.shape), 0, 255).astype(np.uint8)


@cache
def photograph(*, kind: str = "JPEG", exif: bytes = b"", **how) -> bytes:
    """The picture as a file."""
    out = io.BytesIO()
    extra = {"exif": exif} if exif else {}
    Image.fromarray(picture(**how)).save(out, kind, quality=92, **extra)
    return out.getvalue()


def located(text: bytes = b"GPS-SECRET-PLACE") -> bytes:
    """EXIF with a place and a maker's note."""
    exif = Image.Exif()
    exif[270] = text.decode()
    exif[274] = 1
    place = exif.get_ifd(34853)
    place[1], place[2] = "N", (32.0, 21.0, 5.1)
    exif[34853] = place
    return exif.tobytes()
