import hashlib
import json

import pytest
from msgspec import Raw

from modelkeep.errors import BadArtifact, StoreUnavailable
from modelkeep.jobs.backup import back_up, backups
from modelkeep.jobs.backup import backup as task
from modelkeep.jobs.housekeeping import tidy
from modelkeep.jobs.runner import Runner
from modelkeep.jobs.schedule import Schedule
from modelkeep.nouns import Field, Job, Rollout, Signature, Version

SIGNATURE = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))


def version(rooms, model="churn", number=1, content=b"a model", features=b"its feature code"):
    made = Version(
        model=model,
        number=number,
        artifact=rooms.files.put(content),
        size=len(content),
        runtime="python",
        signature=SIGNATURE,
        created=rooms.clock.now(),
        features=rooms.files.put(features) if features else None,
    )
    with rooms.store.write() as ledger:
        ledger.versions.add(made)
    return made


def run(rooms, arguments="{}"):
    now = rooms.clock.now()
    with rooms.store.write() as ledger:
        ledger.jobs.add(Job(id=f"b{now}", task="backup", due=now, created=now, arguments=Raw(arguments.encode())))
    return Runner(rooms, {"backup": task}, schedules={}).run_due()[-1]


@pytest.mark.row("DEP-03")
def test_a_backup_is_a_copy_whose_checksum_is_the_artifact_s(rooms):
    made = back_up(rooms, version(rooms))
    copy = rooms.folder / made.path
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == made.sha256 == hashlib.sha256(b"a model").hexdigest()
    assert copy.with_suffix(".features").read_bytes() == b"its feature code"
    assert (made.model, made.version, made.at, made.size) == ("churn", 1, rooms.clock.now(), 7)
    assert backups(rooms) == [made]
    assert (rooms.folder / "backups").stat().st_mode & 0o007 == 0


def test_backups_are_listed_newest_first_and_never_overwrite_each_other(rooms):
    first, second = version(rooms), version(rooms, model="demand/1", number=3, content=b"other", features=None)
    made = [back_up(rooms, first), back_up(rooms, first)]
    rooms.clock.advance(1)
    made.append(back_up(rooms, second))
    assert backups(rooms) == [made[2], made[1], made[0]]
    assert len({backup.path for backup in made}) == 3
    assert not list((rooms.folder / "backups").glob(".*"))


def test_an_artifact_that_has_changed_is_not_backed_up(rooms):
    broken = version(rooms)
    path = rooms.files.path(broken.artifact)
    path.chmod(0o600)
    path.write_bytes(b"b model")
    with pytest.raises(BadArtifact):
        back_up(rooms, broken)
    assert backups(rooms) == []


def test_a_folder_that_cannot_be_written_is_named(rooms):
    (rooms.folder / "backups").write_text("a file stands here")
    with pytest.raises(StoreUnavailable, match="backups"):
        back_up(rooms, version(rooms))


def test_an_entry_that_cannot_be_read_is_named(rooms):
    back_up(rooms, version(rooms))
    (rooms.folder / "backups" / "odd.json").write_text("{}")
    with pytest.raises(BadArtifact, match=r"odd\.json"):
        backups(rooms)


@pytest.mark.row("DEP-03")
def test_a_process_killed_while_it_copies_leaves_no_entry(rooms, child):
    version(rooms)
    worker = child("backup", environ={"MODELKEEP_FAILPOINT": "backup.copied"})
    assert worker.wait(30) == 137
    assert backups(rooms) == []
    assert back_up(rooms, version(rooms, number=2)) in backups(rooms)


def test_the_task_backs_up_champions(rooms):
    version(rooms), version(rooms, number=2, content=b"newer"), version(rooms, model="other", content=b"o")
    with rooms.store.write() as ledger:
        ledger.rollouts.put(Rollout(model="churn", champion=1), None)
        ledger.rollouts.put(Rollout(model="other", champion=1), None)
    job = run(rooms)
    assert [b["model"] for b in json.loads(bytes(job.result))["backups"]] == ["churn", "other"]
    rooms.clock.advance(1)
    assert [b["version"] for b in json.loads(bytes(run(rooms, '{"model": "churn"}').result))["backups"]] == [1]
    rooms.clock.advance(1)
    assert run(rooms, '{"model": "chrun"}').error == "no model 'chrun' (known: churn)"


def test_tidy_forgets_frequent_runs_after_a_day_but_never_which_slots_have_been(rooms):
    schedules = {
        "watch": Schedule(task="watch", when="every 1h"),
        "weekly": Schedule(task="backup", when="0 2 * * 4"),
    }

    def runner():
        return Runner(rooms, {"watch": task, "backup": task, "tidy": tidy}, schedules=schedules)

    runner().run_due()
    for _ in range(24 * 3):
        rooms.clock.advance(3600)
        runner().run_due()
    now = rooms.clock.now()
    with rooms.store.write() as ledger:
        ledger.jobs.add(Job(id="tidy", task="tidy", due=now, created=now))
    assert [json.loads(bytes(job.result))["jobs"] for job in runner().run_due()] == [24 * 2 - 2]
    rooms.clock.advance(1)
    assert runner().run_due() == []
    with rooms.store.read() as ledger:
        kept = [job for job in ledger.jobs.all(limit=1000) if job.attempts]
    assert [job.task for job in kept].count("watch") == 26
    assert [job.schedule for job in kept].count("weekly") == 1
