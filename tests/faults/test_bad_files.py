"""Bad model files at both doors: refused with the reason, nothing of them kept, the champion as it was."""

import pickle
import random
import shutil

import lightgbm
import numpy as np
import pytest
import skops.io
from live_server import Live
from populating import answer_of
from sklearn.linear_model import LinearRegression

SIGNATURE = '{"inputs": [{"name": "x", "kind": "number"}], "output": {"name": "y", "kind": "number"}}'


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


@pytest.fixture(scope="module")
def live(template, tmp_path_factory):
    place = tmp_path_factory.mktemp("bad") / "data"
    shutil.copytree(template, place)
    server = Live(place)
    yield server
    server.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Bad model files by name, and the marker that a pickle's code would make."""
    folder = tmp_path_factory.mktemp("files")
    x = np.arange(200.0).reshape(-1, 1)
    good = skops.io.dumps(LinearRegression().fit(x, 2 * x.ravel()))
    trees = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(x, x.ravel()), num_boost_round=20)
    text = trees.model_to_string().encode()
    flipped = bytearray(good)
    flipped[good.index(b"schema.json") + 60] ^= 0x10
    made = {
        "random": random.Random(7).randbytes(1024),
        "empty": b"",
        "cut_skops": good[: len(good) // 2],
        "cut_lightgbm": text[: len(text) // 2],
        "flipped": bytes(flipped),
        "pickle": pickle.dumps(Planted(folder / "marker")),
        "words": b"not a model at all\n",
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return folder


REASONS = {
    "random": "no known model format",
    "empty": "empty",
    "cut_skops": "cut off",
    "cut_lightgbm": "not a whole LightGBM file",
    "flipped": "",
    "pickle": "trust",
    "words": "no known model format",
}


def on_disk(live):
    """Every file of the folder that holds or could hold a model."""
    places = (live.folder / "files", live.folder / "work")
    return {str(path): path.stat().st_size for place in places for path in place.rglob("*") if path.is_file()}


def refused_by_the_server(live, path):
    data = path.read_bytes()
    sent = live.ask("PUT", "/v1/files", data)
    if not data:
        assert sent.status == 400
        return sent.error["message"]
    digest = sent.json["digest"]
    asked = live.post("/v1/models/weight/versions", SIGNED | {"file": digest})
    assert asked.status == 422, asked.content
    assert asked.error["code"] == "bad_artifact"
    return asked.error["message"] + asked.error["remedy"]


def refused_by_the_command(live, path):
    signature = path.parent / "signature.json"
    signature.write_text(SIGNATURE)
    done = live.run("register", "weight", str(path), "--signature", str(signature))
    assert done.returncode == 1, done
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


SIGNED = {"signature": {"inputs": [{"name": "x", "kind": "number"}], "output": {"name": "y", "kind": "number"}}}
DOORS = [(name, refused_by_the_server) for name in REASONS]
DOORS += [(name, refused_by_the_command) for name in ("empty", "cut_lightgbm", "pickle")]


@pytest.mark.parametrize(("name", "door"), DOORS, ids=lambda value: getattr(value, "__name__", value))
def test_a_bad_file_is_refused_and_leaves_nothing_behind(live, files, name, door):
    before, versions = on_disk(live), live.get("/v1/models/weight/versions").content
    reason = door(live, files / name)
    assert REASONS[name] in reason, reason
    assert not (files / "marker").exists(), "the code in the file ran"
    assert on_disk(live) == before
    assert live.get("/v1/models/weight/versions").content == versions
    answer = live.predict(3.0).json
    assert (answer["version"], answer["prediction"]) == (1, answer_of(1, 3.0))


def test_a_file_that_was_never_sent_is_named(live):
    asked = live.post("/v1/models/weight/versions", SIGNED | {"file": "0" * 64})
    assert (asked.status, asked.error["code"]) == (404, "not_found")
