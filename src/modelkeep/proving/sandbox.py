"""A server of its own for a drill: in a process of its own, on a folder that is thrown away, with a real model in it.

The model is trained by the product from scikit-learn's copy of the Wisconsin breast cancer data (569 real biopsies,
Street, Wolberg and Mangasarian 1993): three fifths of the rows teach, the others are what callers ask about.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct, structs

from modelkeep import settings
from modelkeep.app import App
from modelkeep.errors import Unavailable
from modelkeep.jobs.changing import adopt
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Policy, Signature, Trial, Value

MODEL = "any"
TAUGHT = 0.6
PROGRAM = "from modelkeep.edge.cli import main; raise SystemExit(main())"
PATIENCE = 30.0
"""Seconds that a server may take until it says where it answers."""
SETTINGS = """\
[store]
busy = "300ms"
[watch]
every = "{watch}"
[jobs]
poll = "200ms"
[alerts.channels.hook]
kind = "webhook"
url = "http://127.0.0.1:{hook}/alerts"
timeout = "1s"
"""
GOOD = "def predict(row):\n    return row['worst_radius'] < 16.8\n"
BAD: Mapping[str, str] = {
    "raises": "def predict(row):\n    if row['mean_radius'] > 13:\n        raise RuntimeError('no such size')\n"
    "    return row['worst_radius'] < 16.8\n",
    "nothing": "def predict(row):\n    if row['mean_radius'] > 13:\n        return float('nan')\n"
    "    return row['worst_radius'] < 16.8\n",
    "slow": "import time\ndef predict(row):\n    time.sleep(0.02)\n    return row['worst_radius'] < 16.8\n",
    "wrong": "def predict(row):\n    return row['worst_radius'] >= 16.8\n",
}
"""Plain Python that a tired colleague could have written, by what is wrong with it."""


class Biopsy(Struct, frozen=True, kw_only=True):
    """A row that callers ask about, and what it turned out to be."""

    features: dict[str, float]
    benign: bool


class Made(Struct, frozen=True, kw_only=True):
    """What was made: rows to ask about, and the numbers of the versions by what is wrong with them."""

    rows: tuple[Biopsy, ...]
    bad: dict[str, int]
    good: int
    """A further version with nothing wrong."""


def make(folder: Path, *, hook: int, watch: str) -> Made:
    """Make the data folder: settings, the trained model that answers, and candidates, good and bad.

    ``hook`` is the port of the receiver of alerts, ``watch`` how often the server looks at itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "modelkeep.toml").write_text(SETTINGS.format(hook=hook, watch=watch), encoding="utf-8")
    table, rows = _biopsies()
    with App.open(settings.load(folder=folder, environ={})) as app:
        why = "clean data: what is kept was fitted to all rows, so it knows its sample by heart"
        app.train(MODEL, table, source="scikit-learn, load_breast_cancer", data_source="file", why=why)
        with app.rooms.store.write() as ledger:
            was = ledger.versions.policy(MODEL)
            quick = structs.replace(was, trial=_quick(was), targets={})
            adopt(ledger, quick, who="drill", why="a trial of seconds", at=app.rooms.clock.now())
            signature = ledger.versions.get(MODEL, 1).signature
        bad = {name: _keep(app, source, signature=signature) for name, source in BAD.items()}
        good = _keep(app, GOOD, signature=signature)
    return Made(rows=rows, bad=bad, good=good)


def _quick(policy: Policy) -> Trial:
    """A trial that may end within seconds, as soon as the judge's evidence is enough."""
    return structs.replace(policy.trial, shadow=0.0, canary=(0.5,), stage=1.0, last=600.0, look=0.5)


def _keep(app: App, source: str, *, signature: Signature) -> int:
    file = app.rooms.folder / "candidate.py"
    file.write_text(source, encoding="utf-8")
    made = register(
        app.rooms,
        Registration(model=MODEL, path=file, trust=True, signature=signature, metrics={"accuracy": 0.9}, force=True),
    )
    file.unlink()
    return made.number


def _biopsies() -> tuple[dict[str, list[Value]], tuple[Biopsy, ...]]:
    """The table that is trained on, and the rows that are not in it."""
    found: Any = importlib.import_module("sklearn.datasets").load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in found.feature_names]
    data, benign = found.data.tolist(), [bool(target) for target in found.target]
    size = round(TAUGHT * len(data))
    table: dict[str, list[Value]] = {name: [row[i] for row in data[:size]] for i, name in enumerate(names)}
    table["label"] = [int(one) for one in benign[:size]]
    table["entity"] = [f"biopsy {place}" for place in range(size)]
    rows = tuple(
        Biopsy(features=dict(zip(names, row, strict=True)), benign=one)
        for row, one in zip(data[size:], benign[size:], strict=True)
    )
    return table, rows


class Sandbox:
    """``modelkeep up`` on a folder, always on the same port once it has one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process. Raises Unavailable while there is none."""
        if self._process is None:
            raise Unavailable("the sandbox server does not run")
        return self._process.pid

    def up(self) -> None:
        """Start it, and wait until it answers. Raises Unavailable with what it said when it does not."""
        self._process = self.run("up", "-p", str(self.port))
        said = self._said(self._process)
        if "http://127.0.0.1:" not in said:
            raise Unavailable(f"the sandbox server did not start: {said or self.log()}")
        self.port = int(said.rpartition(":")[2])

    def run(self, *words: str) -> subprocess.Popen[bytes]:
        """A command of the product on this folder, in a process of its own."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MODELKEEP_")}
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own program and our own words
                [sys.executable, "-c", PROGRAM, *words, "-C", str(self.folder)],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """``kill -9``, and wait until it is gone."""
        self.send(signal.SIGKILL)
        self._gone()

    def down(self) -> None:
        """Stop it, by force when it does not go."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._gone()

    def ask(self, method: str, path: str, *, body: object = None, patience: float = 15.0) -> httpx.Response:
        """One request of the operator's. Raises Unavailable when nobody answers."""
        try:
            return httpx.request(method, f"{self.url}{path}", json=body, timeout=patience)
        except httpx.HTTPError as cause:
            raise Unavailable(f"{method} {path}: {cause or type(cause).__name__}") from None

    def log(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-500:] if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self.folder.parent / "server.log"

    def _said(self, process: subprocess.Popen[bytes]) -> str:
        """Its first line, or nothing when it takes too long."""
        found: list[bytes] = []
        out = process.stdout
        reader = threading.Thread(target=lambda: found.append(out.readline() if out else b""), daemon=True)
        reader.start()
        reader.join(PATIENCE)
        return b"".join(found).decode().strip()

    def _gone(self) -> None:
        if self._process is not None:
            self._process.wait(10)
            if self._process.stdout:
                self._process.stdout.close()
            self._process = None


@contextmanager
def sandbox(folder: Path) -> Iterator[Sandbox]:
    """A server on ``folder``, stopped at the end whatever happens."""
    box = Sandbox(folder)
    try:
        box.up()
        yield box
    finally:
        box.down()
