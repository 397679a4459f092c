"""Nothing of the product needs a network: five workloads train and answer where there is none, and nobody is called."""

import re
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pathlib import Path
from modelkeep import App, settings
from modelkeep.extending import BUILT_IN
from modelkeep.nouns import Rollout
from modelkeep.operations.training import Train, found, train

def value(field):
    if field.nullable and field.kind != "category":
        return None
    if field.kind == "category":
        return field.categories[0] if field.categories else "a"
    if field.kind in {"text", "boolean"}:
        return "a" if field.kind == "text" else False
    low = field.low if field.low is not None else 1.0
    return int(low) if field.kind == "integer" else low

ROWS = {"weight": 3000, "drilling": 3000, "devices": 20000}

with App.open(settings.load(folder=Path(sys.argv[1]), environ={})) as app:
    for name in BUILT_IN:
        recipe = found(app, name)
        train(app, Train(name=name, simulate=ROWS.get(name, 2000), release=False, force=True, why="without a network"))
        with app.rooms.store.write() as ledger:
            version = ledger.versions.all(recipe.model)[-1]
            now = app.rooms.clock.now()
            ledger.rollouts.put(Rollout(model=version.model, champion=version.number, since=now), None)
        row = {f.name: value(f) for f in version.signature.inputs}
        answer = app.predict(version.model, [row])[0]
        assert answer.stand_in is None, answer.error
        print(name, version.name, answer.output, flush=True)
"""


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.row("PRV-09")
def test_five_workloads_answer_without_a_network_and_call_nobody(tmp_path, program):
    script, calls = tmp_path / "program.py", tmp_path / "calls"
    script.write_text(PROGRAM)
    alone = [program("unshare"), "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a network of their own")
    traced = [program("strace"), "-f", "--seccomp-bpf", "-e", "trace=connect,sendto", "-o", str(calls)]
    command = [*alone, *traced, sys.executable, str(script), str(tmp_path / "data")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == 5, done.stdout
    outside = [line for line in calls.read_text().splitlines() if re.search(r"AF_INET6?\b", line)]
    assert [line for line in outside if "127.0.0.1" not in line and "::1" not in line] == []
