"""Photos: decoded with care, stripped of where they were taken, refused by name; the coin is found or it is not."""

import io
import statistics
import tarfile
import time

import cv2
import numpy as np
import pytest
from msgspec import structs
from photographing import COIN, OBJECT, located, photograph, picture, shared
from PIL import Image

from modelkeep import BadInput, read_table
from modelkeep.workloads.weight.coins import find_coin
from modelkeep.workloads.weight.photos import decode, quality
from modelkeep.workloads.weight.tiers import TIERS, of_memory

HIGH, LOW = TIERS["high"], TIERS["low"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_is_decoded_and_made_as_small_as_the_tier_looks_at_it(kind):
    photo = decode(photograph(kind=kind), HIGH)
    assert photo.pixels.shape == (576, 768, 3)
    assert (photo.width, photo.height, photo.format) == (1280, 960, kind)
    assert photo.scale == pytest.approx(0.6)


def test_heic_is_decoded():
    heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    heif.from_pillow(Image.fromarray(picture())).save(out, format="HEIF")
    assert decode(out.getvalue(), HIGH).format == "HEIF"


def test_heic_without_its_package_is_refused_by_name(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(BadInput, match="HEIC photo, which needs the package pillow-heif"):
        decode(b"\0\0\0\x18ftypheic" + bytes(100), HIGH)


def test_a_photo_taken_upright_is_turned_upright():
    exif = Image.Exif()
    exif[274] = 6
    photo = decode(photograph(exif=exif.tobytes()), HIGH)
    assert (photo.width, photo.height) == (960, 1280)
    assert photo.pixels.shape == (768, 576, 3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0 bytes that begin with nothing"),
        (b"%PDF-1.7 whatever", "a JPEG, PNG, WebP or HEIC photo"),
        (b"GIF89a" + bytes(50), "47 49 46 38"),
        (bytes(20 * 2**20 + 1), "at most 20,971,520 bytes"),
    ],
)
def test_what_is_no_photo_is_refused_by_name(data, said):
    with pytest.raises(BadInput, match=said):
        decode(data, HIGH)


def test_a_cut_off_photo_is_refused():
    whole = photograph()
    with pytest.raises(BadInput, match="breaks off"):
        decode(whole[: len(whole) // 2], HIGH)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked():
    out = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(out, "PNG")
    assert len(out.getvalue()) < 200_000
    began = time.perf_counter()
    with pytest.raises(BadInput, match="at most 50,000,000 pixels"):
        decode(out.getvalue(), HIGH)
    assert time.perf_counter() - began < 1


def test_a_small_photo_needs_a_lower_tier():
    small = photograph(size=(640, 480))
    with pytest.raises(BadInput, match=r"640 pixels \(tier high\)"):
        decode(small, HIGH)
    assert decode(small, LOW).pixels.shape[1] == LOW.pixels


def test_where_a_photo_was_taken_ends_here():
    data = photograph(exif=located())
    assert b"GPS-SECRET-PLACE" in data
    photo = decode(data, HIGH)
    assert b"GPS-SECRET-PLACE" not in photo.pixels.tobytes() + repr(structs.replace(photo, pixels=None)).encode()


def test_the_coin_is_found_where_it_lies():
    photo = decode(photograph(), HIGH)
    coin = find_coin(photo.pixels)
    assert coin is not None
    assert [side / photo.scale for side in coin.box] == pytest.approx(COIN, abs=6)
    assert coin.sure > 0.5


def test_without_a_coin_none_is_told():
    assert find_coin(decode(photograph(coin=False), HIGH).pixels) is None
    assert find_coin(np.full((400, 600, 3), 90, dtype=np.uint8)) is None


@pytest.mark.parametrize(
    ("how", "fails"),
    [({}, set()), ({"dark": 0.1}, {"brightness", "contrast", "blur"}), ({"blur": 12.0}, {"blur"})],
)
def test_quality_names_what_is_wrong(how, fails):
    found = quality(decode(photograph(**how), HIGH), reference=1.0)
    assert {check.name for check in found.failed} == fails
    assert found.score == pytest.approx(sum(check.share for check in found.checks if check.passed))


@pytest.mark.row("SRV-12")
def test_a_lower_tier_looks_less_closely_and_answers_sooner():
    data = photograph(size=(2560, 1920))

    def seconds(tier):
        times = []
        for _ in range(5):
            began = time.process_time()
            find_coin(decode(data, tier).pixels, advanced=tier.preprocessing == "advanced")
            times.append(time.process_time() - began)
        return statistics.median(times)

    assert seconds(LOW) < seconds(HIGH)
    assert [of_memory(mb).name for mb in (480, 800, 4000)] == ["low", "medium", "high"]


@pytest.mark.prove
def test_real_photos_the_coin_is_found_the_gate_lets_them_through_and_it_is_fast():
    tar = shared("weight/ecustfd_photos_512px.tar")
    table = read_table(shared("weight/ecustfd_boxes.parquet"))
    place = {name: i for i, name in enumerate(table["image"])}
    tier = structs.replace(HIGH, shortest=300)  # these photos are smaller than a phone's
    hits, wrong, passed, times = 0, 0, 0, []
    with tarfile.open(tar) as photos:
        names = photos.getnames()
        for name in names:
            data = photos.extractfile(name).read()
            began = time.process_time()
            photo = decode(data, tier)
            coin = find_coin(photo.pixels)
            found = quality(photo, reference=0.0 if coin is None else coin.sure)
            times.append(time.process_time() - began)
            passed += found.score >= 0.7
            at = place[name]
            scale = photo.width / table["img_w"][at]
            real = [table[side][at] * scale for side in ("cx0", "cy0", "cx1", "cy1")]
            near = coin is not None and shared_area([side / photo.scale for side in coin.box], real) > 0.5
            hits += near
            wrong += coin is not None and not near
    rate, slow = hits / len(names), statistics.quantiles(times, n=20)[-1]
    print(f"coin found {rate:.3f}, wrong {wrong / len(names):.3f}, gate {passed / len(names):.3f}, p95 {slow:.3f} s")
    assert rate >= 0.85
    assert wrong / len(names) <= 0.05
    assert passed / len(names) >= 0.95
    assert slow < 0.3
    assert cv2.__version__


def shared_area(one, other):
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    both = max(across, 0) * max(down, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


def test_the_drawn_object_is_where_the_tests_say():
    image = picture()
    left, top, right, bottom = OBJECT
    assert tuple(image[(top + bottom) // 2, (left + right) // 2]) == (30, 40, 90)
