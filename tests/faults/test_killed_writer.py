"""A process that records is killed again and again at random moments: see ``killing``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from migrated import ready

MANY = int(os.environ.get("KILLS", "100"))
"""How many kills the proofs are: ``KILLS=1000 pytest -m prove tests/faults/test_killed_writer.py``."""


def kills(address, folder, times):
    program = Path(__file__).with_name("killing.py")
    ended = subprocess.run(
        [sys.executable, str(program), address, str(folder), str(times)], capture_output=True, text=True, check=False
    )
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout)
    assert found["kills"] == times
    assert found["promised"] > times
    return found


def in_a_file(folder):
    return str(ready(folder / "kept.db"))


@pytest.mark.row("LOG-01")
def test_kills_at_random_moments_lose_nothing_that_was_promised_and_count_nothing_twice(tmp_path):
    kills(in_a_file(tmp_path), tmp_path, 10)


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_many_kills_on_sqlite(tmp_path):
    kills(in_a_file(tmp_path), tmp_path, MANY)


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_many_kills_on_postgresql(durable_postgres, tmp_path):
    url = durable_postgres.database()
    kills(url, tmp_path, MANY)
    durable_postgres.drop(url)
