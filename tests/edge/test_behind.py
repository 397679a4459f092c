"""What comes in behind a server's start, and what does not when it stops before."""

import subprocess
import sys
import threading

import pytest

from modelkeep.edge.behind import Behind

SERVER = """
import sys
import time
from pathlib import Path
from modelkeep import App, settings
from modelkeep.edge import server
app = App.open(settings.load(folder=Path(sys.argv[1]), flags={"server.listen": 0}, environ={}))
late = ("jinja2", "prometheus_client")
with server.running(app):
    before, until = [name for name in late if name in sys.modules], time.monotonic() + 30
    while time.monotonic() < until and not all(name in sys.modules for name in late):
        time.sleep(0.05)
    print(before, [name for name in late if name in sys.modules])
"""


def test_steps_are_taken_one_by_one_after_a_while():
    taken, last = [], threading.Event()
    behind = Behind([lambda: taken.append(1), lambda: taken.append(2), last.set], after=0.01)
    behind.start()
    assert last.wait(10)
    behind.close()
    assert taken == [1, 2]


def test_a_server_that_stops_takes_no_further_step_and_waits_for_the_one_under_way():
    begun, go, taken = threading.Event(), threading.Event(), []

    def first():
        begun.set()
        assert go.wait(10)
        taken.append(1)

    behind = Behind([first], after=0.0)
    behind.start()
    assert begun.wait(10)
    threading.Timer(0.05, go.set).start()
    behind.close()
    assert taken == [1]
    never = Behind([lambda: taken.append(2)], after=3600.0)
    never.start()
    never.close()
    assert taken == [1]


@pytest.mark.prove
def test_pages_and_figures_come_in_behind_the_start_of_a_server(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SERVER, str(tmp_path / "data")], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[] ['jinja2', 'prometheus_client']"
