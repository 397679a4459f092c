"""A model that hangs in the event loop holds its process for its time limit, and not for ever."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from served_house import served
from started import asked, free_port
from waiting import until

from modelkeep.edge.watchdog import AFTER, Watchdog
from modelkeep.nouns import Policy
from modelkeep.serving.admission.admitting import HUNG

HANGS = "import time\ndef predict(row):\n    time.sleep(60 if row['x'] < 0 else 0)\n    return 2.0 * row['x']\n"


def test_a_call_is_held_only_beyond_its_limit(tmp_path):
    with served(tmp_path) as house:
        house.keep("doubler", policy=Policy(model="doubler", limit=4.0))
        dog, gateway = Watchdog(house.app, anew=lambda: None), house.rooms.gateway
        loaded = house.rooms.router.shelf.loaded["doubler@1"]
        assert dog.held() == ""
        for limit_left, said in ((0.5, ""), (-0.5, "doubler@1 has held the event loop for 5.5 s")):
            gateway.admission.inline = loaded, time.perf_counter() - (4.0 + AFTER - limit_left)
            assert dog.held() == said
        gateway.admission.inline = None


def fed(x):
    return {"x": x, "plan": "gold"}


@pytest.mark.prove
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_a_model_holds_answers_again_soon_after_the_limit(workers, tmp_path):
    """The version is trusted to run in the server (isolation never), hangs on one input, and is asked for it."""
    with served(tmp_path) as house:
        house.keep("hangs", HANGS, policy=Policy(model="hangs", limit=1.0, isolation="never"))
    (tmp_path / "modelkeep.toml").write_text(f'folder = "{tmp_path}"\n[server]\nworkers = {workers}\n')
    port = free_port()
    command = [str(Path(sys.executable).with_name("modelkeep")), "up", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path) as process:
        try:
            until(lambda: all(asked(port, "hangs", fed(3.0)) == 6.0 for _ in range(8)), 60)
            before = psutil.Process(process.pid).create_time()
            assert asked(port, "hangs", fed(-1.0), timeout=0.5) is None
            began = time.monotonic()
            until(lambda: all(asked(port, "hangs", fed(4.0)) == 8.0 for _ in range(8)), HUNG + AFTER + 30)
            print(f"{workers} processes: all answer {time.monotonic() - began:.1f} s after the call")
            assert process.poll() is None
            assert psutil.Process(process.pid).create_time() == before
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
