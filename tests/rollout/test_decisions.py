import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "decisions"


@pytest.mark.row("DEP-07")
def test_every_promise_of_the_judge_holds_in_simulation():
    done = subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), "--quick"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.prove
@pytest.mark.row("DEP-07")
@pytest.mark.timeout(900)
def test_a_thousand_replays_of_the_same_version_roll_back_at_most_five_percent():
    done = subprocess.run([sys.executable, str(FOLDER / "run.py")], capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
