"""``score``: a file in, its answers out, with and without a server, by one process or two."""

import csv
import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import duckdb
import psutil
import pytest
from served_house import SIGNATURE, served

from modelkeep import settings
from modelkeep.app import open_store
from modelkeep.edge import cli
from modelkeep.jobs.registering import Registration, register
from modelkeep.runtimes import packing

PROGRAM = Path(sys.executable).with_name("modelkeep")
UNLUCKY = """\
def predict(row):
    if row["x"] == 13.7:
        raise ValueError(f"unlucky {row['plan']}")
    return 2.0 * row["x"]
"""


SLOW = "import time\n\ndef predict(row):\n    time.sleep(0.005)\n    return 2.0 * row['x']\n"
WIDE = """\
NAMES = [f"w{n}" for n in range(6000)]


def features(rows):
    return [{name: row["x"] + n / 7 for n, name in enumerate(NAMES)} for row in rows]
"""
BLAS = """\
import numpy, threadpoolctl


def predict(row):
    numpy.ones((8, 8)) @ numpy.ones((8, 8))
    return float(max(pool["num_threads"] for pool in threadpoolctl.threadpool_info()))
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder whose model ``doubler`` is the champion, without a server."""
    place = tmp_path_factory.mktemp("scoring") / "data"
    with served(place) as house:
        house.keep("doubler", UNLUCKY)
        house.keep("doubler", UNLUCKY.replace("2.0", "3.0"), released=False)
        house.keep("candidate", released=False)
    return place


def test_rows_that_do_not_fit_or_fail_keep_their_place_and_are_named(folder, tmp_path, capsys):
    rows = [["a", "", 1, "gold", ""], ["b", "", 430, "gold", ""], ["c", "", 13.7, "gold", ""], ["d", "", 2, "", ""]]
    file, out = table(tmp_path / "rows.csv", rows), tmp_path / "out.csv"
    words = ["score", "doubler", file, "--map", "id=session", "--json"]
    code, said, err = inside(capsys, *words, "--dry-run", folder=folder)
    found = json.loads(said)
    assert (code, found["rows"], found["refused"], found["failed"]) == (1, 4, 1, 0)
    assert found["problems"] == [{"row": 2, "message": "x: expected number -100..100, got 430.0"}]
    assert not out.exists()
    code, said, err = inside(capsys, *words, "--out", out, "--batch", 3, folder=folder)
    found = json.loads(said)
    assert (code, found["answered"], found["refused"], found["failed"], found["recorded"]) == (1, 2, 1, 1, 3)
    assert "2 of 4 rows have no answer: 1 do not fit, 1 failed" in err
    got = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["prediction"] for row in got] == ["2.0", "", "", "4.0"]
    assert [bool(row["prediction_id"]) for row in got] == [True, False, True, True]
    assert "430" in got[1]["error"]
    assert "unlucky gold" in got[2]["error"]
    text = inside(capsys, "score", "doubler", file, "--out", out, folder=folder)[1]
    assert "430" in text


def test_what_cannot_be_scored_is_refused_before_anything_begins(folder, sessions, tmp_path, capsys):
    out, lacking, broken = tmp_path / "out.csv", tmp_path / "lacking.csv", tmp_path / "broken.parquet"
    lacking.write_text("xx,plan\n1,gold\n")
    broken.write_text("no parquet")
    empty = tmp_path / "empty.csv"
    empty.write_text("x,plan\n")
    before = inside(capsys, "jobs", "list", "--task", "score", "--json", folder=folder)[1]
    for words, code, said in [
        (["dubler", sessions, "--out", out], 1, "known: doubler"),
        (["candidate", sessions, "--out", out], 1, "no released version of model 'candidate'"),
        (["doubler", lacking, "--out", out], 1, "lacking.csv has no column 'x', which doubler@1 takes"),
        (["doubler", lacking, "--out", out], 1, "--map x=xx"),
        (["doubler", sessions, "--out", out, "--map", "kay=customer"], 1, "did you mean 'key'?"),
        (["doubler", sessions, "--out", out, "--map", "key=client"], 1, "no column 'client'"),
        (["doubler", broken, "--out", out], 1, "cannot read broken.parquet"),
        (["doubler", empty, "--out", out], 1, "empty.csv has no row"),
        (["doubler", tmp_path / "none.csv", "--out", out], 1, "no file"),
        (["doubler", sessions, "--out", tmp_path / "out.xlsx"], 1, "expected a .csv, .ndjson or .parquet file"),
        (["doubler", sessions, "--out", sessions], 2, "is the file that is read"),
        (["doubler", sessions], 2, "--out FILE"),
        (["doubler", sessions, "--out", out, "--version", "2"], 1, "--no-record"),
        (["doubler", sessions, "--out", out, "--version", "7"], 1, "7"),
        (["doubler", sessions, "--out", out, "--batch", "0"], 1, "batch"),
    ]:
        found, _, err = inside(capsys, "score", *words, folder=folder)
        assert (found, said in err) == (code, True), (words, err)
    assert not out.exists()
    assert inside(capsys, "jobs", "list", "--task", "score", "--json", folder=folder)[1] == before
    assert not list((folder / "work").glob("score-*")), "nothing is left of what was refused"


def test_another_version_is_scored_without_a_record_and_in_other_forms(folder, sessions, tmp_path, capsys):
    lines = tmp_path / "rows.ndjson"
    lines.write_text('{"features": {"x": 1.5, "plan": null}, "for": "2026-01-02"}\n\nno json\n{"x": 2}\n')
    words = ["--version", 2, "--no-record"]
    for file, out, expected in [
        (lines, tmp_path / "out.ndjson", [4.5, None, 6.0]),
        (sessions, tmp_path / "out.parquet", [0.0, 0.75]),
    ]:
        code, said, err = inside(capsys, "score", "doubler", file, "--out", out, *words, "--json", folder=folder)
        assert code == (1 if file == lines else 0), err
        assert json.loads(said)["recorded"] == 0
        if out.suffix == ".parquet":
            got = duckdb.sql(f"SELECT prediction FROM '{out}' WHERE row <= 2 ORDER BY row").fetchall()
            assert [row[0] for row in got] == expected
        else:
            got = [json.loads(line) for line in out.read_text().splitlines()]
            assert [row["prediction"] for row in got] == expected
            assert [row["row"] for row in got] == [1, 3, 4]
            assert "prediction_id" not in got[0]
    found = inside(capsys, "predictions", "list", "doubler", "--version", "2", "--json", folder=folder)[1]
    assert json.loads(found)["predictions"] == []


def test_python_and_rest_answer_the_same(sessions, tmp_path):
    with served(tmp_path / "data") as house:
        house.keep("doubler")
        job = house.app.score("doubler", sessions, out=tmp_path / "out.csv", names={"key": "customer"}, batch=30)
        assert house.get(f"/v1/jobs/{job.id}/answers").status_code == 409, "what was written is not kept twice"
        assert (job.state, json.loads(bytes(job.result))["answered"]) == ("done", 200)
        digest = house.client.put(
            "/v1/files", content=sessions.read_bytes(), headers={"content-type": "application/octet-stream"}
        ).json()["digest"]
        asked = house.post("/v1/models/doubler/score", {"file": digest, "names": {"key": "customer"}, "batch": 64})
        assert asked.status_code == 202, asked.text
        until = time.monotonic() + 30
        while house.get(f"/v1/jobs/{asked.json()['id']}").json()["state"] != "done":
            assert time.monotonic() < until
            time.sleep(0.05)
        found, after = [], 0
        while after is not None:
            page = house.get(f"/v1/jobs/{asked.json()['id']}/answers", after=after, limit=70).json()
            found, after = found + page["answers"], page["next"]
        assert len(found) == 200
        lines = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
        assert [row["prediction_id"] for row in found] == [line["prediction_id"] for line in lines]
        place = f"/v1/jobs/{asked.json()['id']}/answers"
        assert house.get(place, after=7).status_code == 422
        assert house.client.delete(place).json()["dropped"]
        assert not house.client.delete(place).json()["dropped"]
        assert not list((house.folder / "work").glob("score-*"))


@pytest.mark.row("TUN-11")
def test_smaller_batches_take_less_memory(sessions, tmp_path):
    source, code = tmp_path / "sum.py", tmp_path / "wide.py"
    source.write_text("def predict(row):\n    return sum(row.values()) / 6000\n")
    code.write_text(WIDE)
    with served(tmp_path / "data") as house:
        house.keep("doubler")
        features = packing.pack_features(code)
        version = register(
            house.rooms,
            Registration(
                model="wide", path=source, trust=True, signature=SIGNATURE, metrics={"mae": 1.0}, code=features
            ),
        )
        peaks, answers = {}, {}
        for batch in (100, 50):
            out = tmp_path / f"{batch}.csv"
            asked = {"workers": 1, "batch": batch, "record": False}
            job = json.loads(bytes(house.app.score(version.name, sessions, out=out, **asked).result))
            peaks[batch], answers[batch] = job["peak_mb"], out.read_bytes()
    if peaks[100] is None:
        pytest.skip("this system does not count the peak of a process")
    assert peaks[50] < peaks[100] - 3, peaks
    assert answers[50] == answers[100]


def test_each_worker_has_one_thread(sessions, tmp_path):
    with served(tmp_path / "data") as house:
        house.keep("blas", BLAS)
        house.app.score("blas", sessions, out=tmp_path / "out.csv", workers=2, record=False)
    rows = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert {row["prediction"] for row in rows} == {"1.0"}


def started(folder, sessions, out):
    """The command in a process of its own, when it has answered some of the rows; the job, and the workers."""
    words = ["score", "slow", sessions, "--out", out, "--workers", 2, "--batch", 5, "-C", folder]
    process = subprocess.Popen([str(PROGRAM), *map(str, words)], stderr=subprocess.PIPE)
    until = time.monotonic() + 30
    with served_store(folder) as jobs:
        while True:
            found = jobs()
            if found and found[0].steps and found[0].steps[-1].name == "scored":
                return process, found[0].id, psutil.Process(process.pid).children(recursive=True)
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.05)


@contextmanager
def served_store(folder):
    store = open_store(settings.load(folder=folder, environ={}))
    store.open()

    def jobs():
        with store.read() as ledger:
            return ledger.jobs.all(task="score")

    try:
        yield jobs
    finally:
        store.close()


@pytest.fixture
def slow(tmp_path):
    with served(tmp_path / "data") as house:
        house.keep("slow", SLOW)
    return tmp_path / "data"


def gone(processes):
    until = time.monotonic() + 10
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes):
        assert time.monotonic() < until, processes
        time.sleep(0.05)


def test_a_killed_job_leaves_no_half_file_and_a_server_ends_it(slow, sessions, tmp_path, capsys):
    out = tmp_path / "out.csv"
    process, job, workers = started(slow, sessions, out)
    process.kill()
    process.communicate(timeout=10)
    assert not out.exists()
    gone(workers)
    with served(slow) as house:
        until = time.monotonic() + 30
        while (found := house.get(f"/v1/jobs/{job}").json())["state"] != "done":
            assert time.monotonic() < until, found
            time.sleep(0.05)
        assert found["result"]["answered"] == 200
        again = [step["evidence"]["after"] for step in found["steps"] if step["name"] == "started"]
        assert again[0] == 0
        assert again[1] > 0, "it goes on, it does not begin again"
        rows = house.get(f"/v1/jobs/{job}/answers").json()["answers"]
        assert [(row["row"], row["prediction"]) for row in rows] == [(n + 1, n / 2) for n in range(200)]
        house.rooms.recorder.flush()
        kept = house.get("/v1/models/slow/predictions", limit=1000).json()["predictions"]
        assert len(kept) == 200, "each row is recorded once"
        assert {one["prediction_id"] for one in kept} == {row["prediction_id"] for row in rows}
    assert not list((slow / "work").glob("score-*/rows.*")), "the rows that were sent are not kept"


@pytest.mark.prove
def test_ctrl_c_and_cancel_end_a_job_and_leave_nothing(slow, sessions, tmp_path):
    out = tmp_path / "out.csv"
    process, job, workers = started(slow, sessions, out)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert not out.exists()
    gone(workers)
    assert not list((slow / "work").glob("score-*"))
    with served(slow) as house:
        assert house.get(f"/v1/jobs/{job}").json()["state"] == "cancelled"
        digest = house.client.put(
            "/v1/files", content=sessions.read_bytes(), headers={"content-type": "application/octet-stream"}
        ).json()["digest"]
        job = house.post("/v1/models/slow/score", {"file": digest, "batch": 5, "workers": 1}).json()["id"]
        until = time.monotonic() + 20
        while not house.get(f"/v1/jobs/{job}").json()["steps"]:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert house.get(f"/v1/jobs/{job}/answers").status_code == 409
        assert house.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
        while list((slow / "work").glob("score-*")):
            assert time.monotonic() < until
            time.sleep(0.05)
