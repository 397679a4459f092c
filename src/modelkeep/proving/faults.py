"""The faults of a drill, one after another: what is done to the sandbox, and what it answers to whoever did it.

Every fault is a real one: a signal, a lock, a byte, a connection, a bad version. Each is put right again by itself.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from msgspec import Struct

from modelkeep.clock import SystemClock
from modelkeep.errors import Refused, Unavailable
from modelkeep.proving.hooks import Hook
from modelkeep.proving.load import Load
from modelkeep.proving.sandbox import MODEL, Biopsy, Made, Sandbox

now = SystemClock().now
PREDICT = f"/v1/models/{MODEL}/predict"
HUGE = 100 * 1024 * 1024
VERDICT = 120.0
"""Seconds until a bad version is convicted: it answers the labelled rows first, then every second caller."""
HOUR = 3600.0
ENDED = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a fault may hurt. ``hold`` is how long a lasting fault lasts, in seconds."""

    box: Sandbox
    load: Load
    made: Made
    hook: Hook
    hold: float
    disk: Path | None = None
    """A small file system that the folder is on, where there may be one."""

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        SystemClock().wait(threading.Event(), seconds)

    def until(self, found: Callable[[], bool], *, within: float, what: str) -> None:
        """Wait until something is so. Raises Unavailable naming it when that takes too long."""
        end = now() + within
        while not found():
            if now() > end:
                raise Unavailable(f"not within {within:g} s: {what}")
            self.wait(0.1)

    def post(self, body: object, path: str = PREDICT) -> httpx.Response:
        """Ask something of one's own, beside the load."""
        return self.box.ask("POST", path, body=body)

    def row(self) -> Biopsy:
        """A row to ask about."""
        return self.made.rows[0]


class Fault(Struct, frozen=True, kw_only=True):
    """One fault. ``act`` does it and puts it right, and answers in words what came of it.

    It raises Refused when the server did not behave.
    """

    name: str
    act: Callable[[Scene], str]


def _killed(scene: Scene) -> str:
    scene.wait(0.2)
    began = now()
    scene.box.kill()
    scene.box.up()
    return f"killed; serving again after {now() - began:.1f} s"


def _stopped(scene: Scene) -> str:
    span = min(scene.hold, 3.0)
    scene.box.send(signal.SIGSTOP)
    try:
        scene.wait(span)
    finally:
        scene.box.send(signal.SIGCONT)
    return f"frozen for {span:.1f} s, then it went on"


def _locked(scene: Scene) -> str:
    with contextlib.closing(sqlite3.connect(scene.box.folder / "modelkeep.db", isolation_level=None)) as other:
        other.execute("PRAGMA busy_timeout = 5000")
        other.execute("BEGIN EXCLUSIVE")
        scene.wait(scene.hold)
        ready = scene.box.ask("GET", "/health/ready").status_code
        other.execute("ROLLBACK")
    return f"the store locked for {scene.hold:.1f} s; /health/ready said {ready}"


def _full(scene: Scene) -> str:
    """Every byte of the sandbox's own small disk is taken; without one, its files' folder is closed to writing."""
    if scene.disk is None:
        return _closed(scene)
    filler = scene.disk / "filler"
    try:
        _fill(filler)
        scene.wait(scene.hold)
        ready = scene.box.ask("GET", "/health/ready").status_code
    finally:
        filler.unlink()
    return f"no byte free for {scene.hold:.1f} s; /health/ready said {ready}"


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass


def _closed(scene: Scene) -> str:
    files = scene.box.folder / "files"
    mode = files.stat().st_mode
    files.chmod(0o500)
    try:
        sent = httpx.put(f"{scene.box.url}/v1/files", content=b"z" * 100_000, timeout=15)
        scene.wait(scene.hold)
    finally:
        files.chmod(mode)
    return f"the files' folder could not be written; a file sent then was answered {sent.status_code}"


def _flipped(scene: Scene) -> str:
    """One byte of the file that answers; it is in memory, so callers keep their answers, and the check must tell."""
    told = scene.box.ask("GET", f"/v1/models/{MODEL}/versions/1").json()
    path = _file(scene.box.folder, told["version"]["artifact"] if "version" in told else told["artifact"])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.write_bytes(data)
    try:
        said = scene.box.ask("POST", f"/v1/models/{MODEL}/versions/1/verify").text
    finally:
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
        path.chmod(mode)
    if '"ok":true' in said:
        raise Refused("a changed byte of the model file was not noticed")
    return "verify named the changed file"


def _file(folder: Path, digest: str) -> Path:
    return folder / "files" / digest[:2] / digest


def _on_trial(kind: str) -> Callable[[Scene], str]:
    """A bad version on half of the keys, until the judge convicts it."""

    def act(scene: Scene) -> str:
        number, began = scene.made.bad[kind], now()
        job = _released(scene, number)
        try:
            scene.until(lambda: _state(scene, job) in ENDED, within=VERDICT, what="the judge's verdict")
        except Unavailable:
            scene.post({}, path=f"/v1/jobs/{job}/cancel")  # the next version needs the place
            raise
        result = scene.box.ask("GET", f"/v1/releases/{job}").json()["job"]
        state = (result["result"] or {}).get("state", result["state"])
        if state == "promoted":
            raise Refused(f"version {number}, which {kind}, was promoted")
        return f"version {number} ended as {state} {now() - began:.1f} s after its release"

    return act


def _released(scene: Scene, number: int) -> str:
    asked = {"number": number, "force": True, "why": "a drill"}
    answer = scene.post(asked, path=f"/v1/models/{MODEL}/releases")
    if answer.status_code >= 400:
        raise Refused(f"version {number} could not be released: {answer.text[:200]}")
    return str(answer.json()["job"])


def _state(scene: Scene, job: str) -> str:
    return str(scene.box.ask("GET", f"/v1/jobs/{job}").json()["state"])


def _rolled_back(scene: Scene) -> str:
    """A good version is on trial, and a person ends it."""
    _released(scene, scene.made.good)
    scene.until(lambda: _challenged(scene), within=15, what="the trial's first answers")
    began = now()
    answer = scene.post({"why": "a drill"}, path=f"/v1/models/{MODEL}/rollback")
    if answer.status_code != 200:
        raise Refused(f"the rollback was answered {answer.status_code}: {answer.text[:200]}")
    return f"back on version {answer.json()['champion']} in {1000 * (now() - began):.0f} ms"


def _challenged(scene: Scene) -> bool:
    return scene.box.ask("GET", f"/v1/models/{MODEL}").json()["rollout"]["challenger"] is not None


def _refused(
    *, body: object = None, content: bytes | None = None, wanted: tuple[int, ...], path: str = PREDICT
) -> Callable[[Scene], str]:
    """A request that must be refused with one of these statuses."""

    def act(scene: Scene) -> str:
        sent = (
            httpx.post(f"{scene.box.url}{path}", content=content, timeout=15)
            if content is not None
            else scene.post(body, path)
        )
        if sent.status_code not in wanted:
            raise Refused(f"answered {sent.status_code}, expected {wanted[0]}: {sent.text[:100]}")
        return f"answered {sent.status_code} {sent.json()['error']['code']}"

    return act


def _huge(scene: Scene) -> str:
    """100 MB, sent piece by piece without a length."""

    def pieces() -> Iterator[bytes]:
        for _ in range(HUGE // (1 << 20)):
            yield b"x" * (1 << 20)

    try:
        status = httpx.post(f"{scene.box.url}{PREDICT}", content=pieces(), timeout=30).status_code
    except httpx.HTTPError as cause:
        return f"the connection was closed before all of it was sent ({type(cause).__name__})"
    if status != 413:
        raise Refused(f"100 MB were answered {status}, expected 413")
    return "answered 413 too_large"


def _loris(scene: Scene) -> str:
    """Fifty callers whose bodies never end."""
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode()
    with contextlib.ExitStack() as held:
        for _ in range(50):
            one = held.enter_context(socket.create_connection(("127.0.0.1", scene.box.port), timeout=5))
            one.sendall(head + b"{")
        scene.wait(scene.hold)
    return f"50 bodies open for {scene.hold:.1f} s"


def _dropped(scene: Scene) -> str:
    """A hundred callers who go in the middle of a request."""
    for place in range(100):
        with socket.create_connection(("127.0.0.1", scene.box.port), timeout=5) as one:
            one.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n".encode()[: 20 + place])
    return "100 connections dropped"


def _outcome(*, body: Callable[[str], object], wanted: tuple[str, ...]) -> Callable[[Scene], str]:
    """An outcome of a prediction that was just made; its state must be one of these."""

    def act(scene: Scene) -> str:
        made = scene.post({"features": scene.row().features, "key": "drill"}).json()["prediction_id"]
        answer = scene.post(body(made), path="/v1/outcomes")
        states = [one["state"] for one in answer.json().get("outcomes", [])] or [answer.json()["error"]["code"]]
        if states[-1] not in wanted:
            raise Refused(f"an outcome was {states[-1]}, expected {wanted[0]}: {answer.text[:150]}")
        return f"told as {states[-1]}"

    return act


def _contradicting(made: str) -> object:
    return {"outcomes": [{"prediction_id": made, "actual": True}, {"prediction_id": made, "actual": False}]}


def _webhook(scene: Scene) -> str:
    """Nobody takes the alerts; a version breaks meanwhile, and its alert must arrive later."""
    before = scene.hook.received
    with scene.hook.away():
        scene.wait(scene.hold)
    return f"the receiver of alerts was away for {scene.hold:.1f} s; {scene.hook.received - before} came since"


def _second(scene: Scene) -> str:
    other = scene.box.run("up", "-p", "0")
    try:
        code = other.wait(30)
    finally:
        other.kill()
        if other.stdout:
            other.stdout.close()
    if code == 0:
        raise Refused("a second server took the folder")
    return f"refused with exit code {code}"


def faults(made: Made) -> tuple[Fault, ...]:
    """All faults of a drill, in their order."""
    row = made.rows[0].features
    name = next(iter(row))
    old = now() - 400 * 24 * HOUR
    return (
        Fault(name="malformed JSON", act=_refused(content=b'{"features": {', wanted=(400,))),
        Fault(name="a body of 100 MB", act=_huge),
        Fault(name="an unknown feature", act=_refused(body={"features": {**row, "colour": 1}}, wanted=(422,))),
        Fault(name="a feature of the wrong type", act=_refused(body={"features": {**row, name: "big"}}, wanted=(422,))),
        Fault(
            name="an unknown model", act=_refused(body={"features": row}, path="/v1/models/none/predict", wanted=(404,))
        ),
        Fault(name="slow-loris bodies", act=_loris),
        Fault(name="connections dropped mid-request", act=_dropped),
        Fault(
            name="an outcome for an unknown prediction",
            act=_outcome(body=lambda _: {"prediction_id": "0-0", "actual": True}, wanted=("orphan",)),
        ),
        Fault(name="contradictory outcomes", act=_outcome(body=_contradicting, wanted=("corrected",))),
        Fault(
            name="an outcome from a skewed clock",
            act=_outcome(
                body=lambda made: {"prediction_id": made, "actual": True, "at": old}, wanted=("bad_input", "joined")
            ),
        ),
        Fault(name="store locked by another process", act=_locked),
        Fault(name="disk full", act=_full),
        Fault(name="model file changed by a byte", act=_flipped),
        Fault(name="version that raises", act=_on_trial("raises")),
        Fault(name="version that answers NaN", act=_on_trial("nothing")),
        Fault(name="slow version", act=_on_trial("slow")),
        Fault(name="canary that is wrong", act=_on_trial("wrong")),
        Fault(name="rollback under load", act=_rolled_back),
        Fault(name="receiver of alerts down", act=_webhook),
        Fault(name="second server on the folder", act=_second),
        Fault(name="server frozen (SIGSTOP)", act=_stopped),
        Fault(name="server killed (kill -9)", act=_killed),
    )
