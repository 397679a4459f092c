"""Five times the capacity over HTTP: goodput, the critical class, how fast others are turned away, the end of it.

python benchmarks/overload/five_times.py [--seconds 300] [--model slow | loop | apart | tiered]

The server (``served.py``) has one core and the asking side (``open_loop.py``) the other. First the capacity is measured
(closed loop, eight callers), then five times that is asked for: 10 % critical, 70 % normal, 20 % batch. What a request
waited at the asking side is told apart from what it waited at the server; one that the asking side would send late is
left out and counted (``left_out``; ``times_asked`` is what was asked in truth). On a machine with other work the server
has but the share ``core`` of its core: ``goodput_with_an_equal_share_of_the_core`` sets that off.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import open_loop

SHARES = {"critical": 0.1, "normal": 0.7, "batch": 0.2}
TIMES = 5
PATIENCE = 20.0


@contextlib.contextmanager
def served(*given, pin=None):
    """The server in a process of its own; its port and process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).with_name("served.py")), folder, *given]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            if pin is not None:
                os.sched_setaffinity(process.pid, {pin})
            line = process.stdout.readline()
            assert "http://" in line, f"the server did not start: {line}"
            process.folder = Path(folder)
            yield int(line.rsplit(":", 1)[1]), process
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
        return answer.read()


class States(threading.Thread):
    """The states of the server's overload as it tells them, five times a second: (seconds since the start, state)."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.seen, self.began = port, [], time.monotonic()
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(0.2):
            self.look()

    def look(self):
        state = json.loads(get(self.port, "/v1/overload"))["state"]
        if not self.seen or self.seen[-1][1] != state:
            self.seen.append((round(time.monotonic() - self.began, 1), state))
        return state

    def normal(self):
        """Seconds from now until it is normal."""
        began = time.monotonic()
        while self.seen[-1][1] != "normal" and time.monotonic() - began < PATIENCE:
            time.sleep(0.1)
        self.ended.set()
        return round(time.monotonic() - began, 1)


def scheduled(pid):
    """Seconds that the server's loop thread ran, and that it was ready to run and waited for a core (Linux)."""
    ran, waited = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[:2]
    return int(ran) / 1e9, int(waited) / 1e9


def play(port, seconds, *, model, pid, measuring=3.0, times=TIMES):
    """Measure the capacity, push ``times`` of it, and wait for the end."""
    caller = open_loop.Caller(port, model)
    open_loop.closed(caller, 8, measuring / 3)
    caller.answers.clear()
    first = scheduled(pid)
    most = open_loop.closed(caller, 8, measuring)
    caller.close()
    caller, states = open_loop.Caller(port, model), States(port)
    before = scheduled(pid)
    states.start()
    answers = open_loop.push(caller, {p: times * most * share for p, share in SHARES.items()}, seconds)
    after = scheduled(pid)
    found = {"model": model, "seconds": seconds, "capacity_per_s": round(most, 1)} | open_loop.told(answers, seconds)
    found["left_out"] = dict(caller.left_out)
    found["times_asked"] = round(found["asked_per_s"] / most, 2)
    found["goodput_of_capacity"] = round(found["answered_per_s"] / most, 3)
    waited = [b[1] - a[1] for a, b in ((first, before), (before, after))]
    had = [1 - min(each / took, 0.9) for each, took in zip(waited, (measuring, seconds), strict=True)]
    found["goodput_with_an_equal_share_of_the_core"] = round(found["goodput_of_capacity"] * had[0] / had[1], 3)
    found["core"] = round(had[1], 3)
    found["normal_again_after_s"] = states.normal()
    found["states"] = states.seen
    found["connections"] = caller.made
    found["loop_ran_s"], found["loop_waited_for_a_core_s"] = round(after[0] - before[0], 1), round(waited[1], 1)
    caller.close()
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--model", default="slow")
    asked = parser.parse_args()
    with served(pin=0) as (port, server):
        os.sched_setaffinity(0, {1})
        time.sleep(2.0)
        measuring = max(3.0, asked.seconds / 20)  # in three seconds alone the capacity comes out up to 4 % off
        print(json.dumps(play(port, asked.seconds, model=asked.model, pid=server.pid, measuring=measuring), indent=1))


if __name__ == "__main__":
    main()
