"""The real server as a process of its own, and clients that knock at it: for tests that hurt it."""

import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from modelkeep.store.sqlite import SqliteStore

PROGRAM = Path(sys.executable).with_name("modelkeep")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("MODELKEEP_")}


@dataclass(frozen=True)
class Reply:
    """An answer: status, body, when it was asked and had arrived (monotonic seconds), which request of its traffic."""

    status: int
    content: bytes
    asked: float
    came: float
    number: int = 0

    @property
    def json(self):
        return json.loads(self.content)

    @property
    def error(self):
        """The error in the one shape that all refusals have."""
        error = self.json["error"]
        assert set(self.json) == {"error"}
        assert {"code", "message", "remedy", "problems", "near", "request_id"} == set(error)
        assert error["code"]
        assert error["message"]
        assert error["request_id"]
        return error


class Client:
    """One connection that is kept open and opened again when it was closed."""

    def __init__(self, port: int, timeout: float = 20.0) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def ask(self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None) -> Reply:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        asked = time.monotonic()
        self._connection.request(method, path, body=content, headers={"connection": "keep-alive", **(headers or {})})
        answer = self._connection.getresponse()
        content = answer.read()
        return Reply(answer.status, content, asked, time.monotonic())

    def close(self) -> None:
        self._connection.close()


class Live:
    """``modelkeep up`` on a data folder. ``seconds`` is how long it took until it was ready.

    ``effort`` is how many of them it had a processor: the rest belongs to whoever else used the machine.
    """

    def __init__(self, folder: Path, *, settings: str = "", failpoint: str = "") -> None:
        self.folder = folder
        (folder / "modelkeep.toml").write_text(f"{settings}\n")
        began = time.monotonic()
        environ = CLEAN | ({"MODELKEEP_FAILPOINT": failpoint} if failpoint else {})
        with (folder.parent / f"{folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(PROGRAM), "up", "-p", "0", "-C", str(folder)], env=environ, stdout=subprocess.PIPE, stderr=log
            )
        try:
            said = self.process.stdout.readline().decode()
            assert "http://127.0.0.1:" in said, f"{said}{self.log}"
            self.port = int(said.rpartition(":")[2])
            self._client = Client(self.port)
            self.ask("GET", "/health/live")
        except BaseException:
            self._client = Client(0)
            self.close()
            raise
        self.seconds = time.monotonic() - began
        used = psutil.Process(self.process.pid).cpu_times()
        self.effort = used.user + used.system

    @property
    def log(self) -> str:
        return (self.folder.parent / f"{self.folder.name}.log").read_text()

    @property
    def memory(self) -> int:
        """Bytes of memory that it has in use."""
        return psutil.Process(self.process.pid).memory_info().rss

    def ask(self, method: str, path: str, body: object = None, **more: object) -> Reply:
        for attempt in (1, 2):
            try:
                return self._client.ask(method, path, body, **more)
            except (http.client.HTTPException, OSError):  # it closed an idle or refused connection
                self._client.close()
                if attempt == 2:
                    raise
        raise AssertionError

    def get(self, path: str) -> Reply:
        return self.ask("GET", path)

    def post(self, path: str, body: object = None, **more: object) -> Reply:
        return self.ask("POST", path, body, **more)

    def predict(self, x: float = 1.0, model: str = "weight", **more: object) -> Reply:
        return self.post(f"/v1/models/{model}/predict", {"features": {"x": x}, **more})

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of the program, which finds this server by its folder."""
        return run(*words, "-C", str(self.folder))

    def alerts(self, kind: str) -> list[dict]:
        return [a for a in self.get("/v1/alerts").json["alerts"] if a["type"] == kind]

    def kill(self) -> float:
        """``kill -9``; the moment of it."""
        at = time.monotonic()
        self.process.kill()
        self.process.wait(10)
        return at

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Ask it to stop; its exit code and how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(30), time.monotonic() - began

    def close(self) -> None:
        self._client.close()
        if self.process.poll() is None:
            self.kill()
        self.process.stdout.close()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """A command of the program in a process of its own."""
    return subprocess.run([str(PROGRAM), *words], capture_output=True, text=True, timeout=60, env=CLEAN, check=False)


@dataclass
class Traffic:
    """What several clients asked at once: the replies in the order of coming, and what broke off."""

    replies: list[Reply] = field(default_factory=list)
    broken: list[tuple[float, str]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def stop(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self.threads)

    def ok(self) -> list[Reply]:
        return [reply for reply in self.replies if reply.status == 200]

    def ids(self) -> dict[str, Reply]:
        """Every prediction id that was answered with 200, with its answer."""
        found = {}
        for reply in self.ok():
            body = reply.json
            for one in body.get("predictions", [body]):
                assert one["prediction_id"] not in found, "one id for two answers"
                found[one["prediction_id"]] = reply
        return found

    def statuses(self) -> dict[int, int]:
        return {
            status: len([r for r in self.replies if r.status == status]) for status in {r.status for r in self.replies}
        }


def single(number: int) -> tuple[str, str, object]:
    """One prediction for one of fifty keys."""
    return "POST", "/v1/models/weight/predict", {"features": {"x": float(number % 100)}, "key": f"k{number % 50}"}


@contextmanager
def traffic(live: Live, make=single, *, clients: int = 4, rate: float | None = None):
    """Clients that ask what ``make(number)`` says, ``rate`` times a second together or as fast as they can.

    A client whose connection breaks notes it and opens another one, until the traffic is stopped.
    """
    found, numbers, began = Traffic(), itertools.count(), time.monotonic()

    def knock() -> None:
        client = Client(live.port)
        while not found.stopped.is_set():
            number = next(numbers)
            if rate is not None and found.stopped.wait(max(began + number / rate - time.monotonic(), 0.0)):
                break
            method, path, body = make(number)
            try:
                found.replies.append(replace(client.ask(method, path, body), number=number))
            except (http.client.HTTPException, OSError) as fault:
                found.broken.append((time.monotonic(), repr(fault)))
                client.close()
                found.stopped.wait(0.01)
        client.close()

    found.threads = [threading.Thread(target=knock, daemon=True) for _ in range(clients)]
    for thread in found.threads:
        thread.start()
    try:
        yield found
    finally:
        found.stop()


@contextmanager
def store_of(folder: Path):
    """What is in the store of a folder, read beside whoever else has it open."""
    store = SqliteStore(folder / "modelkeep.db")
    try:
        with store.read() as ledger:
            yield ledger
    finally:
        store.close()


def kept(folder: Path, model: str = "weight") -> list[str]:
    """The ids of all predictions in the store."""
    with store_of(folder) as ledger:
        return [p.id for p in ledger.records.latest(model, limit=1_000_000)]


def folded(folder: Path, model: str = "weight") -> int:
    """How many predictions the profiles have counted."""
    with store_of(folder) as ledger:
        return folded_in(ledger, model)


def folded_in(ledger, model: str = "weight") -> int:
    """The same, as a transaction sees it."""
    arms = ledger.records.arms(model, start=0.0, end=1e11)
    slices = [s for n, role in arms for s in ledger.records.slices(model, n, role=role, start=0.0, end=1e11)]
    return sum(s.profile.n for s in slices)


def file_of(folder: Path, digest: str) -> Path:
    """Where a file is kept."""
    return folder / "files" / digest[:2] / digest


def flip(path: Path, place: int = 0) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    with suppress(FileNotFoundError):
        path.write_bytes(data)
