"""A version in a process of its own: it may raise, hang, crash or leak, and the next call is answered by another."""

import os
import signal
import threading
import time
from contextlib import suppress
from itertools import pairwise

import psutil
import pytest

from modelkeep.errors import BadArtifact, ModelFailed
from modelkeep.nouns import Field, Policy, Signature, Version
from modelkeep.runtimes import packing
from modelkeep.runtimes.confining import confined, frames
from modelkeep.runtimes.confining.confined import Bounds, bounds_of
from modelkeep.runtimes.confining.frames import Load
from modelkeep.runtimes.confining.nursery import NURSERY, Nursery

SIGNATURE = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))
MB = 1024 * 1024


@pytest.fixture
def made(tmp_path):
    """Makes versions from the body of ``def predict(row)``, loaded into processes that end with the test."""
    loaded = []

    def make(body, *, limit=5.0, memory=512 * MB, head=""):
        source = tmp_path / f"model{len(loaded)}.py"
        source.write_text(f"import ctypes, os, threading, time\n{head}\ndef predict(row):\n    {body}\n")
        packed = tmp_path / f"{len(loaded)}.zip"
        packed.write_bytes(packing.pack(source, function="predict", use="model"))
        version = Version(model="m", number=1, artifact="a", size=1, runtime="python", signature=SIGNATURE, created=0.0)
        loaded.append(confined.load(version, lambda _: packed, bounds=Bounds(limit=limit, memory=memory)))
        return loaded[-1]

    yield make
    for one in loaded:
        one.close()


def ask(loaded, x=1.0):
    return loaded.predict([{"x": x}]).values[0]


def answered(loaded, x=1.0, seconds=10.0):
    """Ask until it answers: a replacement may still be starting."""
    until = time.monotonic() + seconds
    while True:
        try:
            return ask(loaded, x)
        except ModelFailed:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_it_answers_like_any_other_from_another_process(made):
    doubler = made("return row['x'] * 2")
    assert doubler.predict([{"x": 1.0}, {"x": 2.5}]).values == [2.0, 5.0]
    assert ask(made("return os.getpid()")) != os.getpid()
    assert doubler.hands == 1
    assert 0 < doubler.seconds < 0.01


def test_what_the_model_raises_and_what_it_may_not_answer_comes_back(made):
    with pytest.raises(ModelFailed, match="ZeroDivisionError"):
        ask(made("return 1 / (row['x'] - 1)"))
    with pytest.raises(ModelFailed, match="nan"):
        ask(made("return float('nan')"))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("ctypes.string_at(0) if row['x'] < 0 else None; return 1.0", "SIGSEGV"),
        ("os._exit(3) if row['x'] < 0 else None; return 1.0", "exit code 3"),
        ("os.kill(os.getpid(), 9) if row['x'] < 0 else None; return 1.0", "SIGKILL"),
        ("threading.Event().wait() if row['x'] < 0 else None; return 1.0", "did not answer within 0.3 s"),
        ("\n    while row['x'] < 0: pass\n    return 1.0", "did not answer within 0.3 s"),
    ],
    ids=["segfault", "exit", "killed", "hangs", "spins"],
)
def test_whatever_it_does_it_does_alone_and_is_replaced(made, body, why):
    model = made(body, limit=0.3)
    assert ask(model) == 1.0
    began = time.monotonic()
    with pytest.raises(ModelFailed, match=why) as failed:
        ask(model, -1.0)
    assert failed.value.ended
    assert time.monotonic() - began < 2.0
    assert answered(model) == 1.0


def test_one_that_leaks_is_replaced_before_it_takes_the_machine(made):
    model = made("kept.append(bytearray(20 * 1024 * 1024)); return float(len(kept))", head="kept = []", memory=300 * MB)
    counts = []
    for _ in range(40):
        counts.append(answered(model))
        time.sleep(0.01)
    assert max(counts) <= 20
    assert sum(after < before for before, after in pairwise(counts)) >= 2


def test_one_call_that_takes_all_memory_is_ended(made):
    model = made(
        "kept.append(bytearray(int(row['x']) * 1024 * 1024)); time.sleep(0.5); return 1.0", head="kept = []",
        memory=300 * MB,
    )  # fmt: skip
    with pytest.raises(ModelFailed, match="may hold 300 MB"):
        ask(model, 600.0)
    assert answered(model) == 1.0
    with pytest.raises(ModelFailed, match="MemoryError"):
        ask(model, 4000.0)


def test_what_it_shares_with_its_siblings_is_not_held_against_it(made):
    """Whoever came before leaves libraries behind in the nursery: the bound of the next is still all its own."""
    NURSERY.spawn(modules=("sklearn.ensemble",)).kill()
    body = "kept.append(bytearray(int(row['x']) * 1024 * 1024)); time.sleep(0.2); return float(os.getpid())"
    model = made(body, head="kept = []", memory=100 * MB)
    assert psutil.Process(int(ask(model))).memory_info().rss > 100 * MB
    assert ask(model, 20.0) == ask(model, 20.0)
    with pytest.raises(ModelFailed, match="may hold 100 MB"):
        ask(model, 100.0)


def test_one_that_cannot_be_loaded_is_refused_with_the_reason(made):
    with pytest.raises(BadArtifact, match="SIGSEGV"):
        made("return 1.0", head="ctypes.string_at(0)")
    with pytest.raises(BadArtifact, match="MemoryError"):
        made("return 1.0", head="x = bytearray(10 * 1024 ** 3)")
    with pytest.raises(BadArtifact, match="may hold 300 MB"):
        made("return 1.0", head="x = bytearray(600 * 1024 ** 2); time.sleep(1)", memory=300 * MB)


def test_one_that_ends_at_every_call_rests_longer_and_longer(made):
    model = made("os._exit(1) if row['x'] < 0 else None; return 1.0")
    seen, until = [], time.monotonic() + 2.0
    while time.monotonic() < until:
        with pytest.raises(ModelFailed) as failed:
            ask(model, -1.0)
        seen.append(str(failed.value))
        time.sleep(0.01)
    assert sum("did not survive" in text for text in seen) <= 6
    assert sum("rests" in text for text in seen) > 50


def test_nothing_of_the_servers_secrets_and_files_is_in_it(made, monkeypatch):
    monkeypatch.setenv("MODELKEEP_SERVER_TOKEN", "hush")
    assert ask(made("return float(any('hush' in v for v in os.environ.values()))")) == 0.0
    open_files = "return float(len([f for f in os.listdir('/proc/self/fd') if f not in '012']))"
    assert ask(made(open_files)) <= 2


def test_closing_ends_it_once_its_call_has_taken_as_long_as_it_may(made):
    model = made("threading.Event().wait() if row['x'] < 0 else None; return 1.0", limit=1.0)
    failures = []

    def asking():
        with pytest.raises(ModelFailed) as failed:
            ask(model, -1.0)
        failures.append(failed.value)

    thread = threading.Thread(target=asking)
    thread.start()
    time.sleep(0.1)
    model.close()
    thread.join(5)
    assert failures


def test_what_brings_code_runs_apart_unless_its_owner_says_otherwise():
    version = Version(model="m", number=1, artifact="a", size=1, runtime="python", signature=SIGNATURE, created=0.0)
    import msgspec

    trees = msgspec.structs.replace(version, runtime="lightgbm")
    coded = msgspec.structs.replace(trees, features="f")
    for one, policy, apart in (
        (version, Policy(model="m"), True),
        (trees, Policy(model="m"), False),
        (coded, Policy(model="m"), True),
        (trees, Policy(model="m", isolation="process"), True),
        (version, Policy(model="m", isolation="never"), False),
    ):
        assert (bounds_of(one, policy) is not None) is apart


def ran(command):
    return [one.pid for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == command]  # a zombie has none


def gone(command, within=5.0):
    until = time.monotonic() + within
    while found := ran(command):
        assert time.monotonic() < until, found
        time.sleep(0.01)
    return True


def test_what_a_model_has_started_ends_with_it_however_it_ends(made):
    """When it exits by itself nobody kills it, and what it started would go on for ever."""
    command = ["sleep", "98.7123"]
    body = f"[subprocess.Popen({command}), os._exit(3)] if row['x'] < 0 else None; return 1.0"
    started = made(body, head="import subprocess")
    with pytest.raises(ModelFailed, match="exit code 3"):
        ask(started, -1.0)
    assert gone(command)


@pytest.fixture
def nursery():
    own = Nursery(patience=0.5)
    yield own
    own.close()


def test_a_nursery_takes_all_with_it_when_its_server_is_gone(nursery, tmp_path):
    command = ["sleep", "98.7124"]
    source = tmp_path / "model.py"
    source.write_text(
        f"import subprocess, time\nsubprocess.Popen({command})\ntime.sleep(60)\ndef predict(row):\n    return 1.0\n"
    )
    packed = tmp_path / "model.zip"
    packed.write_bytes(packing.pack(source, function="predict", use="model"))
    version = Version(model="m", number=1, artifact="a", size=1, runtime="python", signature=SIGNATURE, created=0.0)
    children = [nursery.spawn() for _ in range(4)]
    for child in children:
        frames.send(child.sock, Load(version=version, files={"a": str(packed)}, memory=512 * MB))
    until = time.monotonic() + 10
    while len(ran(command)) < len(children):
        assert time.monotonic() < until
        time.sleep(0.02)
    nursery.close()
    assert gone(command)
    assert not any(map(living, children))
    for child in children:
        child.kill()


def test_a_nursery_that_is_stopped_keeps_nobody_waiting_and_goes_on_afterwards():
    own = Nursery()
    try:
        first, second = own.spawn(), own.spawn()
        parent = psutil.Process(first.pid).ppid()
        os.kill(parent, signal.SIGSTOP)
        first.kill()
        began = time.monotonic()
        assert first.ended() == "it ended"
        assert first.ended() == "it ended"
        assert time.monotonic() - began < 10
        os.kill(parent, signal.SIGCONT)
        second.kill()
        assert second.ended() == "it was ended by SIGKILL"
        third = own.spawn()
        assert psutil.Process(third.pid).ppid() == parent
        third.kill()
    finally:
        own.close()


def living(child):
    try:
        return psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_nursery_goes_on_when_a_library_cannot_be_imported(nursery):
    """The child that needs it says what is wrong; its siblings do not lose their nursery."""
    first = nursery.spawn()
    second = nursery.spawn(modules=("modelkeep.runtimes.no_such_library",))
    assert psutil.Process(second.pid).ppid() == psutil.Process(first.pid).ppid()
    second.kill()
    first.kill()
    assert first.ended() == "it was ended by SIGKILL"


def test_a_late_word_of_the_nursery_is_not_taken_for_the_next(nursery):
    """It may stand still for a while. A number that is not a child's would be ended in its stead."""
    child = nursery.spawn()
    mother = psutil.Process(psutil.Process(child.pid).ppid())
    child.kill()
    mother.suspend()
    assert child.ended() == "it ended"
    with suppress(psutil.NoSuchProcess):
        mother.resume()
        time.sleep(0.1)  # it says its late word
    another = nursery.spawn()
    assert "modelkeep.runtimes.confining.forking" in psutil.Process(another.pid).cmdline()
    another.kill()
