"""Files on trial in processes of their own: so many at a time, each with its limits, and the same version comes out."""

import os
import threading

import pytest
from waiting import until

from modelkeep.errors import BadArtifact, Unavailable
from modelkeep.jobs.registering import Registration, register
from modelkeep.jobs.trying import AT_ONCE, WAITING, Trials
from modelkeep.nouns import Field, Policy, Signature

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


def test_no_more_than_so_many_are_on_trial_at_a_time(file):
    trials = Trials()
    trials.begin(0.2, apart=True)
    path = file("def predict(row):\n    return 1.0\n")
    many = [trials.of(path, memory=10**9) for _ in range(AT_ONCE + 1)]
    for one in many[:-1]:
        one.__enter__()
    with pytest.raises(Unavailable, match="2 other files are on trial"):
        many[-1].__enter__()
    for one in many[:-1]:
        one.__exit__(None, None, None)
    with trials.of(path, memory=10**9) as candidate:
        assert candidate.look(trust=True, runtime=None).runtime == "python"


def test_no_more_than_so_many_wait_for_their_turn(file):
    """Everybody who waits takes one of the threads by which a server does all other things, too."""
    trials = Trials()
    trials.begin(30.0, apart=True)
    path = file("def predict(row):\n    return 1.0\n")
    done = threading.Event()

    def one():
        with trials.of(path, memory=10**9):
            done.wait(30)

    threads = [threading.Thread(target=one) for _ in range(AT_ONCE + WAITING)]
    for thread in threads:
        thread.start()
    until(lambda: trials.full)
    with pytest.raises(Unavailable, match="2 other files are on trial, and 8 wait"), trials.of(path, memory=10**9):
        pass
    done.set()
    for thread in threads:
        thread.join(30)
    with trials.of(path, memory=10**9) as candidate:
        assert candidate.look(trust=True, runtime=None).runtime == "python"
