"""The acts of ``weight`` on a real server: photos, boxes, measurements, consent, tiers and what was weighed."""

import base64
import statistics
import time

import httpx
import pytest
from msgspec import structs
from photographing import COIN, OBJECT, located, photograph
from yard import NEW, installed

from modelkeep import App, Outcome, settings
from modelkeep.claims import key_of
from modelkeep.edge import KEY_HEADER, cli
from modelkeep.edge.server import running

BOXES = dict(zip(("x0", "y0", "x1", "y1"), map(float, OBJECT), strict=True))
ALL = BOXES | dict(zip(("cx0", "cy0", "cx1", "cy1"), map(float, COIN), strict=True))
ASK = ALL | {"reference": "quarter", "material": "steel", "view": "top", "shape": "prism", "image_width": 1280.0,
             "image_height": 960.0}  # fmt: skip
RECORD = {"timestamp", "model_version", "estimated_weight", "material", "please_weigh", "prediction"}


def estimate(client, **more):
    answer = client.post("/api/weight/estimate", json=ASK | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def settled(app):
    """All that was answered is on disk: outcomes come behind predictions."""
    app.tell([Outcome(value=1.0, at=app.rooms.clock.now(), prediction="1-999999")])


@pytest.mark.row("WK0-01")
def test_boxes_are_answered_with_members_interval_price_and_reasons(house):
    _, client = house
    said = estimate(client, unit="kg", consent=True)
    assert said["low"] < said["estimate"] < said["high"]
    assert said["unit"] == "kg"
    members = {one["name"]: one["weight"] for one in said["members"]}
    assert set(members) == {"physics", "balanced", "ridge", "trees"}
    assert sum(members.values()) == pytest.approx(1.0)
    assert said["confidence_label"] in {"High", "Medium", "Low", "Very low"}
    assert 0 <= said["confidence"] <= 1
    assert said["price"]["value"] == pytest.approx(said["estimate"] / 0.45359237 * 0.15, rel=1e-3)
    assert (said["price"]["currency"], said["price"]["unit"]) == ("USD", "lb")
    assert said["factors"]
    assert said["method"].startswith("ensemble of")
    assert said["model_version"] == "weight@1"
    own = estimate(client, price=2.0, price_unit="kg", currency="EUR")["price"]
    assert (own["per_unit"], own["currency"], own["source"]) == (2.0, "EUR", "the request")
    pounds, grams = estimate(client, unit="lb")["estimate"], estimate(client, unit="g")["estimate"]
    assert pounds == pytest.approx(grams / 453.59237)


def test_measurements_alone_are_enough(house):
    _, client = house
    asked = {"length": 4.0, "width": 2.0, "height": 1.0, "length_unit": "in", "material": "steel", "shape": "prism"}
    said = client.post("/api/weight/estimate", json=asked).json()
    assert 300 < said["estimate"] < 3000
    assert said["reference_box"] is None


def test_a_material_that_nobody_weighed_asks_for_the_scale(house):
    _, client = house
    for material in (NEW, "unobtainium"):
        said = estimate(client, material=material)
        assert said["please_weigh"] is True
        assert any("nobody has weighed" in factor for factor in said["factors"])
        assert said["suggestions"]
    known, new = estimate(client), estimate(client, material="unobtainium")
    assert new["high"] / new["low"] > known["high"] / known["low"]


def test_a_coin_that_tells_no_scale_asks_for_the_scale(house):
    _, client = house
    said = estimate(client, cx1=COIN[0] + 5.0)
    assert said["please_weigh"] is True
    assert any("less than 8" in factor for factor in said["factors"])


def test_a_photo_is_looked_at_and_its_coin_found(house):
    _, client = house
    query = "&".join(
        f"{name}={value}" for name, value in (BOXES | {"reference": "quarter", "material": "steel"}).items()
    )
    raw = client.post(
        f"/api/weight/estimate?{query}", content=photograph(), headers={"content-type": "image/jpeg"}
    ).json()
    assert raw["reference_box"]["source"] == "found"
    assert [raw["reference_box"][name] for name in ("x0", "y0", "x1", "y1")] == pytest.approx(COIN, abs=6)
    assert raw["quality"]["passed"] is True
    assert {check["name"] for check in raw["quality"]["checks"]} == {
        "brightness", "contrast", "blur", "saturation", "reference",
    }  # fmt: skip
    form = client.post(
        "/api/weight/estimate",
        data={name: str(value) for name, value in (BOXES | {"reference": "quarter", "material": "steel"}).items()},
        files={"photo": ("a.jpg", photograph(), "image/jpeg")},
    ).json()
    assert form["estimate"] == raw["estimate"]
    text = base64.b64encode(photograph()).decode()
    assert estimate(client, photo=text)["reference_box"]["source"] == "client"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"coin": False}, "no reference object was found"),
        ({"dark": 0.1}, "brightness"),
        ({"blur": 12.0}, "blur"),
    ],
)
def test_a_photo_that_cannot_be_used_is_refused_with_value_and_limit(house, how, said):
    _, client = house
    query = "&".join(
        f"{name}={value}" for name, value in (BOXES | {"reference": "quarter", "material": "steel"}).items()
    )
    answer = client.post(
        f"/api/weight/estimate?{query}", content=photograph(**how), headers={"content-type": "image/jpeg"}
    )
    assert answer.status_code == 422, answer.text
    assert said in answer.text
    assert "at least" in answer.text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"material": "steel"}, "nothing tells the object's size"),
        (ASK | {"reference": "a shoe"}, "a shoe"),
        ({name: value for name, value in ASK.items() if name != "reference"}, "reference_mm"),
        (ASK | {"unit": "stone"}, "unit"),
        (ASK | {"shape": "blob"}, "shape"),
    ],
)
def test_what_says_nothing_is_refused(house, asked, said):
    _, client = house
    answer = client.post("/api/weight/estimate", json=asked)
    assert answer.status_code in {400, 422}
    assert said in answer.text


def test_neither_photo_nor_place_is_kept_anywhere(house):
    app, client = house
    data = photograph(exif=located())
    query = "&".join(f"{name}={value}" for name, value in (BOXES | {"reference": "quarter", "consent": "true"}).items())
    answer = client.post(f"/api/weight/estimate?{query}", content=data, headers={"content-type": "image/jpeg"})
    assert answer.status_code == 200, answer.text
    settled(app)
    places = (b"GPS-SECRET-PLACE", data[2000:2100])
    for path in app.rooms.folder.rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            assert not any(secret in held for secret in places), path


@pytest.mark.row("WK0-02", "WK0-04")
def test_without_consent_an_estimate_is_answered_and_six_fields_are_kept(house):
    app, client = house
    said = estimate(client, user="anna@example.org")
    assert (said["recorded"], said["prediction_id"]) == (False, None)
    assert "has not consented" in said["not_recorded"]
    counted = client.get("/api/weight/statistics").json()
    assert set(counted["fields"]) == RECORD
    assert set(counted["required_fields"]) == {"timestamp", "model_version", "estimated_weight"}
    assert (counted["estimates"], counted["estimates_recorded"], counted["predictions"]) == (1, 0, 0)
    settled(app)
    for path in (app.rooms.folder / "datasets").rglob("*.parquet"):
        assert b"anna@example.org" not in path.read_bytes()


@pytest.mark.row("WK0-04")
def test_consent_is_granted_withdrawn_exported_and_deleted(house):
    app, client = house
    user = {"user": "bert"}
    assert client.get("/api/weight/consent", params=user).json()["granted"] is False
    assert client.post("/api/weight/consent", json=user | {"granted": True, "by": "bert"}).json()["granted"] is True
    said = estimate(client, **user)
    assert said["recorded"] is True
    told = client.post(
        "/api/weight/weighed", json={"prediction_id": said["prediction_id"], "weight": 2.0, "unit": "lb"}
    ).json()
    assert told["state"] in {"joined", "held", "orphan"}
    assert client.post("/v1/outcomes", json={"prediction_id": said["prediction_id"], "actual": 907.18474}).is_success
    settled(app)
    held = client.get("/api/weight/users/bert").json()
    assert held["predictions"][0]["actual_weight"] == pytest.approx(907.18474)
    assert set(held["estimates"][0]) == RECORD
    assert held["size_bytes"] > 100
    assert held["photos"] == []
    app.rooms.clock.advance(60.0)
    assert client.post("/api/weight/consent", json=user | {"granted": False}).json()["granted"] is False
    assert estimate(client, **user)["recorded"] is False
    gone = client.delete("/api/weight/users/bert").json()
    assert (gone["tokens"], gone["consents"], gone["unlinked_predictions"]) == (1, 2, 1)
    assert client.get("/api/weight/users/bert").status_code == 404
    for path in app.rooms.folder.rglob("*"):
        if path.is_file() and "logs" not in path.parts:
            assert b"bert" not in path.read_bytes(), path


@pytest.mark.row("SRV-12")
def test_a_tier_is_set_and_holds_from_the_next_estimate_on(house, capsys):
    app, client = house
    assert estimate(client)["tier"] == "high"
    assert cli.main(["weight", "set-tier", "low", "-C", str(app.rooms.folder)]) == 0
    said = estimate(client)
    assert (said["tier"], said["preprocessing"]) == ("low", "simple")
    assert client.put("/api/weight/tier", json={"tier": "medium", "request_class": "kiosk"}).is_success
    assert estimate(client, request_class="kiosk")["tier"] == "medium"
    assert estimate(client, request_class="kiosk", tier="high")["preprocessing"] == "advanced"
    capsys.readouterr()


@pytest.mark.row("WK0-03")
def test_a_device_profile_decides_tier_and_acceleration(house):
    _, client = house
    small = client.post("/v1/device-profile", json={"memory_mb": 480, "nnapi": True}).json()
    assert (small["tier"], small["preprocessing"], small["nnapi_enabled"]) == ("low", "simple", True)
    assert small["threads"] >= 1
    assert client.post("/v1/device-profile", json={"memory_mb": 900}).json()["tier"] == "medium"
    large = client.post("/v1/device-profile", json={"memory_mb": 8000, "metal": True, "gpu": True, "cores": 2}).json()
    assert (large["tier"], large["metal_enabled"], large["nnapi_enabled"]) == ("high", True, False)
    assert large["threads"] == 2
    assert client.post("/v1/device-profile", json={"memory_mb": -1}).status_code in {400, 422}


@pytest.mark.row("WK0-01")
def test_without_a_model_a_metal_is_estimated_by_its_density(tmp_path):
    found = settings.load(
        folder=tmp_path, environ={}, flags={"server.listen": [0], "watch.every": "0s", "workloads": ["weight"]}
    )
    with App.open(found) as app, running(app) as url:
        headers = {KEY_HEADER: key_of(app.rooms.folder) or ""}
        with httpx.Client(base_url=url, headers=headers) as client:
            sizes = {"length": 100.0, "width": 50.0, "height": 20.0, "shape": "prism"}
            said = client.post("/api/weight/estimate", json=sizes | {"material": "steel"}).json()
            assert said["estimate"] == pytest.approx(100 * 50 * 20 / 1000 * 7.833)
            assert (said["model_version"], said["please_weigh"], said["confidence"]) == ("heuristic", True, None)
            assert said["method"].startswith("heuristic")
            missing = client.post("/api/weight/estimate", json=sizes | {"material": "mystery"})
            assert missing.status_code == 404


def test_the_page_shows_estimates_errors_and_members(house):
    _, client = house
    said = estimate(client, consent=True)
    client.post("/api/weight/weighed", json={"prediction_id": said["prediction_id"], "weight": 900.0})
    page = client.get("/workloads/weight", headers={"accept": "text/html"})
    assert page.status_code == 200
    for title in ("Newest estimates", "Error by material", "Members", "call for the scale"):
        assert title in page.text


@pytest.mark.row("WK0-04")
def test_a_new_version_walks_by_shadow_and_canary_and_a_user_stays_on_her_side(house, trained, policy):
    app, client = house
    installed(app, structs.replace(trained, path=_other(trained)), release=False)
    with app.rooms.store.write() as ledger:
        rollout = ledger.rollouts.get("weight")
        canary = structs.replace(rollout, challenger=2, mode="canary", share=0.5)
        ledger.rollouts.put(canary, rollout)
    app.rooms.router.refresh()
    assert policy.trial.shadow > 0
    sides = {}
    for _ in range(2):
        for number in range(12):
            said = estimate(client, user=f"user-{number}", consent=True)
            sides.setdefault(number, set()).add(said["model_version"])
    assert all(len(each) == 1 for each in sides.values())
    assert set.union(*sides.values()) == {"weight@1", "weight@2"}


def _other(trained):
    """The same ensemble but for a hair, as a file of its own."""
    from modelkeep import pack_ensemble, read_ensemble

    found = read_ensemble(trained.path.read_bytes())
    return pack_ensemble(structs.replace(found, ceiling=99_999_999.0), trained.path.with_name("other.ensemble"))


def test_an_estimate_takes_less_than_a_photo_may(house):
    _, client = house
    query = "&".join(
        f"{name}={value}" for name, value in (BOXES | {"reference": "quarter", "material": "steel"}).items()
    )
    photo, times = photograph(), []
    for _ in range(8):
        began = time.perf_counter()
        client.post(f"/api/weight/estimate?{query}", content=photo, headers={"content-type": "image/jpeg"})
        times.append(time.perf_counter() - began)
    assert statistics.median(times) < 0.3
