"""What a server costs that does nothing, and how soon it is ready, beside ``mlflow server`` in the same run.

    python benchmarks/startup/idle.py [--mlflow PATH/TO/VENV/bin/mlflow] [--rounds 3]

MLflow is measured only when its own environment is named. Ready means: from the start of the process to the first 200
of ``/health/ready`` (MLflow: ``/health``). Memory is the resident size of the process and its children, 5 s after.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

MODELKEEP = Path(sys.executable).with_name("modelkeep")
BUDGET_RSS, BUDGET_MODULES, BUDGET_RATIO = 150, 250, 5


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def answers(url):
    with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=2) as answer:
        return answer.status == 200
    return False


def served(command, health):
    """Seconds until ready, processes, MB resident and CPU seconds of a server after 5 s of idleness."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        port = free_port()
        words = [word.format(port=port, folder=folder) for word in command]
        started = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            while not answers(f"http://127.0.0.1:{port}{health}"):
                if process.poll() is not None or time.perf_counter() - started > 180:
                    raise SystemExit(f"{words[0]} did not become ready")
                time.sleep(0.01)
            ready = time.perf_counter() - started
            time.sleep(5)
            tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            memory = sum(one.memory_info().rss for one in tree) / 2**20
            cpu = [sum(one.cpu_times()[:2]) for one in tree]
            return ready, len(tree), memory, sum(cpu)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def cpu_of(command):
    """CPU seconds of a command that ends by itself."""
    pid = os.posix_spawn(
        command[0], command, dict(os.environ), file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    usage = os.wait4(pid, 0)[2]
    return usage.ru_utime + usage.ru_stime


def modules():
    code = "import sys; import modelkeep; print(len(sys.modules))"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mlflow", type=Path, help="the mlflow command of an environment of its own")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    ours = [str(MODELKEEP), "up", "--folder", "{folder}/data", "--port", "{port}"]
    peer = [
        str(asked.mlflow), "server", "--host", "127.0.0.1", "--port", "{port}", "--backend-store-uri",
        "sqlite:///{folder}/mlflow.db", "--default-artifact-root", "{folder}/artifacts",
    ]  # fmt: skip
    mine, theirs = [], []
    for _ in range(asked.rounds):  # by turns, so that the machine's mood is shared
        mine.append(served(ours, "/health/ready"))
        if asked.mlflow:
            theirs.append(served(peer, "/health"))
    found = {
        "modules": modules(),
        "import_cpu_s": statistics.median(cpu_of([sys.executable, "-c", "import modelkeep"]) for _ in range(3)),
        "help_cpu_s": statistics.median(cpu_of([str(MODELKEEP), "--help"]) for _ in range(3)),
    }
    for name, rounds in (("modelkeep", mine), ("mlflow", theirs)):
        if rounds:
            ready, processes, memory, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
            found[name] = {"ready_s": ready, "processes": processes, "rss_mb": memory, "cpu_s": cpu}
    held = found["modules"] <= BUDGET_MODULES and found["modelkeep"]["rss_mb"] <= BUDGET_RSS
    if theirs:
        found["ready_ratio"] = found["mlflow"]["ready_s"] / found["modelkeep"]["ready_s"]
        held = held and found["ready_ratio"] >= BUDGET_RATIO
    print(json.dumps(found, indent=1))
    print(f"budgets: {BUDGET_MODULES} modules, {BUDGET_RSS} MB, {BUDGET_RATIO}x sooner: {'held' if held else 'MISSED'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
