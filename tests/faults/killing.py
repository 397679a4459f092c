"""Kills a process that records, again and again at random moments, and looks what became of what it had acknowledged.

The process is forked, so that a kill costs a tenth of a second and not a server's start: everything below the doors is
the product's own (recorder in ``sync``, spool, store, group commit), fed by four threads that write each id into a pipe
once its record is promised. Half of the kills come soon after the fork, while what the one before left behind is taken
up; the others at a moment of the full load. All of them go through one store and one spool.

Run: ``python tests/faults/killing.py ADDRESS FOLDER TIMES``, where ADDRESS is ``postgresql://...`` or a database file;
it prints one JSON object, and ends with 1 when anything was lost or counted twice.
"""

from __future__ import annotations

import json
import logging
import os
import random
import selectors
import signal
import sys
import threading
import time
from pathlib import Path

from modelkeep.clock import SystemClock
from modelkeep.nouns import Outcome, Prediction
from modelkeep.serving.recorder import Recorder
from modelkeep.store.folder import FolderFiles
from modelkeep.store.opening import postgresql, sqlite
from modelkeep.store.seams import Store

NOW = 1_795_000_000.0
THREADS, MOST = 4, 30
SOON, LATER = 0.25, 0.15
"""Seconds after the fork, or after the first acknowledgement, within which the kill comes."""


def opened(address: str) -> Store:
    if address.startswith("postgresql"):
        return postgresql(address, busy=5.0, pool_size=5, max_overflow=5, pre_ping=True)
    return sqlite(Path(address), busy=5.0)


def recorder_on(store: Store, folder: Path) -> Recorder:
    files = FolderFiles(folder / "files")
    return Recorder(store, SystemClock(), spool=folder / "spool", files=files, durability="sync")


def record(recorder: Recorder, said: int) -> None:
    """Predictions and outcomes as fast as they are taken; what is promised goes into the pipe ``said``."""
    while True:
        ids = recorder.new_ids(random.randint(1, MOST))
        made = [
            Prediction(
                id=name, model="weight", version=1, role="champion", features={"x": 1.0, "text": "x" * 50}, output=1.0,
                at=NOW + n, target=NOW + n, seconds=0.001, key=f"k{n % 7}",
            )
            for n, name in enumerate(ids)
        ]  # fmt: skip
        recorder.take(made).result()
        os.write(said, f"p {' '.join(ids)}\n".encode())  # less than PIPE_BUF: whole or not at all
        told = [Outcome(value=random.choice([0.5, 2.0]), at=NOW, prediction=name) for name in ids[::3]]
        recorder.tell(told).result()
        os.write(said, f"o {' '.join(f'{one.prediction}={one.value}' for one in told)}\n".encode())


def forked(address: str, folder: Path) -> tuple[int, int]:
    """A process that records until it is killed: its number, and the end of the pipe to read from."""
    heard, said = os.pipe()
    process = os.fork()
    if process:
        os.close(said)
        return process, heard
    try:
        random.seed()
        recorder = recorder_on(opened(address), folder)
        recorder.start()
        threads = [threading.Thread(target=record, args=(recorder, said), daemon=True) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        threads[0].join()
    finally:
        os._exit(1)


def killed(address: str, folder: Path, *, soon: bool) -> list[str]:
    """What one process acknowledged until it was killed."""
    process, heard = forked(address, folder)
    pieces: list[bytes] = []
    with selectors.DefaultSelector() as ready:
        ready.register(heard, selectors.EVENT_READ)
        until = time.monotonic() + (random.uniform(0.0, SOON) if soon else 60.0)
        while (left := until - time.monotonic()) > 0:
            if ready.select(left):
                if not (piece := os.read(heard, 1 << 16)):
                    break
                if not pieces and not soon:
                    until = time.monotonic() + random.uniform(0.0, LATER)
                pieces.append(piece)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, "it ended by itself"
    while piece := os.read(heard, 1 << 16):
        pieces.append(piece)
    os.close(heard)
    return b"".join(pieces).decode().splitlines()


def found(address: str, folder: Path, lines: list[str]) -> dict[str, int]:
    """What the store says of all that was acknowledged, once the last spool is taken up."""
    store = opened(address)
    recorder = recorder_on(store, folder)
    recorder.start()
    waiting = recorder.settle(120)
    recorder.close()
    promised = {name for line in lines if line.startswith("p ") for name in line[2:].split()}
    told = dict(pair.split("=") for line in lines if line.startswith("o ") for pair in line[2:].split())
    with store.read() as ledger:
        records = ledger.records
        kept = [p.id for p in records.latest("weight", limit=10**7)]
        matches = {m.prediction: m.value for m in records.matches("weight", limit=10**7)}
        folded = sum(s.profile.n for s in records.slices("weight", 1, role="champion", start=0.0, end=1e11))
        counted, labelled, _ = records.counts("weight")
        summed = records.sums("weight", start=0.0, end=1e11)["model"].n
    damage = store.faults()
    store.close()
    return {
        "promised": len(promised),
        "kept": len(kept),
        "outcomes": len(told),
        "lost": len(promised - set(kept)) + sum(matches.get(name) != float(value) for name, value in told.items()),
        "twice": len(kept) - len(set(kept)) + abs(folded - len(kept)) + abs(counted - len(kept)),
        "sums": abs(labelled - len(matches)) + abs(summed - len(matches)),
        "waiting": waiting,
        "damage": len(damage),
    }


def main(address: str, folder: Path, times: int) -> int:
    logging.getLogger("modelkeep").addHandler(logging.NullHandler())  # it says at each start what nobody was promised
    began, lines = time.monotonic(), list[str]()
    for number in range(times):
        lines += killed(address, folder, soon=number % 2 == 0)
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {times} kills, {len(lines)} acknowledgements", end="", file=sys.stderr)
    result = found(address, folder, lines)
    print(json.dumps({"kills": times, "seconds": round(time.monotonic() - began), **result}))
    return int(any(result[name] for name in ("lost", "twice", "sums", "waiting", "damage")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
