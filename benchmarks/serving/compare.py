"""Our server beside a bare echo and beside other model servers, in one run, with one model, on the same cores.

    python benchmarks/serving/compare.py [--peers fastapi,litserve,bentoml,mlserver,ray] [--cache FOLDER]
        [--seconds 5] [--rounds 3] [--connections 1,16,64]

Each server has core 0, ``wrk`` has core 1 (``taskset`` and ``wrk`` are the machine's). Peers are installed on demand
into environments of their own below ``--cache`` (``~/.cache/modelkeep-peers``). Everything is asked by turns, so that
the machine's mood is shared, and who is not asked is stopped meanwhile; figures are medians over the rounds. Ours
records and counts; nothing else does. CPU is what all threads of a server used for a request, from ``/proc``: it is
steadier than requests a second where others use the machine, too.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).parent
INSTALLED = {
    "fastapi": ["fastapi", "uvicorn[standard]", "scikit-learn"],
    "litserve": ["litserve", "scikit-learn"],
    "bentoml": ["bentoml", "scikit-learn"],
    "mlserver": ["mlserver", "mlserver-sklearn", "scikit-learn"],
    "ray": ["ray[serve]", "scikit-learn"],
}
ROW = [0.5, -0.25, 1.5, 0.125, -1.0, 0.75, 2.0, -0.5]
NAMES = [f"f{i}" for i in range(8)]


def rows(n):
    return [[value + i / 1000 for value in ROW] for i in range(n)]


def ours(n):
    if n == 1:
        return {"features": dict(zip(NAMES, ROW, strict=True)), "key": "entity 1"}
    return {"rows": [{"features": dict(zip(NAMES, row, strict=True)), "key": f"e{i}"} for i, row in enumerate(rows(n))]}


def plain(n):
    return {"rows": rows(n)}


def tensor(n):
    data = [value for row in rows(n) for value in row]
    return {"inputs": [{"name": "x", "shape": [n, 8], "datatype": "FP64", "data": data}]}


@dataclass
class Server:
    name: str
    command: list
    path: str
    body: object
    environ: dict = field(default_factory=dict)
    cwd: Path | None = None
    health: str = ""
    process: subprocess.Popen | None = None
    port: int = 0
    ready: float = 0.0

    def start(self, folder):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        words = [str(word).format(port=self.port) for word in self.command]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("MODELKEEP_")} | self.environ
        began = time.perf_counter()
        with (folder / f"{self.name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", "0", *words], env=environ, cwd=self.cwd, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        while not self.answers():
            if self.process.poll() is not None or time.perf_counter() - began > 180:
                raise RuntimeError(f"{self.name} did not start: {(folder / f'{self.name}.log').read_text()[-1500:]}")
            time.sleep(0.01)
        self.ready = time.perf_counter() - began

    def answers(self):
        data = json.dumps(self.body(1)).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{self.path}", data=data, headers={"content-type": "application/json"}
        )
        with contextlib.suppress(OSError), urllib.request.urlopen(asked, timeout=5) as answer:
            return answer.status == 200
        return False

    def tree(self):
        mine = psutil.Process(self.process.pid)
        return [mine, *mine.children(recursive=True)]

    def sleep(self, *, on):
        """Stop or continue every process of the server: who is not measured takes no processor from who is."""
        for one in self.tree():
            with contextlib.suppress(psutil.Error):
                (one.suspend if on else one.resume)()

    def cpu(self):
        """CPU seconds of every process of the server."""
        return sum(sum(one.cpu_times()[:2]) for one in self.tree())

    def memory(self):
        return sum(one.memory_info().rss for one in self.tree()) / 2**20

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def asked(server, body, connections, seconds, folder):
    """Requests a second, p50 and p99 in ms, bad answers, and CPU us a request, by wrk on core 1."""
    script = folder / "ask.lua"
    text = json.dumps(body).replace("\\", "\\\\").replace("'", "\\'")
    script.write_text(f"wrk.method='POST'\nwrk.headers['Content-Type']='application/json'\nwrk.body='{text}'\n")
    before = server.cpu()
    words = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", str(script)]
    said = subprocess.run(
        [*words, f"http://127.0.0.1:{server.port}{server.path}"], capture_output=True, text=True, check=True
    ).stdout
    used = server.cpu() - before
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    n = int(re.search(r"(\d+) requests in", said)[1])
    return {
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]),
        "p50": _ms(re.search(r"\n +50%\s+(\S+)", said)[1]),
        "p99": _ms(re.search(r"\n +99%\s+(\S+)", said)[1]),
        "bad": int(bad[1]) if bad else 0,
        "cpu": used / max(n, 1) * 1e6,
    }


def _ms(text):
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if found is None:
        raise RuntimeError(f"wrk says {text}: nothing was answered")
    number, unit = found.groups()
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]


def open_loop(server, body, rate, seconds):
    """p50 and p99 in ms at a fixed rate, each from the moment at which the request was due."""
    code = (
        "import json,sys;from modelkeep.proving.pressing import Wanted,press;a=json.loads(sys.argv[1]);"
        "f=press(Wanted(host='127.0.0.1',port=a['port'],path=a['path'],bodies=[a['body'].encode()],n=a['n'],"
        "connections=16,rate=a['rate']));print(json.dumps([f.whole.p50,f.whole.p99,f.late,f.rate]))"
    )
    given = {"port": server.port, "path": server.path, "body": json.dumps(body), "n": int(rate * seconds), "rate": rate}
    found = subprocess.run(
        ["taskset", "-c", "1", sys.executable, "-c", code, json.dumps(given)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(found.stdout)


# ---------------------------------------------------------------------------------------------------- servers


def environment(name, cache):
    """The interpreter of a peer's own environment, made when it is missing."""
    place = cache / name
    if not (place / "installed").exists():
        print(f"installing {name} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([place / "bin" / "pip", "install", "-q", "--prefer-binary", *INSTALLED[name]], check=True)
        (place / "installed").touch()
    python = place / "bin" / "python"
    if not (place / "model" / "model.pkl").exists():
        subprocess.run([python, HERE / "peers" / "making.py", place / "model"], check=True)
    return python, place / "model"


def peer(name, cache):
    python, model = environment(name, cache)
    file = model / "model.pkl"
    if name == "bentoml":
        words = [python, "-m", "bentoml", "serve", "bentoml_app:Trees", "--port", "{port}", "--host", "127.0.0.1"]
        return Server(name, words, "/predict", plain, {"MODEL": str(file)}, HERE / "peers")
    if name == "mlserver":
        return Server(name, [python, "-m", "mlserver", "start", model], "/v2/models/trees/infer", tensor)
    return Server(name, [python, HERE / "peers" / f"{name}_app.py", file, "{port}"], "/predict", plain)


def start_mlserver(server, cache, folder):
    """MLServer reads its port from files; adaptive batching is on."""
    model = cache / "mlserver" / "model"
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        ports = []
        for taken in (one, two, three):
            taken.bind(("127.0.0.1", 0))
            ports.append(taken.getsockname()[1])
    settings = {"http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2], "host": "127.0.0.1",
                "parallel_workers": 0}  # fmt: skip
    (model / "settings.json").write_text(json.dumps(settings))
    shown = {"name": "trees", "implementation": "mlserver_sklearn.SKLearnModel", "max_batch_size": 64,
             "max_batch_time": 0.002, "parameters": {"uri": "./model.joblib"}}  # fmt: skip
    (model / "model-settings.json").write_text(json.dumps(shown))
    code = "import joblib,pickle,sys;joblib.dump(pickle.load(open('model.pkl','rb')),'model.joblib')"
    subprocess.run([server.command[0], "-c", code], cwd=model, check=True)
    began = time.perf_counter()
    with (folder / "mlserver.log").open("wb") as log:
        words = ["taskset", "-c", "0", server.command[0], "-m", "mlserver.cli", "start", "."]
        cli = cache / "mlserver" / "bin" / "mlserver"
        server.process = subprocess.Popen(
            [*words[:3], str(cli), "start", "."], cwd=model, stdout=log, stderr=log, start_new_session=True
        )
    server.port = ports[0]
    while not server.answers():
        if server.process.poll() is not None or time.perf_counter() - began > 180:
            raise RuntimeError(f"mlserver did not start: {(folder / 'mlserver.log').read_text()[-1500:]}")
        time.sleep(0.05)
    server.ready = time.perf_counter() - began


def keep(folder):
    """Our data folder with the model registered and released: by skops, with whatever runner registration finds."""
    code = f"""
import sys
from pathlib import Path
import numpy as np, skops.io
from sklearn.ensemble import HistGradientBoostingRegressor
from modelkeep import settings
from modelkeep.app import App
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Rollout, Signature
rng = np.random.default_rng(1)
x = rng.normal(size=(20_000, 8))
y = x[:, 0] * 2 + x[:, 1] * x[:, 2] + rng.normal(size=20_000) * 0.1
path = Path({str(folder)!r}) / "model.skops"
skops.io.dump(HistGradientBoostingRegressor(max_iter=100, random_state=0).fit(x, y), path)
takes = Signature(inputs=tuple(Field(name=n, kind="number") for n in {NAMES}), output=Field(name="y", kind="number"))
with App.open(settings.load(folder=Path({str(folder)!r}) / "data", environ={{}})) as app:
    version = register(app.rooms, Registration(model="trees", path=path, signature=takes, metrics={{"mae": 0.1}}))
    with app.rooms.store.write() as ledger:
        ledger.rollouts.put(Rollout(model="trees", champion=version.number), None)
    print(version.runner)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if said.returncode:
        raise SystemExit(said.stderr[-3000:])
    print("runner:", said.stdout.strip())
    package = Path(importlib.util.find_spec("modelkeep").origin).parent
    subprocess.run([sys.executable, "-m", "compileall", "-q", package], check=True)  # as pip does when it installs
    words = [Path(sys.executable).with_name("modelkeep"), "up", "-p", "{port}", "-C", folder / "data"]
    return Server("modelkeep", words, "/v1/models/trees/predict", ours)


# ----------------------------------------------------------------------------------------------------- the table


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", default=",".join(INSTALLED))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "modelkeep-peers")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", default="1,16,64")
    given = parser.parse_args()
    if not shutil.which("wrk") or not shutil.which("taskset"):
        raise SystemExit("wrk and taskset must be installed")
    folder = Path(tempfile.mkdtemp(prefix="modelkeep-compare-"))
    counts = [int(text) for text in given.connections.split(",")]
    echo = Server("echo", [sys.executable, HERE / "floor.py", "{port}"], "/", ours)
    mine = keep(folder)
    others = [peer(name, given.cache.resolve()) for name in given.peers.split(",") if name]
    found, started = {}, []
    try:
        for server in (echo, mine, *others):
            try:
                if server.name == "mlserver":
                    start_mlserver(server, given.cache.resolve(), folder)
                else:
                    server.start(folder)
            except RuntimeError as fault:
                print(fault)
                server.stop()
                continue
            started.append(server)
            print(f"{server.name}: first answer after {server.ready:.2f} s, {server.memory():.0f} MB", flush=True)
            server.sleep(on=True)
        cases = [(1, count) for count in counts] + [(100, 4)]
        for turn in range(given.rounds):
            for n, count in cases:
                for server in started:
                    server.sleep(on=False)
                    got = asked(server, server.body(n), count, given.seconds, folder)
                    found.setdefault((server.name, n, count), []).append(got)
                    drained(server)
                    server.sleep(on=True)
            print(f"round {turn + 1} of {given.rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
        shown(started, cases, found)
        for server in (echo, mine):
            server.sleep(on=False)
        half(echo, mine, found, counts)
        print(f"memory now: {', '.join(f'{s.name} {s.memory():.0f} MB' for s in started)}")
    finally:
        for server in started:
            server.sleep(on=False)
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def drained(server):
    """Wait until our records are in the store, so that the next measurement begins clean; told how long it took."""
    if server.name != "modelkeep":
        return
    began = time.perf_counter()
    while time.perf_counter() - began < 120:
        text = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=20).read().decode()
        if float(re.search(r"^modelkeep_records_held (\S+)", text, re.MULTILINE)[1]) < 50:
            lost = float(re.search(r"^modelkeep_records_dropped_total (\S+)", text, re.MULTILINE)[1])
            print(
                f"   records were in the store {time.perf_counter() - began:.1f} s later, {lost:.0f} lost", flush=True
            )
            return
        time.sleep(0.1)
    print("   records were NOT in the store after 120 s")


def shown(started, cases, found):
    def middle(name, n, count, what):
        return statistics.median(one[what] for one in found[name, n, count])

    best = {
        case: max((middle(s.name, *case, "rate") for s in started if s.name not in {"echo", "modelkeep"}), default=None)
        for case in cases
    }
    for n, count in cases:
        print(f"\n{n} row{'s' * (n > 1)} a request, {count} connections (medians of {len(found['echo', n, count])})")
        print(
            f"{'':12}{'requests/s':>12}{'of echo':>9}{'CPU us':>9}{'echo/CPU':>10}{'p50 ms':>9}{'p99 ms':>9}{'bad':>6}"
        )
        floor, cpu = middle("echo", n, count, "rate"), middle("echo", n, count, "cpu")
        for server in started:
            rate, mine = middle(server.name, n, count, "rate"), middle(server.name, n, count, "cpu")
            bad = sum(one["bad"] for one in found[server.name, n, count])
            p50, p99 = middle(server.name, n, count, "p50"), middle(server.name, n, count, "p99")
            line = f"{server.name:12}{rate:12,.0f}{rate / floor:9.3f}{mine:9.1f}{cpu / max(mine, 1e-9):10.3f}"
            print(f"{line}{p50:9.2f}{p99:9.2f}{bad:6}")
        if best[n, count]:
            print(f"modelkeep / best peer: {middle('modelkeep', n, count, 'rate') / best[n, count]:.1f}")


def half(echo, mine, found, counts):
    """At half of what ours answers at 16 connections: how much later than the echo's its answers come."""
    count = 16 if 16 in counts else counts[-1]
    rate = min(statistics.median(one["rate"] for one in found["modelkeep", 1, count]) / 2, 4000)
    print(f"\nat {rate:,.0f} requests/s, open loop (an asyncio client asks at most 4,000 a second)")
    for server in (echo, mine):
        p50, p99, late, got = open_loop(server, server.body(1), rate, 5)
        print(
            f"{server.name:12}p50 {p50:8.2f} ms   p99 {p99:8.2f} ms   {got:,.0f} answered/s   client late {late:.2f} ms"
        )


if __name__ == "__main__":
    main()
