"""What ended a canary's process is told also when the canary is gone before anybody looks. On a clock moved by hand."""

import time

import pytest
from migrated import ready
from populating import answers, keep

from modelkeep import settings
from modelkeep.app import App
from modelkeep.clock import ManualClock
from modelkeep.errors import ModelFailed
from modelkeep.jobs.leased import Leased
from modelkeep.nouns import Job
from modelkeep.rollout import begin, roll_back
from modelkeep.serving.gateway import Ask

GOOD = "def predict(row):\n    return 1.0\n"
CRASH = "import ctypes\ndef predict(row):\n    if row['x'] == 777:\n        ctypes.string_at(0)\n    return 2.0\n"


@pytest.fixture
def app(tmp_path):
    flags = {"watch.every": "0s", "workloads": [], "logs.console": False}
    found = settings.load(folder=tmp_path / "data", environ={}, flags=flags)
    ready(found.database)
    with App.open(found, clock=ManualClock(1e9)) as opened:
        yield opened


def looked(app):
    """A look of the watch, a minute later: the newest readings of processes, and what alerts about them are open."""
    app.rooms.clock.advance(60.0)
    now = app.rooms.clock.now()
    with app.rooms.store.write() as ledger:
        ledger.jobs.add(Job(id=f"w{now}", task="watch", due=now, created=now))
        leased = ledger.jobs.lease("me", now=now, seconds=60.0)
    app.tasks["watch"](app.rooms, Leased(leased, store=app.rooms.store, clock=app.rooms.clock, seconds=60.0))
    with app.rooms.store.read() as ledger:
        readings = [r for r in ledger.readings.newest() if r.name == "process"]
        alerts = [a for a in ledger.alerts.all(active=True) if a.rule == "model_process"]
    return {r.subject: (r.value, r.n, r.level) for r in readings}, [a.subject for a in alerts]


def ask(app, x, **more):
    return app.rooms.client.ask(Ask(model="m", rows=[{"x": x}], **more)).predictions[0]


def test_the_end_of_a_canarys_process_is_told_after_the_canary_is_gone(app):
    rooms = app.rooms
    keep(app, "m", GOOD)
    answers(app, "m", 1)
    keep(app, "m", CRASH)
    with rooms.store.write() as ledger:
        was = ledger.rollouts.get("m")
        trying = begin(was, 2, mode="canary", share=1.0, trial="by hand", at=rooms.clock.now())
        ledger.rollouts.put(trying, was)
    rooms.router.refresh()
    assert looked(app) == ({"m@1": (0.0, 0, "ok"), "m@2": (0.0, 0, "ok")}, [])

    assert ask(app, 777.0).stand_in == 1
    assert ask(app, 1.0).output == 2.0  # another process has taken its place
    with rooms.store.write() as ledger:
        ledger.rollouts.put(roll_back(trying, at=rooms.clock.now()), trying)
    rooms.router.refresh()
    assert "m@2" not in rooms.router.shelf.loaded
    readings, alerts = looked(app)
    assert readings == {"m@1": (0.0, 0, "ok"), "m@2": (1.0, 1, "critical")}
    assert alerts == []  # what no longer answers opens none: people hear of it by its rollback

    assert looked(app) == ({"m@1": (0.0, 0, "ok"), "m@2": (0.0, 1, "ok")}, [])  # it is news once


def test_what_ends_while_a_version_leaves_is_counted_too_and_once(app):
    keep(app, "m", "import time\n" + CRASH.replace("ctypes.string_at", "time.sleep(0.3) or ctypes.string_at"))
    answers(app, "m", 1)
    app.rooms.router.refresh()
    shelf = app.rooms.router.shelf
    loaded = shelf.loaded["m@1"]
    assert shelf.ends() == {"m@1": (0, "")}
    shelf.retain([])  # and whoever had begun with it asks on
    with pytest.raises(ModelFailed, match="did not survive"):
        loaded.predict([{"x": 777.0}])
    until = time.monotonic() + 20
    while "m@1" not in shelf.ends():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert shelf.ends()["m@1"][0] == 1
