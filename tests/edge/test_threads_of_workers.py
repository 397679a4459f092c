"""Four workers on a small machine: what threadpoolctl shows inside each of them."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from served_house import served

from modelkeep.serving.freeing import threads

LOOK = """import os
import numpy as np
from threadpoolctl import threadpool_info


def predict(row):
    np.ones((64, 64)) @ np.ones((64, 64))
    return float(10 * os.getpid() + max(pool["num_threads"] for pool in threadpool_info()))
"""


def seen(port):
    """The most threads of any numeric library, by process."""
    found, end = {}, time.monotonic() + 60
    while len(found) < 4:
        assert time.monotonic() < end, f"{len(found)} processes answer"
        # A connection of its own: the system picks who answers.
        with suppress(httpx.HTTPError), httpx.Client(base_url=f"http://127.0.0.1:{port}") as one:
            answer = one.post("/v1/models/look/predict", json={"features": {"x": 1.0, "plan": "gold"}})
            if answer.status_code == 200:
                pid, most = divmod(int(answer.json()["prediction"]), 10)
                found[pid] = most
    return found


@pytest.mark.prove
@pytest.mark.row("TUN-05")
@pytest.mark.parametrize("asked", [0, 2])
def test_each_of_four_workers_is_bound_to_its_share_or_to_what_it_was_given(asked, tmp_path):
    cores = len(os.sched_getaffinity(0))
    with served(tmp_path / "data") as house:
        house.keep("look", LOOK)
    said = f"[server]\nworkers = 4\n[loading]\nthreads = {asked}\nisolate = false\n"
    (tmp_path / "modelkeep.toml").write_text(f'folder = "{tmp_path / "data"}"\n{said}')
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [str(Path(sys.executable).with_name("modelkeep")), "up", "--port", str(port)]
    environ = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            found = seen(port)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    print(f"{cores} cores, loading.threads = {asked}: {found}")
    assert set(found.values()) == {asked or threads(0, workers=4)}
    if not asked:
        assert all(most <= 2 for most in found.values())
        assert sum(found.values()) <= max(
            cores, 4
        )  # no more than one a worker where there are fewer cores than workers
