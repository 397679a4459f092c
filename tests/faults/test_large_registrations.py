"""Large files that are registered in a server: it holds no more than a piece, and nothing stays of what broke."""

import hashlib
import pickle
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from waiting import until

from modelkeep.runtimes import packing

SIGNED = {"signature": {"inputs": [{"name": "x", "kind": "number"}], "output": {"name": "y", "kind": "number"}}}
MB = 1 << 20
SETTINGS = "[server]\ntrust = true\n"


def line(padding):
    model = Ridge().fit([[0.0], [1.0], [2.0]], [0.0, 2.0, 4.0])
    model.padding_ = np.zeros(padding, dtype=np.uint8)
    return pickle.dumps(model)


def registered(live, data):
    digest = live.ask("PUT", "/v1/files", data).json["digest"]
    return live.post("/v1/models/line/versions", SIGNED | {"file": digest, "trust": True})


def aside(folder):
    return list((folder / "work").glob("*aside-*"))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are Linux's")
def test_a_large_file_is_never_whole_in_the_servers_memory(folder, up):
    live = up(folder, settings=SETTINGS)
    process = Path(f"/proc/{live.process.pid}")
    (process / "clear_refs").write_text("5")  # the peak begins anew

    def peak():
        return int(re.search(r"VmHWM:\s*(\d+) kB", (process / "status").read_text())[1]) * 1024

    before, data = peak(), line(64 * MB)
    made = registered(live, data)
    assert made.status == 201, made.content
    assert peak() - before < 24 * MB  # what the first file brings in is among it
    digest = hashlib.sha256(data).hexdigest()
    assert (made.json["runtime"], made.json["artifact"], made.json["size"]) == ("pickle", digest, len(data))
    assert (folder / "files" / digest[:2] / digest).stat().st_size == len(data)
    assert not aside(folder)
    assert not any((folder / "work" / "uploads").iterdir())


def test_a_server_that_is_killed_while_it_tries_a_file_leaves_nothing_behind_the_next_start(folder, up, tmp_path):
    live = up(folder, settings=SETTINGS)
    source = tmp_path / "model.py"
    source.write_text("import time\ntime.sleep(600)\ndef predict(row):\n    return row['x']\n")
    data = packing.pack(source, function="predict", use="model")
    kept = sorted((folder / "files").rglob("*"))

    def ask():
        with pytest.raises(OSError):  # noqa: PT011 - whichever: its server is killed
            registered(live, data)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: list((folder / "work").glob(f"aside-*/{hashlib.sha256(data).hexdigest()}")))
    live.kill()
    asking.join(20)
    assert aside(folder)
    up(folder, settings=SETTINGS)
    assert not aside(folder)
    assert sorted((folder / "files").rglob("*")) == kept
