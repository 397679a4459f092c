"""What is wrong with a model, and a model that fails: taken out, told of, and brought back by itself."""

import pytest
from migrated import ready
from msgspec import json

from modelkeep import App, Field, ManualClock, Signature, settings
from modelkeep.errors import Conflict, NotFound
from modelkeep.jobs.diagnosing import Diagnosis
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Rollout
from modelkeep.operations import alerts, diagnosing, jobs, releases

SIGNATURE = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))
GOOD = "def predict(rows):\n    return [2.0 * row['x'] for row in rows]\n"
BAD = (
    "def predict(rows):\n    if rows[0]['x'] > 0.5:\n        raise ValueError('broken')\n"
    "    return [0.0 for row in rows]\n"
)
"""It takes the row that is tried at its registration, and no other."""


@pytest.fixture
def app(tmp_path):
    found = settings.load(folder=tmp_path / "data", environ={}, flags={"watch.every": "0s", "workloads": []})
    ready(found.database)
    with App.open(found, clock=ManualClock(1_700_000_000.0)) as one:
        keep(one, GOOD)
        yield one


def keep(app, source):
    """A version that answers from now on; the one before it is its predecessor."""
    file = app.rooms.folder / "model.py"
    file.write_text(source)
    version = register(app.rooms, Registration(model="m", path=file, trust=True, signature=SIGNATURE))
    with app.rooms.store.write() as ledger:
        was = ledger.rollouts.get("m")
        before = was.champion if was else None
        now = app.rooms.clock.now()
        ledger.rollouts.put(Rollout(model="m", champion=version.number, previous=before, since=now), was)
    app.rooms.router.refresh()
    return version


def diagnosed(app, number=0):
    return diagnosing.diagnose_model(app, diagnosing.DiagnoseModel(model="m", version=number))


def file_of(app, number):
    with app.rooms.store.read() as ledger:
        path = app.rooms.files.path(ledger.versions.get("m", number).artifact)
    path.chmod(0o600)
    return path


def worked(app, job):
    """The job, after all that is due was done."""
    while app.runner.run_due():
        pass
    return jobs.show_job(app, jobs.OneJob(id=job.id))


# ------------------------------------------------------------------------------------------------ diagnosis


def test_a_sound_model_has_six_good_answers(app):
    app.predict("m", [{"x": 1.0}] * 12)
    found = diagnosed(app)
    assert found.fine
    assert (found.file_exists, found.file_size_valid, found.checksum_valid) == (True, True, True)
    assert (found.initialization_errors, found.can_initialize, found.performance_within_limits) == ((), True, True)
    assert len(found.findings) == 6
    assert diagnosing.OPERATIONS[0].finding(found) == ""


def test_a_file_that_is_gone_or_changed_is_told_with_its_repair(app):
    path = file_of(app, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    changed = diagnosed(app)
    assert (changed.file_size_valid, changed.checksum_valid, changed.can_initialize) == (True, False, None)
    path.write_bytes(whole + b"\n")
    assert diagnosed(app).file_size_valid is False
    path.unlink()
    gone = diagnosed(app)
    assert (gone.fine, gone.file_exists, gone.checksum_valid) == (False, False, None)
    assert all(one.fix.strip() for one in gone.findings if one.fine is False)
    assert diagnosing.OPERATIONS[0].finding(gone).startswith("file: ")


def test_a_version_can_be_chosen(app):
    keep(app, BAD)
    assert (diagnosed(app).version, diagnosed(app, 1).version) == ("m@2", "m@1")
    with pytest.raises(NotFound):
        diagnosed(app, 9)


def test_the_analysis_of_performance_has_its_five_parts(app):
    app.predict("m", [{"x": 1.0}])
    app.rooms.recorder.flush()
    found = diagnosing.diagnose_performance(app, diagnosing.DiagnosePerformance())
    assert found.device_capabilities.cpu_cores >= 1
    speed = found.model_performance["m"]
    assert (speed.within_threshold, speed.performance_rating, speed.optimization_needed) == (True, "excellent", False)
    assert speed.average_inference_time > 0
    assert found.memory_usage.process_mb > 10
    assert found.network_conditions.api_latency_p95_ms is None  # no server runs
    assert isinstance(found.recommendations, tuple)


@pytest.mark.parametrize(("seconds", "rating", "needed"), [
    (0.4, "excellent", False), (0.9, "good", False), (1.4, "slow", False), (1.6, "poor", True), (None, "unknown", None),
])  # fmt: skip
def test_a_speed_is_rated_beside_the_limit(seconds, rating, needed):
    found = diagnosing.rated(seconds, n=3, limit=1.0)
    assert (found.performance_rating, found.optimization_needed) == (rating, needed)


# ------------------------------------------------------------------------------------------------ emergency


def declared(app):
    return diagnosing.declare_emergency(app, diagnosing.DeclareEmergency(model="m", why="it raises", by="ann"))


def active(app):
    return {one.rule: one for one in alerts.list_alerts(app, alerts.ListAlerts(active=True)).alerts}


def test_a_failing_model_is_taken_out_and_the_version_before_it_answers(app):
    keep(app, BAD)
    for _ in range(12):
        with pytest.raises(Exception, match="broken"):
            app.predict("m", [{"x": 1.0}])
    app.rooms.recorder.flush()
    found = worked(app, declared(app))
    assert [step.name for step in found.steps] == [
        "disabled", "fallback", "users told", "diagnosed", "escalated", "restored",
    ]  # fmt: skip
    assert found.state == "done"
    assert json.decode(found.steps[3].evidence, type=Diagnosis).version == "m@2"
    (rollout,) = releases.list_rollouts(app, releases.ListRollouts(model="m")).rollouts[-1:]
    assert (rollout.champion, rollout.disabled) == (1, "")
    assert app.predict("m", [{"x": 1.0}])[0].output == 2.0
    assert active(app) == {}


def test_a_model_whose_file_was_repaired_comes_back_by_itself(app):
    path = file_of(app, 1)
    whole = path.read_bytes()
    path.write_bytes(b"ruined")
    job = declared(app)
    waiting = worked(app, job)
    assert (waiting.state, waiting.steps[-1].name) == ("waiting", "escalated")
    open_ = active(app)
    assert open_["emergency"].message == "CRITICAL: Model m disabled due to failures"
    assert open_["emergency"].severity == "critical"
    assert open_["emergency"].recommended_actions == (
        "Immediate engineering response required", "Monitor user impact", "Prepare rollback procedures",
    )  # fmt: skip
    assert open_["service_update"].type == "userExperienceImpact"
    assert open_["service_update"].message.startswith("Service Update: AI features temporarily running in enhanced")
    with pytest.raises(Conflict):
        declared(app)
    path.write_bytes(whole)
    app.rooms.clock.advance(61)
    assert worked(app, job).state == "done"
    assert active(app) == {}
    assert app.predict("m", [{"x": 3.0}])[0].output == 6.0


def test_what_is_not_released_has_no_emergency(app):
    with pytest.raises(NotFound):
        diagnosing.declare_emergency(app, diagnosing.DeclareEmergency(model="n", why="x"))
