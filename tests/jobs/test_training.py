"""A model is trained anew on mature labels, in an own process, once, within its budget; a kill changes nothing."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import retraining
from msgspec import json, structs
from retraining import HOUR, ask, run, site
from trialling import START, rooms_of

from modelkeep.errors import BadInput, ModelFailed
from modelkeep.jobs.registering import Registration, register
from modelkeep.jobs.release import Release
from modelkeep.jobs.training import Retrained
from modelkeep.nouns import Retrain
from modelkeep.runtimes import kept, load
from modelkeep.runtimes.training import TrainingRows, run_trainer

HERE = Path(__file__).parent
ROWS = TrainingRows(columns={"x": [1.0]}, truth=[2.0], keys=[""], at=[0.0])


@pytest.fixture(autouse=True)
def trainers(monkeypatch):
    """The trainers of ``trainers`` can be imported by the process that runs one."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))


def test_a_retraining_registers_a_better_version_and_asks_for_its_release(rooms, tmp_path):
    site(rooms, tmp_path)
    ask(rooms)
    job = run(rooms)
    assert (job.state, job.error) == ("done", "")
    assert [step.name for step in job.steps] == ["gathered", "trained", "registered", "released"]
    result = json.decode(job.result, type=Retrained)
    with rooms.store.read() as ledger:
        version = ledger.versions.get("m", 2)
        releases = ledger.jobs.all(task="release")
        act = ledger.acts.all(subject="m@2")[0]
    assert (result.version, result.release) == (2, releases[0].id)
    asked = json.decode(releases[0].arguments, type=Release)
    assert asked == Release(model="m", number=2, why="skill fell", by="alert 7")
    assert (act.who, act.what, act.why) == ("alert 7", "register", "skill fell")
    lineage = version.lineage
    assert (lineage.start, lineage.end, lineage.rows) == (START - 40 * HOUR, START - HOUR, 40)
    assert lineage.code == "trainers:train"
    assert lineage.seconds is not None
    assert version.baseline.metrics["mae"] == 0.5
    assert version.baseline.metrics["skill"] > 1
    assert version.baseline.reference is not None
    assert load(version, rooms.files.path).predict([{"x": 3.0, "place": None}]).values == pytest.approx([6.0], rel=0.01)
    assert not list((tmp_path / "work" / "training").iterdir())


def test_immature_labels_are_never_trained_on(rooms, tmp_path):
    site(rooms, tmp_path)
    with rooms.store.write() as ledger:
        was = ledger.versions.policy("m")
        ledger.versions.add_policy(structs.replace(was, number=2, horizon=20 * HOUR))
    ask(rooms)
    gathered = json.decode(run(rooms).steps[0].evidence)
    assert gathered == {
        "start": START - 40 * HOUR,
        "end": START - 21 * HOUR,
        "rows": 20,
        "known": 0,
        "groups": 3,
        "answered": 4.5,
    }


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"least": 41}, "has 40 labelled, mature predictions; 41 are needed"),
        ({"window": 5 * HOUR}, "has 5 labelled, mature predictions; 10 are needed"),
        ({"trainer": ""}, "has no trainer"),
        ({"trainer": "nowhere"}, "is not module:function"),
        ({"trainer": "nowhere:train"}, "No module named 'nowhere'"),
        ({"trainer": "trainers:wrong"}, "the data is upside down"),
        ({"trainer": "trainers:no_result"}, "returned a NoneType"),
        ({"per_day": 0}, "at most 0 may"),
    ],
)
def test_what_the_policy_or_the_trainer_forbids_fails_the_job_in_words(rooms, tmp_path, policy, said):
    site(rooms, tmp_path, **policy)
    ask(rooms)
    job = run(rooms)
    assert job.state == "failed"
    assert said in job.error
    with rooms.store.read() as ledger:
        assert [version.number for version in ledger.versions.all("m")] == [1]


def test_a_day_has_a_budget_of_trainings(rooms, tmp_path):
    site(rooms, tmp_path)
    ask(rooms)
    assert run(rooms).state == "done"
    ask(rooms, "retrain-2")
    refused = run(rooms, "retrain-2")
    assert (refused.state, "at most 1 may" in refused.error) == ("failed", True)
    rooms.clock.advance(24 * HOUR + 1)
    ask(rooms, "retrain-3")
    again = run(rooms, "retrain-3")  # the same data gives the same file, which is no new version
    assert "registered as m@2" in again.error


def test_a_version_below_its_floors_stays_a_candidate(rooms, tmp_path):
    site(rooms, tmp_path)
    with rooms.store.write() as ledger:
        was = ledger.versions.policy("m")
        ledger.versions.add_policy(structs.replace(was, number=2, targets={"mae": 0.25}))
    ask(rooms)
    result = json.decode(run(rooms).result, type=Retrained)
    assert result == Retrained(version=2, release=None, below=("mae 0.5 > 0.25",))
    with rooms.store.read() as ledger:
        assert ledger.jobs.all(task="release") == []


def test_a_version_that_only_a_simple_rule_beats_is_tried_when_what_answers_errs_far_more(rooms, tmp_path):
    site(rooms, tmp_path, trainer="trainers:beaten")
    ask(rooms)
    job = run(rooms)
    result = json.decode(job.result, type=Retrained)
    assert result.below == ("below baseline ewma: mae 0.5, baseline 0.4",)
    with rooms.store.read() as ledger:
        release = json.decode(ledger.jobs.get(result.release).arguments, type=Release)
    assert release.force
    assert "where what was answered errs 4" in release.why


def test_a_target_of_the_policy_binds_however_bad_the_champion_is(rooms, tmp_path):
    site(rooms, tmp_path, trainer="trainers:beaten")
    with rooms.store.write() as ledger:
        policy = ledger.versions.policy("m")
        ledger.versions.add_policy(structs.replace(policy, number=2, targets={"mae": 0.1}))
    ask(rooms)
    result = json.decode(run(rooms).result, type=Retrained)
    assert result.release is None
    assert len(result.below) == 2


def test_the_champions_feature_code_stays_before_a_model_that_takes_its_columns(rooms, tmp_path):
    site(rooms, tmp_path, trainer="trainers:prepared")
    (tmp_path / "champion2.py").write_text("def predict(row):\n    return row['half'] * 2\n")
    (tmp_path / "f.py").write_text(
        f"def features(row):\n    return {{'half': row['x'] / 2, 'folder': {str(tmp_path)!r}}}\n"
    )
    columns = {"x": [1.0, 2.0], "place": ["here", None]}
    coded = register(
        rooms,
        Registration(
            model="m", path=tmp_path / "champion2.py", features=tmp_path / "f.py", trust=True, columns=columns,
            signature=retraining.SIGNATURE,
        ),
    )  # fmt: skip
    with rooms.store.write() as ledger:
        was = ledger.rollouts.get("m")
        ledger.rollouts.put(structs.replace(was, champion=coded.number), was)
    ask(rooms)
    job = run(rooms)
    with rooms.store.read() as ledger:
        version = ledger.versions.get("m", json.decode(job.result, type=Retrained).version)
    assert version.features == coded.features
    assert load(version, rooms.files.path).predict([{"x": 1.0}]).values == [20.0]


@pytest.mark.parametrize("place", ["gathered", "trained", "registered", "released"])
def test_a_kill_at_any_step_neither_loses_nor_repeats_anything(tmp_path, place):
    rooms = rooms_of(tmp_path)
    site(rooms, tmp_path)
    ask(rooms)
    rooms.store.close()
    environment = {**os.environ, "MODELKEEP_FAILPOINT": f"retrain.{place}"}
    killed = subprocess.run([sys.executable, HERE / "retraining.py", tmp_path], env=environment, check=False)
    assert killed.returncode == 137
    rooms = rooms_of(tmp_path, START + 60)
    job = run(rooms)
    assert (job.state, job.error) == ("done", "")
    with rooms.store.read() as ledger:
        assert [version.number for version in ledger.versions.all("m")] == [1, 2]
        assert len(ledger.jobs.all(task="release")) == 1
    rooms.store.close()


def test_a_trainer_is_killed_at_its_limit_with_all_that_it_started(tmp_path):
    with pytest.raises(ModelFailed, match=r"took longer than 4 s: child \d+") as late:
        run_trainer("trainers:endless", ROWS, folder=tmp_path, limit=4.0)
    child = int(str(late.value).rpartition("child ")[2])
    end = time.perf_counter() + 20
    while alive(child):  # killed, but a busy machine takes its time to end it
        assert time.perf_counter() < end
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_entry_that_is_none_is_refused(tmp_path):
    for entry in ("", "module", "module:", ":f", "module:f(1)"):
        with pytest.raises(BadInput, match="is not module:function"):
            run_trainer(entry, ROWS, folder=tmp_path, limit=1.0)


def test_a_model_without_a_champion_is_not_trained(rooms):
    ask(rooms)
    assert "has no champion to follow" in run(rooms).error


def test_with_history_the_next_version_learns_from_the_champions_rows_too(rooms, tmp_path):
    site(rooms, tmp_path, history=True)
    ask(rooms)
    first = json.decode(run(rooms).result, type=Retrained)
    with rooms.store.write() as ledger:
        version = ledger.versions.get("m", first.version)
        was = ledger.rollouts.get("m")
        ledger.rollouts.put(structs.replace(was, champion=version.number), was)
        ledger.versions.add_policy(
            structs.replace(
                ledger.versions.policy("m"), number=2, retrain=Retrain(
                    trainer="trainers:train", least=10, history=True, window=5 * HOUR, per_day=9
                ),
            )
        )  # fmt: skip
    assert version.lineage.data_source == "database"
    assert version.lineage.groups == 3
    assert kept.read(rooms.files.path(version.lineage.history)).truth[:2] == [1.5, 4.5]
    ask(rooms, "retrain-2")
    gathered = json.decode(run(rooms, "retrain-2").steps[0].evidence)
    assert (gathered["rows"], gathered["known"]) == (40, 35)


def test_feature_code_and_baselines_of_a_trainer_go_with_the_version(rooms, tmp_path):
    site(rooms, tmp_path, trainer="trainers:coded")
    ask(rooms)
    job = run(rooms)
    assert job.error == ""
    with rooms.store.read() as ledger:
        version = ledger.versions.get("m", 2)
    assert version.lineage.split == "time"
    assert version.baseline.rivals["mean"] == {"mae": 2.0}
    assert load(version, rooms.files.path).predict([{"x": 3.0, "place": None}]).values == [60.0]
