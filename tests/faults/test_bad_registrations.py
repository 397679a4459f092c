"""Files that crash, hang, spin or eat memory, sent to a server that trusts its callers: refused by name; it goes on."""

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from live_server import Live, traffic

from modelkeep.runtimes import packing

SIGNED = {"signature": {"inputs": [{"name": "x", "kind": "number"}], "output": {"name": "y", "kind": "number"}}}
HEAD = "import ctypes, os, threading, time\n"
FINE = "def predict(row):\n    return row['x']\n"
BAD = {
    "crashes": ("ctypes.string_at(0)\n" + FINE, "weight@4 cannot be loaded: it was ended by SIGSEGV"),
    "exits": ("os._exit(3)\n" + FINE, "weight@4 cannot be loaded: it ended with exit code 3"),
    "hangs": ("time.sleep(600)\n" + FINE, "weight@4 cannot be loaded: it took longer than 2 s"),
    "keeps the lock": ("ctypes.PyDLL(None).sleep(600)\n" + FINE, "weight@4 cannot be loaded: it took longer than 2 s"),
    "eats memory": (
        "kept = []\nwhile len(kept) < 8:\n    kept.append(b'x' * 5 * 10**7)\ntime.sleep(600)\n" + FINE,
        r"weight@4 cannot be loaded: it holds [34]\d\d MB and may hold 300 MB",
    ),
    "is huge": ("kept = b'x' * 10**10\n" + FINE, "weight@4 cannot be loaded: MemoryError"),
    "crashes when asked": (
        "def predict(row):\n    return ctypes.string_at(0) if row['x'] > 5 else row['x']\n",
        "weight@4 does not survive the trial prediction: it was ended by SIGSEGV",
    ),
    "spins when asked": (
        "def predict(row):\n    while row['x'] > 5:\n        pass\n    return row['x']\n",
        "weight@4 does not survive the trial prediction: it took longer than 2 s",
    ),
    "raises": ("def predict(row):\n    return 1 / 0\n", "ZeroDivisionError"),
}
SETTINGS = "[server]\ntrust = true\n[loading]\ntrial = '2s'\n[models.weight]\nmemory = 314572800\n"
SAMPLE = "x,y\n" + "".join(f"{x},{2 * x + x % 3}\n" for x in range(10))


@pytest.fixture(scope="module")
def live(template, tmp_path_factory):
    place = tmp_path_factory.mktemp("trusting") / "data"
    shutil.copytree(template, place)
    server = Live(place, settings=SETTINGS)
    yield server
    server.close()


def sent(live, data):
    return live.ask("PUT", "/v1/files", data).json["digest"]


def packed(tmp_path, source):
    file = tmp_path / "model.py"
    file.write_text(HEAD + source)
    return packing.pack(file, function="predict", use="model")


def on_disk(live):
    places = (live.folder / "files", live.folder / "work")
    return {str(path) for place in places for path in place.rglob("*")}


def register(live, tmp_path, source):
    """Ask over the network, as anybody may here: without the owner's key."""
    body = {"file": sent(live, packed(tmp_path, source)), "sample": sent(live, SAMPLE.encode()), "output": "y"}
    return live.post("/v1/models/weight/versions", SIGNED | body | {"trust": True})


@pytest.mark.parametrize("how", BAD)
def test_what_would_take_the_server_down_is_refused_and_the_neighbour_answers(live, tmp_path, how):
    source, why = BAD[how]
    before = on_disk(live)
    with traffic(live, clients=1, rate=50.0) as asked:
        refused = register(live, tmp_path, source)
    assert refused.status == 422, refused.content
    assert refused.error["code"] == "bad_artifact"
    assert re.search(why, refused.error["message"]), refused.error
    assert refused.error["remedy"]
    assert not asked.broken
    assert set(asked.statuses()) == {200}
    assert on_disk(live) <= before | {str(live.folder / "work"), str(live.folder / "work" / "uploads")}
    assert live.process.poll() is None
    status = Path(f"/proc/{live.process.pid}/status")
    if status.exists():
        held = int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) / 1024
        assert held < 500, "the server itself has loaded it"


def test_the_command_hears_why_a_file_that_hangs_is_refused(live, tmp_path):
    (tmp_path / "model.py").write_text(HEAD + BAD["hangs"][0])
    (tmp_path / "signature.json").write_text(json.dumps(SIGNED["signature"]))
    words = ("weight", str(tmp_path / "model.py"), "--trust", "--signature", str(tmp_path / "signature.json"))
    done = live.run("register", *words)
    assert done.returncode == 1
    assert "weight@4 cannot be loaded: it took longer than 2 s" in done.stderr
    assert "loading.trial" in done.stderr


def test_a_file_larger_than_its_model_may_be_is_refused_before_it_is_read(template, tmp_path, up):
    place = tmp_path / "data"
    shutil.copytree(template, place)
    live = up(place, settings="[server]\ntrust = true\n[models.weight]\nmemory = 67108864\n")
    body = {"file": sent(live, b"x" * (70 << 20)), "trust": True}
    refused = live.post("/v1/models/weight/versions", SIGNED | body)
    assert refused.status == 422
    assert "the file is 70 MB, and what it is loaded into may hold 64 MB" in refused.error["message"]
    assert "memory" in refused.error["remedy"]


def test_a_good_file_is_what_a_command_would_have_made_of_it(live, tmp_path):
    """Runner, metrics and signature are found apart as they are here."""
    import numpy as np
    import skops.io
    from sklearn.ensemble import RandomForestRegressor

    x = np.linspace(0, 10, 50).reshape(-1, 1)
    y = x.ravel() ** 2 + np.sin(40 * x.ravel())
    model = RandomForestRegressor(n_estimators=20, random_state=1).fit(x[::2], y[::2])
    data = io.BytesIO()
    skops.io.dump(model, data)
    rows = "\n".join(f"{a},{b}" for a, b in zip(x.ravel()[1::2].tolist(), y[1::2].tolist(), strict=True))
    body = {"file": sent(live, data.getvalue()), "sample": sent(live, f"x,y\n{rows}\n".encode()), "output": "y"}
    made = live.post("/v1/models/forest/versions", body)
    assert made.status == 201, made.content
    told = made.json
    assert told["metrics"]["mae"] > 0
    assert told["runner"]["name"] in {"compiled", "flattened", "native"}
    assert told["runner"]["rows"] >= 1000
