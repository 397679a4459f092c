import os
import signal
import subprocess
import sys

import pytest
from msgspec import Raw
from waiting import until

from modelkeep.app import TASKS, App
from modelkeep.claims import claim, claim_one
from modelkeep.clock import ManualClock, SystemClock
from modelkeep.errors import BadSettings, Conflict
from modelkeep.nouns import Field, Job, Lease, Outcome, Policy, Prediction, Rollout, Signature, Version
from modelkeep.settings import Secret
from modelkeep.settings.sections import AlertsSettings, ChannelSettings, Schedule, StoreSettings, WatchSettings

SERVER = """
import sys, time
from pathlib import Path
from modelkeep import App, Settings
app = App.open(Settings(folder=Path(sys.argv[1])))
app.start()
print("started", flush=True)
time.sleep(60)
"""
SUNDAY = Schedule(task="backup", when="0 2 * * 0")
SIGNATURE = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))


def version(number):
    return Version(
        model="churn", number=number, artifact="0" * 64, size=1, runtime="python", signature=SIGNATURE, created=0.0
    )


def jobs(app, **which):
    with app.rooms.store.read() as ledger:
        return [job for job in ledger.jobs.all(**which) if job.attempts]


# ------------------------------------------------------------------------------------------------- the folder


@pytest.mark.row("CFG-08")
def test_opening_makes_the_folder_and_the_store_for_the_owner_alone(opened, tmp_path):
    app = opened()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "data" / "modelkeep.db").stat().st_mode & 0o007 == 0
    assert not app.serving
    assert app.trouble("jobs") == "no server runs here"


def test_a_folder_that_cannot_be_made_is_named_with_its_source(opened, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSettings, match=r"folder = .*file/data"):
        opened("file/data")


def test_a_store_elsewhere_is_used(opened, tmp_path):
    app = opened(store=StoreSettings(path=str(tmp_path / "elsewhere" / "k.db")))
    assert (tmp_path / "elsewhere" / "k.db").exists()
    assert app.rooms.folder == tmp_path / "data"


def test_one_folder_has_one_server(opened):
    first, second = opened(), opened()
    first.start()
    with pytest.raises(Conflict, match=r"a server runs on .* already \(process \d+\)"):
        second.start()
    assert not second.serving
    first.stop()
    third = opened()
    third.start()
    assert third.serving


def test_kill_9_frees_the_folder_and_what_it_held_is_taken_over_at_once(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SERVER, tmp_path / "data"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "started\n"
        local = App.open(_settings(tmp_path))
        with pytest.raises(Conflict, match=f"process {process.pid}"):
            local.start()
        host = local.runner.name.partition(":")[0]
        lease = Lease(runner=f"{host}:{process.pid}:dead", until=SystemClock().now() + 3600, token=1)
        with local.rooms.store.write() as ledger:  # as if it had been in the middle of this
            ledger.jobs.add(_job("held", "tidy", SystemClock().now(), state="running", lease=lease, attempts=1))
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        local.start()
        until(lambda: [(job.state, job.attempts) for job in jobs(local) if job.id == "held"] == [("done", 2)])
        local.stop()
    finally:
        process.kill()
        process.communicate(timeout=10)


def _settings(tmp_path):
    from modelkeep.settings import Settings

    return Settings(folder=tmp_path / "data")


def _job(id, task, at, **more):
    return Job(id=id, task=task, due=at, created=at, **more)


def test_a_spool_belongs_to_one_process_and_a_left_one_is_taken_up_first(tmp_path):
    first, second = claim_one(tmp_path), claim_one(tmp_path)
    assert (first.folder.name, second.folder.name) == ("0", "1")
    (second.folder / "records.spool").write_bytes(b"left")
    second.close()
    assert claim_one(tmp_path).folder.name == "1"
    assert claim(tmp_path / "0") is None
    first.close()


# ---------------------------------------------------------------------------------------------------- work


def test_every_task_has_its_name_and_built_in_schedules_can_be_replaced(opened):
    app = opened(
        workloads=(),
        watch=WatchSettings(every=90.0),
        schedules={
            "deliver": Schedule(task="deliver", when="every 1s"),
            "sunday": SUNDAY,
        },
    )
    assert set(TASKS) >= {"release", "roll_back", "retrain", "watch", "deliver", "backup", "tidy", "train", "report"}
    when = {name: schedule.when for name, schedule in app.schedules.items()}
    own = {"watch": "every 1m30s", "deliver": "every 1s", "tidy": "every 1d", "report": "0 6 * * 1"}
    assert when.items() >= (own | {"sunday": "0 2 * * 0"}).items()
    assert "watch" not in opened("other", watch=WatchSettings(every=0.0)).schedules


def test_a_schedule_of_an_unknown_task_is_refused(opened):
    with pytest.raises(BadSettings, match=r"schedules.sunday.task .*no task 'backpu' \(known: backup"):
        opened(schedules={"sunday": Schedule(task="backpu", when="0 2 * * 0")})


def test_a_started_app_watches_by_itself_and_says_when_it_does_not(opened, clock):
    app = opened()
    app.start()
    until(lambda: app.runner.looked == clock.now())
    clock.advance(60)
    until(lambda: [job.state for job in jobs(app, task="watch")] == ["done"])
    assert app.trouble("watch") == app.trouble("jobs") == ""
    app.runner.stop()
    clock.advance(600)
    assert app.trouble("watch").startswith("watch last ran at 2023-11-14T22:14")


def test_work_can_be_done_here_without_a_server(opened, clock):
    app = opened()
    app.runner.run_due()
    clock.advance(60)
    assert {job.task: job.state for job in app.runner.run_due()} == {"watch": "done"}


def test_the_outbox_is_emptied_within_seconds_and_costs_nothing_while_it_is_empty(opened, clock):
    app = opened()
    app.runner.run_due()
    with app.rooms.store.write() as ledger:
        app.rooms.book.raise_event(
            ledger, rule="drill", subject="server", kind="maintenance", severity="error", message="a drill"
        )
    clock.advance(5)
    assert [(job.task, job.state) for job in app.runner.run_due()] == [("deliver", "done")]
    clock.advance(5)
    assert app.runner.run_due() == []


def test_records_are_kept_when_it_stops(opened, clock):
    app = opened()
    app.start()
    ids = app.rooms.recorder.new_ids(3)
    app.rooms.recorder.take(
        [
            Prediction(
                id=one, model="m", version=1, role="champion", features={"x": 1.0}, output=2.0, at=clock.now(),
                target=clock.now(), seconds=0.001, key=one,
            )
            for one in ids
        ]
    )  # fmt: skip
    app.rooms.recorder.tell([Outcome(prediction=ids[0], value=2.5, at=clock.now())])
    app.stop()
    again = opened()
    with again.rooms.store.read() as ledger:
        assert [ledger.records.prediction(one).id for one in ids] == ids
        assert len(ledger.records.matches("m")) == 1


def test_stop_closes_everything_and_may_be_called_twice(opened):
    app = opened()
    app.start()
    app.stop()
    app.stop()
    assert not app.serving
    assert app.runner.running == []


# ------------------------------------------------------------------------------------------------- policies


def test_a_model_s_section_becomes_its_policy_once_and_is_in_force_at_once(opened, clock):
    with opened() as app, app.rooms.store.write() as ledger:
        ledger.versions.add(version(1))
        ledger.rollouts.put(Rollout(model="churn", champion=1), None)
    for horizon, number in ((60.0, 2), (60.0, 2), (90.0, 3)):
        clock.advance(1)
        with opened(models={"churn": Policy(model="churn", horizon=horizon)}) as app:
            app.start()
            with app.rooms.store.read() as ledger:
                policy, rollout = ledger.versions.policy("churn"), ledger.rollouts.get("churn")
                assert (policy.number, policy.horizon, rollout.policy) == (number, horizon, number)
    with opened() as app, app.rooms.store.read() as ledger:
        assert [(act.what, act.who) for act in ledger.acts.all()] == [("policy", "configuration")] * 2


def test_a_policy_is_in_force_at_once_in_a_trial_too(opened):
    with opened() as app, app.rooms.store.write() as ledger:
        ledger.versions.add(version(1))
        ledger.versions.add(version(2))
        ledger.versions.add_policy(Policy(model="churn"))
        trying = Rollout(model="churn", champion=1, challenger=2, mode="shadow", trial="release-churn-2")
        ledger.rollouts.put(trying, None)
    with opened(models={"churn": Policy(model="churn", horizon=60.0)}) as app:
        app.start()
        with app.rooms.store.read() as ledger:
            assert (ledger.versions.policy("churn").number, ledger.rollouts.get("churn").policy) == (2, 2)


# ------------------------------------------------------------------------------------------- rules, channels


def test_rules_and_channels_come_from_the_configuration(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK", "https://hooks.test/T0")
    hook = ChannelSettings(kind="webhook", url=Secret(reference="env:HOOK", key="alerts.channels.ops.url"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rules.toml").write_text('[[rule]]\nname = "mine"\nreading = "mae"\ncondition = "value > 3"\n')
    book = opened(alerts=AlertsSettings(rules="rules.toml", channels={"ops": hook})).rooms.book
    assert "mine" in [rule.name for rule in book.rules]
    assert set(book.channels) == {"ops"}
    assert set(opened("plain").rooms.book.channels) == {"log"}


def test_wrong_rules_and_unset_secrets_are_refused_by_name(opened, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rules.toml").write_text('[[rule]]\nname = "mine"\nredaing = "mae"\n')
    with pytest.raises(BadSettings, match=r"alerts.rules .*rules.toml"):
        opened(alerts=AlertsSettings(rules="rules.toml"))
    hook = ChannelSettings(kind="webhook", url=Secret(reference="env:NO_SUCH_HOOK", key="alerts.channels.ops.url"))
    with pytest.raises(BadSettings, match=r"alerts.channels.ops.url: env:NO_SUCH_HOOK"):
        opened("other", alerts=AlertsSettings(channels={"ops": hook}))


# ---------------------------------------------------------------------------------------------------- weight

WEIGH = """
import sys
import modelkeep
print(len(sys.modules))
"""


def test_importing_the_product_costs_next_to_nothing():
    found = subprocess.run([sys.executable, "-c", WEIGH], capture_output=True, text=True, check=True, timeout=60)
    assert int(found.stdout) <= 250


def test_every_public_name_is_there():
    import modelkeep

    for name in modelkeep.__all__:
        assert getattr(modelkeep, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        modelkeep.Nothing  # noqa: B018 - asking is the test
    assert set(dir(modelkeep)) == set(modelkeep.__all__)
    assert modelkeep.ManualClock is ManualClock
    assert Raw is not None


IDLE = """
import sys, time, psutil
from pathlib import Path
from modelkeep import App, settings
from modelkeep.edge import server
app = App.open(settings.load(folder=Path(sys.argv[1]), flags={"server.listen": 0}))
with server.running(app) as url:
    time.sleep(1)
    heavy = [name for name in ("sklearn", "lightgbm", "duckdb", "scipy", "pandas") if name in sys.modules]
    print(psutil.Process().memory_info().rss // 2**20, *heavy)
"""


def test_an_idle_server_is_light_and_imports_no_heavy_library(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", IDLE, str(tmp_path / "data")], capture_output=True, text=True, check=True, timeout=60
    )
    megabytes, *heavy = found.stdout.split()
    assert heavy == []
    assert int(megabytes) <= 105  # 79 in November 2026
