"""``score``: a file in, its answers out, with and without a server, by one process or two."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from served_house import served

from modelkeep.edge import cli

PROGRAM = Path(sys.executable).with_name("modelkeep")
UNLUCKY = """\
def predict(row):
    if row["x"] == 13.5:
        raise ValueError(f"unlucky {row['plan']}")
    return 2.0 * row["x"]
"""


def inside(capsys, *words, folder):
    capsys.readouterr()
    code = cli.main([*map(str, words), "-C", str(folder)])
    said = capsys.readouterr()
    return code, said.out, said.err


def table(path, rows):
    with path.open("w", newline="") as file:
        written = csv.writer(file)
        written.writerow(["session", "customer", "x", "plan", "colour"])
        written.writerows(rows)
    return path


@pytest.fixture
def sessions(tmp_path):
    """200 sessions as a stranger's table calls things."""
    return table(tmp_path / "sessions.csv", [[f"s{n}", f"c{n % 7}", n / 4, "gold", "red"] for n in range(200)])


MAPPED = ("--map", "id=session", "--map", "key=customer")


def shown(capsys, folder):
    """``modelkeep jobs show`` of the newest job."""
    job = json.loads(inside(capsys, "jobs", "list", "--task", "score", "--json", folder=folder)[1])["jobs"][0]["id"]
    return json.loads(inside(capsys, "jobs", "show", job, "--json", folder=folder)[1])


@pytest.mark.row("SRV-11")
@pytest.mark.parametrize("server", [True, False])
def test_one_worker_or_two_really_work_and_answer_the_same(sessions, tmp_path, capsys, server):
    folder, files = tmp_path / "data", []

    def play():
        for workers in (1, 2):
            files.append(tmp_path / f"answers{workers}.csv")
            words = ["score", "doubler", sessions, "--out", files[-1], "--workers", workers, "--batch", 100, *MAPPED]
            code, out, err = inside(capsys, *words, "--json", folder=folder)
            assert code == 0, err
            found = json.loads(out)
            assert (found["rows"], found["answered"], found["workers"]) == (200, 200, workers)
            assert (found["recorded"], found["repeated"]) == ((200, 0) if workers == 1 else (0, 200))
            job = shown(capsys, folder)
            assert (job["state"], job["result"]["workers"], job["result"]["batch"]) == ("done", workers, 100)
            assert job["steps"][0]["evidence"]["workers"] == workers
            assert job["steps"][-1]["evidence"]["rows"] == 200
            assert job["result"]["peak_mb"] is None or job["result"]["peak_mb"] > 10
            assert job["result"]["rate"] > 0
            text = inside(capsys, "jobs", "show", job["id"], folder=folder)[1]
            assert f"200 rows by {workers} worker" in text
        assert files[0].read_bytes() == files[1].read_bytes()

    with served(folder) as house:
        house.keep("doubler")
        if server:
            play()
    if not server:
        play()
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    assert [row["id"] for row in rows] == [f"s{n}" for n in range(200)], "in the order of the file"
    assert [float(row["prediction"]) for row in rows] == [n / 2 for n in range(200)]
    assert rows[9]["key"] == "c2"
    kept = json.loads(inside(capsys, "predictions", "show", rows[9]["prediction_id"], "--json", folder=folder)[1])
    assert (kept["prediction"], kept["role"], kept["key"], kept["version"]) == (4.5, "champion", "c2", 1)
    assert kept["features"] == {"x": 2.25, "plan": "gold"}
    assert kept["latency_ms"] is None, "a share of a batch is no time of its own"
