"""Five times the capacity over HTTP, open-loop: goodput, the critical class, how fast others are turned away, the end.

python benchmarks/overload/five_times.py [--seconds 300] [--own 0.02]

The server is a process of its own with one model that takes ``own`` seconds in each of its four threads. First its
capacity is measured (closed loop, as many callers as threads), then five times that is asked for: 10 % critical, 70 %
normal, 20 % batch. A request is due at its moment whatever became of the ones before; its time counts from then.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

SERVER = """
import sys, threading
from pathlib import Path
from modelkeep import settings
from modelkeep.app import App
from modelkeep.edge.server import serve
from modelkeep.jobs.changing import adopt
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Policy, Rollout, Signature

folder, own = Path(sys.argv[1]), float(sys.argv[2])
flags = {"server.listen": [0], "logs.level": "warning", "logs.console": False}
app = App.open(settings.load(folder=folder, environ={}, flags=flags))
source = folder / "slow.py"
source.write_text(f"import time\\ndef predict(row):\\n    time.sleep({own})\\n    return 2.0 * row['x']\\n")
signature = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))
with app.rooms.store.write() as ledger:
    policy = adopt(ledger, Policy(model="slow", isolation="never"), who="bench", why="", at=1.0)
version = register(app.rooms, Registration(
    model="slow", path=source, trust=True, signature=signature, metrics={"mae": 1.0}))
with app.rooms.store.write() as ledger:
    ledger.rollouts.put(Rollout(model="slow", champion=version.number, policy=policy.number, since=1.0), None)
serve(app, tell=lambda text: print(text, flush=True))
"""
IDLE = 3.0
"""The server closes a connection that was idle for five seconds; whoever uses one then may find it closing."""
BODY = b'{"features": {"x": 3.0}}'


class Caller:
    """Keep-alive connections, one request at a time on each."""

    def __init__(self, port):
        self.port, self.free, self.made = port, [], 0
        self.broken = []

    async def ask(self, priority, path=b"/v1/models/slow/predict"):
        reader, writer, idle = await self.open()
        writer.write(
            b"POST %b HTTP/1.1\r\nhost: x\r\nx-priority: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (path, priority, len(BODY), BODY)
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            self.broken.append(None if idle is None else round(idle, 2))
            raise
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(size)
        self.free.append((reader, writer, time.perf_counter()))
        return int(head[9:12]), b"retry-after" in head.lower()

    async def open(self):
        """A connection that the server has not closed for being idle, and for how long it was; or a new one."""
        while self.free:
            reader, writer, since = self.free.pop()
            if not reader.at_eof() and time.perf_counter() - since < IDLE:
                return reader, writer, time.perf_counter() - since
            writer.close()
        return *await self.connected(), None

    async def get(self, path):
        reader, writer = await self.connected()
        writer.write(b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % path)
        content = (await reader.read()).partition(b"\r\n\r\n")[2]
        writer.close()
        return json.loads(content)

    async def connected(self):
        self.made += 1
        return await asyncio.open_connection("127.0.0.1", self.port)


async def capacity(caller, seconds):
    """Answers a second when as many callers as threads ask one after another."""
    end, done = time.perf_counter() + seconds, 0

    async def one():
        nonlocal done
        while time.perf_counter() < end:
            await caller.ask(b"normal")
            done += 1

    await asyncio.gather(*(one() for _ in range(4)))
    return done / seconds


async def load(caller, rates, seconds):
    """Every request's priority, status, seconds from when it was due, and whether it said when to come back."""
    seen, tasks, late = [], set(), []
    plan = sorted((i / rate, p) for p, rate in rates.items() for i in range(int(rate * seconds)))
    began = time.perf_counter()

    async def one(due, priority):
        late.append(time.perf_counter() - began - due)
        try:
            status, told = await caller.ask(priority)
        except (OSError, asyncio.IncompleteReadError):
            status, told = 0, False  # no answer at all: a failure like any other
        seen.append((priority, status, time.perf_counter() - began - due, told))

    for due, priority in plan:
        wait = began + due - time.perf_counter()
        if wait > 0.0005:
            await asyncio.sleep(wait)
        task = asyncio.ensure_future(one(due, priority))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    took = time.perf_counter() - began
    await asyncio.gather(*tasks)
    assert len(seen) == len(plan), "a request was lost by the generator"
    return seen, took, late


def quantile(values, q):
    values = sorted(values)
    return values[min(int(q * len(values)), len(values) - 1)] if values else float("nan")


def scheduled(pid):
    """Seconds that the server's loop thread ran, and that it was ready to run and waited for a core (Linux)."""
    ran, waited = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[:2]
    return int(ran) / 1e9, int(waited) / 1e9


async def play(port, seconds, *, pid):
    caller = Caller(port)
    await capacity(caller, 1.0)
    most = await capacity(caller, 5.0)
    rates = {b"critical": 0.5 * most, b"normal": 3.5 * most, b"batch": 1.0 * most}
    before = scheduled(pid)
    seen, took, late = await load(caller, rates, seconds)
    after = scheduled(pid)
    ended = time.perf_counter()
    while (await caller.get(b"/v1/overload"))["state"] != "normal":  # noqa: ASYNC110 - it tells by being asked
        await asyncio.sleep(0.1)
    normal = time.perf_counter() - ended
    good = [s for _, status, s, _ in seen if status == 200]
    critical = [(status, s) for p, status, s, _ in seen if p == b"critical"]
    shed = [(s, told) for _, status, s, told in seen if status in {429, 503}]
    return {
        "seconds": round(took, 1),
        "capacity_per_s": round(most, 1),
        "offered_per_s": round(len(seen) / took, 1),
        "goodput_of_capacity": round(len(good) / took / most, 4),
        "critical_success": round(sum(status == 200 for status, _ in critical) / len(critical), 5),
        "critical_p50_ms": round(1000 * quantile([s for _, s in critical], 0.5), 1),
        "critical_p95_ms": round(1000 * quantile([s for _, s in critical], 0.95), 1),
        "critical_p99_ms": round(1000 * quantile([s for _, s in critical], 0.99), 1),
        "normal_success": round(
            sum(st == 200 for p, st, _, _ in seen if p == b"normal") / (rates[b"normal"] * seconds), 4
        ),
        "batch_success": round(
            sum(st == 200 for p, st, _, _ in seen if p == b"batch") / (rates[b"batch"] * seconds), 4
        ),
        "shed_p50_ms": round(1000 * quantile([s for s, _ in shed], 0.5), 2),
        "shed_p95_ms": round(1000 * quantile([s for s, _ in shed], 0.95), 2),
        "shed_with_retry_after": all(told for _, told in shed),
        "other_statuses": dict(Counter(status for _, status, _, _ in seen if status not in {200, 429, 503})),
        "broken_after_idle_s": Counter(map(str, caller.broken)),
        "critical_statuses": dict(Counter(status for status, _ in critical)),
        "loop_ran_s": round(after[0] - before[0], 1),
        "loop_waited_for_a_core_s": round(after[1] - before[1], 1),
        "generator_late_p50_ms": round(1000 * quantile(late, 0.5), 2),
        "generator_late_p95_ms": round(1000 * quantile(late, 0.95), 2),
        "normal_again_after_s": round(normal, 1),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--own", type=float, default=0.02)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", SERVER, folder, str(asked.own)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
        try:
            port = int(server.stdout.readline().rsplit(":", 1)[1])
            print(json.dumps(asyncio.run(play(port, asked.seconds, pid=server.pid)), indent=1))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
