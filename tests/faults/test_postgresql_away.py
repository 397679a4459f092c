"""PostgreSQL is hurt while records come in: nothing acknowledged is lost, nothing is counted twice."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from live_server import folded_in
from waiting import until

from modelkeep.clock import SystemClock
from modelkeep.errors import StoreUnavailable
from modelkeep.nouns import Outcome, Prediction
from modelkeep.serving.recorder import Recorder
from modelkeep.store.folder import FolderFiles
from modelkeep.store.postgresql import PostgresStore

NOW = 1_795_000_000.0
NUMBERS = itertools.count()


class Proxy:
    """A wire to the server that can be cut, also in the middle of what is being sent."""

    def __init__(self, port):
        self._target, self._pairs, self._lock = port, [], threading.Lock()
        self.left = None
        """How many more bytes reach the server before every connection is cut; None = any number."""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for one in itertools.chain(*pairs):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listening.close()
        self.cut()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    self._pairs.append((client, server))
                for there, here, limited in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=(there, here, limited), daemon=True).start()

    def _pump(self, there, here, limited):
        with contextlib.suppress(OSError), there, here:
            while data := there.recv(4096):
                if limited and self.left is not None:
                    data, self.left = data[: self.left], self.left - len(data)
                    if self.left <= 0:
                        here.sendall(data)
                        self.left = None
                        self.cut()
                        return
                here.sendall(data)


@pytest.fixture
def database(durable_postgres):
    url = durable_postgres.database()
    yield url
    durable_postgres.drop(url)


@pytest.fixture
def wire(durable_postgres):
    proxy = Proxy(durable_postgres.port)
    yield proxy
    proxy.close()


def through(wire, url):
    head, _, name = url.rpartition("/")
    return f"{head.rpartition(':')[0]}:{wire.port}/{name}"


class Traffic:
    """A recorder in ``sync`` that gets predictions with outcomes until it is stopped; what was acknowledged of them."""

    def __init__(self, url, folder):
        self.url, self.store = url, PostgresStore(url, busy=1.0)
        clock, files = SystemClock(), FolderFiles(folder / "files")
        self.recorder = Recorder(self.store, clock, spool=folder / "spool", files=files, durability="sync")
        self.recorder.start()
        self._waiting: list[tuple[list[str], Future]] = []
        self.told = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.is_set():
            ids = self.recorder.new_ids(25)
            some = [
                Prediction(
                    id=name, model="weight", version=1, role="champion", features={"x": 1.0, "text": "x" * 200},
                    output=1.0, at=NOW + n, target=NOW + n, seconds=0.001, key=f"k{n % 7}",
                )
                for n, name in zip(NUMBERS, ids, strict=False)
            ]  # fmt: skip
            with contextlib.suppress(StoreUnavailable):
                self._waiting.append((ids, self.recorder.take(some)))
                values = {name: random.choice([0.5, 2.0]) for name in ids[:10]}
                outcomes = [Outcome(value=v, at=NOW, prediction=name) for name, v in values.items()]
                self.recorder.tell(outcomes)
                self.told |= values
            self._stop.wait(0.02)

    @property
    def acknowledged(self):
        return [name for ids, taken in self._waiting if taken.done() and not taken.exception() for name in ids]

    def stop(self):
        self._stop.set()
        self._thread.join(10)
        until(lambda: self.recorder.state.held == 0, within=30, what=f"the line is worked off: {self.recorder.state}")
        self.recorder.close()
        self.store.close()

    def check(self, url):
        """Every acknowledged prediction is there once, and every sum says what the rows say."""
        store = PostgresStore(url)
        with store.read() as ledger:
            records = ledger.records
            kept = [p.id for p in records.latest("weight", limit=10**6)]
            matches = {m.prediction: m.value for m in records.matches("weight", limit=10**6)}
            assert set(self.acknowledged) <= set(kept), "lost"
            assert len(kept) == len(set(kept)), "twice"
            assert folded_in(ledger) == len(kept) == records.counts("weight")[0], "profiles and counts"
            assert matches == {name: self.told[name] for name in matches}
            assert {name for name in self.told if name in set(kept)} == set(matches), "outcomes"
            sums = records.sums("weight", start=0.0, end=1e11)["model"]
            assert sums.n == len(matches) == records.counts("weight")[1]
            assert sums.error == pytest.approx(sum(1.0 - value for value in matches.values()), abs=1e-9)
        store.close()
        return len(kept)


def hurt(url, folder, act, *, times, check=None):
    traffic = Traffic(url, folder)
    try:
        for _ in range(times):
            before = len(traffic.acknowledged)
            until(lambda before=before: len(traffic.acknowledged) > before + 200, within=30)
            act()
    finally:
        traffic.stop()
    return traffic.check(check or url)


@pytest.mark.row("LOG-01", "TUN-08")
def test_killed_backends_lose_nothing_and_count_nothing_twice(durable_postgres, database, tmp_path):
    def act():
        for _ in range(5):
            durable_postgres.end_connections(database)
            time.sleep(random.uniform(0.0, 0.02))  # at any moment of a group

    print(hurt(database, tmp_path, act, times=6), "records")


@pytest.mark.row("LOG-01")
def test_a_server_that_crashes_under_load_loses_nothing_that_was_acknowledged(durable_postgres, database, tmp_path):
    def act():
        durable_postgres.stop(signal.SIGQUIT)
        time.sleep(0.2)  # records go into the spool meanwhile
        durable_postgres.start()

    print(hurt(database, tmp_path, act, times=2), "records")


@pytest.mark.prove
def test_a_wire_that_is_cut_in_the_middle_of_a_copy_leaves_no_half_group(database, wire, tmp_path):
    def act():
        wire.left = random.randrange(200, 40_000)
        until(lambda: wire.left is None, within=20)

    print(hurt(through(wire, database), tmp_path, act, times=12, check=database), "records")


@pytest.mark.prove
def test_a_wire_that_is_cut_while_the_answer_is_on_its_way_counts_nothing_twice(database, wire, tmp_path):
    def act():
        time.sleep(random.uniform(0.0, 0.03))  # also between a commit and its answer
        wire.cut()

    print(hurt(through(wire, database), tmp_path, act, times=12, check=database), "records")


def test_a_server_whose_disk_is_full_refuses_and_takes_all_when_there_is_room(durable_postgres, database, tmp_path):
    name = database.rpartition("/")[2]
    durable_postgres.do(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$",
        name,
    )

    traffic = Traffic(database, tmp_path)
    until(lambda: len(traffic.acknowledged) > 200, within=30)
    durable_postgres.do("CREATE TRIGGER no_room BEFORE INSERT ON matches EXECUTE FUNCTION no_room()", name)
    cause = until(lambda: traffic.recorder.state.cause)
    assert "is full: no space is left on its disk" in cause
    durable_postgres.do("DROP TRIGGER no_room ON matches", name)
    traffic.stop()
    print(traffic.check(database), "records")


@pytest.fixture
def small(durable_postgres):
    """A database on a file system of its own with 64 MB, and the folder where that is mounted."""
    durable_postgres.drop(durable_postgres.database())  # the template is there now
    place = Path(tempfile.mkdtemp(prefix="modelkeep-small-"))
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0755", "none", place]
    if os.geteuid() != 0 or subprocess.run(mounted, capture_output=True, check=False).returncode:
        place.rmdir()
        pytest.skip("mounting a small tmpfs needs root")
    try:
        (place / "held").mkdir()
        shutil.chown(place / "held", durable_postgres.owner)
        durable_postgres.do(f"CREATE TABLESPACE small LOCATION '{place}/held'")
        durable_postgres.do("CREATE DATABASE small TEMPLATE migrated STRATEGY file_copy TABLESPACE small")
        yield durable_postgres.url("small"), place
        durable_postgres.drop(durable_postgres.url("small"))
        durable_postgres.do("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "-l", place], check=False)
        place.rmdir()


@pytest.mark.row("LOG-01")
def test_a_disk_without_a_byte_left_refuses_and_takes_all_when_there_is_room(small, tmp_path):
    """The file system of the tables is filled to the last block, not a word of the server is made up."""
    url, place = small
    traffic = Traffic(url, tmp_path)
    until(lambda: len(traffic.acknowledged) > 200, within=30)
    filler = place / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    cause = until(lambda: traffic.recorder.state.cause, within=30)
    assert "is full: no space is left on its disk" in cause
    before = len(traffic.acknowledged)
    until(lambda: len(traffic.acknowledged) > before + 100, within=30, what="the spool takes them meanwhile")
    filler.unlink()
    traffic.stop()
    print(traffic.check(url), "records")
