import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import rooms_in


@pytest.fixture
def rooms(tmp_path):
    found = rooms_in(tmp_path)
    yield found
    found.store.close()


@pytest.fixture
def child(tmp_path):
    """Starts a Python process that runs ``tests/jobs/worker.py``; ended with the test, whatever happens."""
    started = []

    def start(*arguments, environ=None):
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "worker.py"), str(tmp_path), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), **(environ or {})},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=10)
