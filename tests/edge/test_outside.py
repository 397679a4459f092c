"""A model's call that keeps the interpreter's lock: seen from outside, ended, and put where it can be ended alone."""

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from served_house import served
from started import asked
from waiting import until

from modelkeep.edge import outside
from modelkeep.edge.watchdog import Watchdog, recall
from modelkeep.jobs.changing import adopt
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Policy, Rollout, Signature

HELD = """
import ctypes, sys, threading, time
from pathlib import Path
from modelkeep.edge.beating import Beating
beats = Beating(Path(sys.argv[1]))
def beat():
    while True:
        beats.beat(0.4)
        time.sleep(0.1)
threading.Thread(target=beat, daemon=True).start()
time.sleep(0.5)
print("beating", flush=True)
call = compile("def predict(seconds): ctypes.PyDLL(None).sleep(seconds)", sys.argv[2], "exec")
exec(call)
def hold():
    predict(4)
where = threading.Thread(target=hold)
if sys.argv[3] == "thread":
    where.start()
    where.join()
elif sys.argv[3] == "loop":
    hold()
else:
    time.sleep(4)
print("went on", flush=True)
beats.close()
"""


def begun(folder, file, where):
    command = [sys.executable, "-c", HELD, str(folder), file, where]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "beating\n"
    return process


def test_only_a_process_that_a_model_holds_is_ended(tmp_path):
    """In the event loop or in a thread; not one that something else holds, nor one that was stopped by a signal."""
    cases = {
        "loop": ("modelkeep model churn@7", "loop"),
        "thread": ("modelkeep model churn@7", "thread"),
        "other": ("elsewhere.py", "loop"),
        "stopped": ("modelkeep model churn@7", "stopped"),
        "nowhere": ("modelkeep model churn@7", "loop"),
    }
    folders = {name: tmp_path / name for name in cases}
    running = {name: begun(folders[name], *case) for name, case in cases.items()}
    running["stopped"].send_signal(signal.SIGSTOP)
    folders["nowhere"].rmdir()  # as where the disk is full: it is ended all the same
    ended = {name: running[name].communicate(timeout=20) for name in ("loop", "thread", "other", "nowhere")}
    running["stopped"].send_signal(signal.SIGCONT)
    ended["stopped"] = running["stopped"].communicate(timeout=20)
    assert {name: process.returncode for name, process in running.items()} == {
        "loop": -signal.SIGKILL, "thread": -signal.SIGKILL, "nowhere": -signal.SIGKILL, "other": 0, "stopped": 0,
    }  # fmt: skip
    assert "modelkeep model churn@7" in ended["nowhere"][1]
    for name in ("loop", "thread"):
        (file,) = folders[name].iterdir()
        assert set(outside.FRAME.findall(file.read_text())) == {("churn", "7")}
        assert f"process {running[name].pid} {outside.MARK}" in ended[name][1]
    for name in ("other", "stopped"):
        assert ended[name][0] == "went on\n"
        assert not list(folders[name].iterdir())


def test_the_first_process_of_a_container_is_ended_too(tmp_path):
    """The system takes no SIGKILL for it from within."""
    alone = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if shutil.which(alone[0]) is None or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no process may be the first of its own here: unshare")
    command = [*alone, sys.executable, "-c", HELD, str(tmp_path), "modelkeep model churn@7", "loop"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (outside.LEAVE, "beating\n")
    assert f"process 1 {outside.MARK}" in done.stderr


def test_what_an_earlier_process_left_moves_the_version_unless_its_owner_objects(tmp_path):
    with served(tmp_path, loading__isolate=True) as house:
        for model, isolation in (("shops/north", "auto"), ("owned", "never"), ("other", "auto")):
            with house.rooms.store.write() as ledger:
                policy = Policy(model=model, isolation=isolation)
                adopt(ledger, policy, who="test", why="", at=house.rooms.clock.now())
        frames = "".join(
            f'  File "modelkeep model {name}", line 1 in predict\n' for name in ("shops/north@3", "owned@1")
        )
        marked = house.folder / "work" / "held-1.txt"
        marked.parent.mkdir(exist_ok=True)
        marked.write_text(f"Timeout (0:00:31)!\n{frames}{outside.MARK} 32 s in which a model kept the lock\n")
        recall(house.app)
        with house.rooms.store.read() as ledger:
            found = {name: ledger.versions.policy(name).isolation for name in ("shops/north", "owned", "other")}
            act = next(act for act in reversed(ledger.acts.all()) if act.subject.startswith("shops/north"))
        assert found == {"shops/north": "process", "owned": "never", "other": "auto"}
        assert "32 s" in act.why
        assert not marked.exists()


def test_the_start_after_it_logs_why_where_logs_are(tmp_path):
    """The version is moved before models are loaded, which is before there is a log."""
    marked = tmp_path / "data" / "work" / "held-1.txt"
    marked.parent.mkdir(parents=True)
    marked.write_text(f'  File "modelkeep model churn@3", line 1 in predict\n{outside.MARK} 32 s\n')
    (tmp_path / "modelkeep.toml").write_text('folder = "data"\n[logs]\nfile = "all.log"\n')
    command = [str(Path(sys.executable).with_name("modelkeep")), "up", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path) as process:
        assert b"listening" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
    lines = [json.loads(line) for line in (tmp_path / "data" / "logs" / "all.log").read_text().splitlines()]
    (said,) = [line for line in lines if line["level"] == "critical"]
    assert said["message"] == f"churn@3 hangs: its process was {outside.MARK} 32 s"
    assert "line 1 in predict" in said["stacks"]


def watching():
    """Those that run; one that has ended and is not taken in yet has no command."""
    running = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in running if outside.__file__ in one.cmdline()]


def test_another_watches_when_the_one_outside_has_ended(tmp_path, caplog):
    with served(tmp_path) as house:
        dog = Watchdog(house.app, anew=lambda: None, outer=True, again=0.1)
        dog.start()
        (first,) = until(watching, 10)
        first.kill()
        until(lambda: [one for one in watching() if one != first], 10)
        dog.close()
    assert "what watched this process from outside has ended (-9)" in caplog.text
    assert not watching()


@pytest.fixture
def folder(tmp_path):
    """A scikit-learn pipeline without any code of its own, whose pattern takes for ever on some texts."""
    import numpy as np
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    rows = [["aaa"], ["aa"], ["a"]] * 5
    words = ColumnTransformer([("words", CountVectorizer(token_pattern=r"(?:a+)+$"), 0)])
    model = make_pipeline(words, Ridge()).fit(np.array(rows, dtype=object), [3.0, 2.0, 1.0] * 5)
    signature = Signature(inputs=(Field(name="said", kind="text"),), output=Field(name="length", kind="number"))
    with served(tmp_path) as house:
        house.keep("doubler")
        skops.io.dump(model, house.folder / "words.skops")
        with house.rooms.store.write() as ledger:
            adopt(ledger, Policy(model="words", limit=1.0), who="test", why="", at=house.rooms.clock.now())
        register(house.rooms, Registration(model="words", path=house.folder / "words.skops", signature=signature))
        with house.rooms.store.write() as ledger:
            kept = ledger.versions.policy("words").number
            ledger.rollouts.put(Rollout(model="words", champion=1, policy=kept), None)
    return tmp_path


@pytest.mark.prove
@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_keeps_the_lock_is_out_of_the_server_after_a_restart(workers, folder):
    """With helpers a helper or the server may be held: whichever ends comes back, the server by its own keeper here."""
    (folder / "modelkeep.toml").write_text(f'folder = "{folder}"\n[server]\nworkers = {workers}\n')
    endless = {"said": "a" * 60 + "b"}

    def up():
        command = [str(Path(sys.executable).with_name("modelkeep")), "up", "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=folder, text=True)
        return process, int(process.stdout.readline().rpartition(":")[2])

    process, port = up()
    try:
        until(lambda: asked(port, "words", {"said": "aa"}, timeout=5), 60)
        time.sleep(2.0)  # every process beats
        began = time.monotonic()
        asked(port, "words", endless, timeout=0.5)
        moved = folder / "moved"

        def restarted():
            nonlocal process, port
            if process.poll() is not None:
                assert process.returncode == -signal.SIGKILL
                process.stdout.close()
                process, port = up()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/words", timeout=1) as answer:
                moved.write_bytes(answer.read())
            return json.loads(moved.read_bytes())["policy"]["isolation"] == "process"

        def soon():
            with suppress(OSError):
                return restarted()
            return False

        until(soon, 60)
        print(f"{workers} processes: moved and answering {time.monotonic() - began:.1f} s after the call")
        until(lambda: asked(port, "words", {"said": "aa"}, timeout=5), 60)
        for _ in range(4):
            asked(port, "words", endless, timeout=0.2)
        waits = []
        for n in range(40):
            start = time.monotonic()
            assert asked(port, "doubler", {"x": float(n), "plan": "gold"}, timeout=2) == 2.0 * n
            waits.append(time.monotonic() - start)
        assert sorted(waits)[20] < 0.1
        time.sleep(5.0)
        assert process.poll() is None
        until(lambda: asked(port, "words", {"said": "aa"}, timeout=5), 30)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()
    assert not list((folder / "work").glob("held-*"))
