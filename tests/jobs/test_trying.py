"""Files on trial in processes of their own: so many at a time, each with its limits, and the same version comes out."""

import os
import threading

import pytest
from waiting import until

from modelkeep.errors import BadArtifact, Unavailable
from modelkeep.jobs.registering import Registration, register
from modelkeep.jobs.trying import AT_ONCE, WAITING, Trials
from modelkeep.nouns import Field, Policy, Signature, Version
from modelkeep.runtimes.confining.trial import Trial
from modelkeep.runtimes.taking import take

SIGNATURE = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))


@pytest.fixture
def file(tmp_path):
    """Makes a file of plain Python."""

    def make(source):
        path = tmp_path / "model.py"
        path.write_text(source)
        return path

    return make


def asked(path, **more):
    return Registration(model="m", path=path, trust=True, signature=SIGNATURE, **more)


def test_the_same_version_comes_out_of_both_and_only_one_runs_here(rooms, file, tmp_path):
    marker = tmp_path / "ran in"
    told = f"import os, pathlib\npathlib.Path({str(marker)!r}).write_text(str(os.getpid()))\n"
    source = told + "def predict(row):\n    return row['x'] * 2\n"
    sample = {"x": [1.0, 2.0, 3.0, 4.0], "y": [2.5, 4.0, 6.5, 8.0]}
    found = []
    for apart in (False, True):
        rooms.trials.begin(10.0, apart=apart)
        path = file(f"{source}# {apart}\n")
        found.append(register(rooms, asked(path, columns=sample)))
        assert (int(marker.read_text()) == os.getpid()) is not apart
    here, there = found
    assert here.baseline.metrics == there.baseline.metrics
    assert (here.signature, here.runtime, here.below) == (there.signature, there.runtime, there.below)
    assert not any((rooms.folder / "work").iterdir())


def test_the_models_own_policy_bounds_its_memory(rooms, file):
    with rooms.store.write() as ledger:
        ledger.versions.add_policy(Policy(model="m", memory=200_000_000))
    rooms.trials.begin(10.0, apart=True)
    hungry = "import time\nkept = b'x' * 300_000_000\ntime.sleep(1)\ndef predict(row):\n    return 1.0\n"
    with pytest.raises(BadArtifact, match=r"m@1 cannot be loaded: it holds .* and may hold 190 MB") as refused:
        register(rooms, asked(file(hungry)))
    assert "modelkeep policy set NAME --memory BYTES" in refused.value.remedy


@pytest.mark.parametrize("apart", [False, True])
def test_what_was_tried_is_what_is_kept(rooms, file, apart):
    """The copy that is tried lies where its own code can write."""
    rooms.trials.begin(10.0, apart=apart)
    places = f"pathlib.Path({str(rooms.folder)!r}).glob('work/aside-*/*')"
    source = f"import pathlib\nfor place in {places}:\n    place.write_bytes(b'other')\n"
    with pytest.raises(BadArtifact, match="has changed before it was kept"):
        register(rooms, asked(file(f"{source}def predict(row):\n    return 1.0\n")))
    assert rooms.files.all() == []
    assert not any((rooms.folder / "work").iterdir())


def test_a_trial_has_an_end_even_when_each_of_its_steps_has_one(file, tmp_path):
    taken = take(file("import time\ndef predict(row):\n    time.sleep(0.002)\n    return 1.0\n"), tmp_path)
    version = Version(
        model="m", number=1, artifact=taken.digest, size=1, runtime="python", signature=SIGNATURE, created=0.0
    )

    def tried():
        with Trial(taken, memory=10**9, seconds=10.0, whole=0.1) as trial:
            trial.look(trust=True, runtime=None)
            trial.load(version, tmp_path.joinpath)
            trial.predict([{"x": 1.0}] * 5000)

    with pytest.raises(BadArtifact, match="took longer than 1 s with all its steps") as refused:
        tried()
    assert "loading.trial" in refused.value.remedy


def test_no_more_than_so_many_are_on_trial_at_a_time(file, tmp_path):
    trials = Trials()
    trials.begin(0.2, apart=True)
    path = file("def predict(row):\n    return 1.0\n")
    many = [trials.of(path, tmp_path, memory=10**9) for _ in range(AT_ONCE + 1)]
    for one in many[:-1]:
        one.__enter__()
    with pytest.raises(Unavailable, match="2 other files are on trial"):
        many[-1].__enter__()
    for one in many[:-1]:
        one.__exit__(None, None, None)
    with trials.of(path, tmp_path, memory=10**9) as candidate:
        assert candidate.look(trust=True, runtime=None).runtime == "python"


def test_no_more_than_so_many_wait_for_their_turn(file, tmp_path):
    """Everybody who waits takes one of the threads by which a server does all other things, too."""
    trials = Trials()
    trials.begin(30.0, apart=True)
    path = file("def predict(row):\n    return 1.0\n")
    done = threading.Event()

    def one():
        with trials.of(path, tmp_path, memory=10**9):
            done.wait(30)

    threads = [threading.Thread(target=one) for _ in range(AT_ONCE + WAITING)]
    for thread in threads:
        thread.start()
    until(lambda: trials.full)
    with (
        pytest.raises(Unavailable, match="2 other files are on trial, and 8 wait"),
        trials.of(path, tmp_path, memory=10**9),
    ):
        pass
    done.set()
    for thread in threads:
        thread.join(30)
    with trials.of(path, tmp_path, memory=10**9) as candidate:
        assert candidate.look(trust=True, runtime=None).runtime == "python"
