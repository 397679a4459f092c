"""A recorded file on a served app: answered over its doors while it plays, and gone on with where it stopped."""

import sqlite3
import threading
import time
from contextlib import closing

import httpx
import pytest
from worlds import DAY, START, parquet, world

from modelkeep import NotFound
from modelkeep.edge import cli, server
from modelkeep.replaying.live import Shown, play_file
from modelkeep.replaying.replay import Wanted
from modelkeep.replaying.simulating import checked


def told(folder):
    """How many predictions there are, about how many different moments, and how many have an outcome."""
    with closing(sqlite3.connect(folder / "modelkeep.db")) as database:
        question = "SELECT count(*), count(DISTINCT key || target) FROM predictions WHERE role = 'champion'"
        kept, different = database.execute(question).fetchone()
        (joined,) = database.execute("SELECT count(*) FROM matches WHERE role = 'champion'").fetchone()
    return kept, different, joined


def play(file, folder, *, until, serve=server.running):
    shown = Shown(folder=folder, port=0, speed=500.0, until=until, stay=False)
    return play_file(Wanted(file=file, workload="any/load", step=DAY / 2), shown, serve=serve)


@pytest.mark.prove
def test_it_goes_on_where_it_stopped(tmp_path, capsys):
    file = parquet(world(days=16, breaks=99), tmp_path / "w.parquet")
    folder = tmp_path / "data"
    assert play(file, folder, until=START + 8 * DAY) == 0
    first = told(folder)
    assert play(file, folder, until=START + 12 * DAY) == 0
    kept, different, joined = told(folder)
    assert 0 < first[0] < kept == different
    assert joined > 0.8 * kept
    said = capsys.readouterr().out
    assert said.count("training version 1") == 1


@pytest.mark.prove
def test_its_pages_answer_while_it_plays(tmp_path):
    file = parquet(world(days=16, breaks=99), tmp_path / "w.parquet")
    seen = {}

    def look(url):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and "accuracy" not in seen:
            answer = httpx.get(f"{url}/v1/models/load/accuracy?window=7d")
            if answer.is_success and answer.json()["metrics"]:
                seen["accuracy"] = answer.json()
                seen["page"] = httpx.get(f"{url}/").status_code
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

    play(file, tmp_path / "data", until=START + 14 * DAY, serve=Looking)
    assert seen["page"] == 200
    assert seen["accuracy"]["metrics"]["mae"] > 0


def test_a_wrong_name_is_told_with_near_ones(capsys, tmp_path):
    with pytest.raises(NotFound, match="restaurans"):
        checked("restaurans")
    assert cli.main(["demo", "restaurans", "--no-stay", "-C", str(tmp_path / "d"), "-p", "0"]) == 1
    assert "restaurants" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_a_file_needs_the_workload_that_it_is_of(capsys):
    assert cli.main(["demo", "--data", "x.parquet"]) == 2
    assert "needs the workload" in capsys.readouterr().err
