"""A drill: callers ask all the time, faults come one after another, and at the end stands what callers saw."""

from __future__ import annotations

import importlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from modelkeep.errors import ModelkeepError, Unavailable
from modelkeep.proving.faults import Fault, Scene, faults, now
from modelkeep.proving.hooks import Hook
from modelkeep.proving.load import Load, under_load
from modelkeep.proving.measuring import Seen, Span, Told, epoch, measured, seen_by
from modelkeep.proving.sandbox import MODEL, Made, Sandbox, make, sandbox
from modelkeep.workloads.any.kpis import Kpi

SMALL = "96m"
"""Size of the sandbox's own disk, where one may be mounted."""
READY = 60.0
LASTING = 0.3
"""The part of its turn that a lasting fault lasts."""
LEAST, MOST = 0.5, 10.0

Say = Callable[[str], None]


class Wanted(Struct, frozen=True, kw_only=True):
    """How to drill: for how long, at how many requests a second, and for how many seconds a caller tries again."""

    minutes: float = 10.0
    rate: float = 20.0
    patience: float = 10.0
    watch: str = "5s"


class Report(Struct, frozen=True, kw_only=True):
    """What came of a drill; ``failed`` names the KPIs that were missed and the faults that were not survived."""

    minutes: float
    rate: float
    patience: float
    faults: tuple[Span, ...]
    kpis: tuple[Kpi, ...]
    failed: tuple[str, ...]


def drill(wanted: Wanted, *, say: Say) -> Report:
    """Make a sandbox, hurt it, and tell the KPIs; nothing of it stays.

    Raises Unavailable when the sandbox cannot be made or does not start.
    """
    with ExitStack() as held:
        base = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="modelkeep-drill-")))
        disk = held.enter_context(_disk(base / "disk"))
        folder = (disk or base) / "data"
        hook = held.enter_context(Hook().open())
        say("making a sandbox: a model trained on scikit-learn's breast cancer data")
        made = make(folder, hook=hook.port, watch=wanted.watch)
        box = held.enter_context(sandbox(folder))
        _ready(box, made)
        load = Load(url=box.url, rows=made.rows, rate=wanted.rate, patience=wanted.patience)
        start = now()
        with under_load(load):
            turn = wanted.minutes * 60 / (len(faults(made)) + 1)
            hold = min(max(LASTING * turn, LEAST), MOST)
            scene = Scene(box=box, load=load, made=made, hook=hook, hold=hold, disk=disk)
            scene.wait(min(turn, 5.0))
            spans = tuple(_hurt(scene, fault, turn=turn, say=say) for fault in faults(made))
            scene.wait(max(start + wanted.minutes * 60 - now(), 2.0))
            end = now()
        return _told(wanted, _seen(box, load, wanted=wanted, span=(start, end), spans=spans, made=made))


def _ready(box: Sandbox, made: Made) -> None:
    """Wait until the first version answers."""
    end = now() + READY
    while box.ask("POST", f"/v1/models/{MODEL}/predict", body={"features": made.rows[0].features}).status_code != 200:
        if now() > end:
            raise Unavailable(f"the sandbox's model does not answer after {READY:g} s", remedy="try again later")
        importlib.import_module("time").sleep(0.2)


def _hurt(scene: Scene, fault: Fault, *, turn: float, say: Say) -> Span:
    """One fault, what came of it, and the quiet after it."""
    start, survived = now(), True
    try:
        detail = fault.act(scene)
    except (ModelkeepError, httpx.HTTPError, OSError) as cause:
        survived, detail = False, str(cause) or type(cause).__name__
    end = now()
    said = Span(name=fault.name, start=start, end=end, survived=survived, detail=detail)
    say(f"{'ok  ' if survived else 'BAD '} {fault.name}: {detail}")
    scene.wait(turn - (end - start))
    return said


def _seen(
    box: Sandbox, load: Load, *, wanted: Wanted, span: tuple[float, float], spans: tuple[Span, ...], made: Made
) -> Seen:
    """What callers and the server have to tell."""
    alerts: list[dict[str, Any]] = box.ask("GET", "/v1/alerts?limit=500").json()["alerts"]
    told = msgspec.json.decode(box.ask("GET", "/api/kpis?days=1").content, type=_Kpis)
    rollouts = box.ask("GET", f"/v1/rollouts?model={MODEL}").json()["rollouts"]
    live = {int(one["champion"]) for one in rollouts}
    return Seen(
        start=span[0],
        end=span[1],
        patience=wanted.patience,
        calls=tuple(load.calls),
        spans=tuple(seen_by(one, load.between(one.start, one.end)) for one in spans),
        alerts=tuple(_alert(one) for one in alerts),
        server={kpi.name: kpi for kpi in told.kpis},
        live=len(live),
        bad=len(live & set(made.bad.values())),
    )


class _Kpis(Struct):
    kpis: tuple[Kpi, ...]


def _alert(told: Mapping[str, Any]) -> Told:
    return Told(severity=told["severity"], opened=epoch(told["timestamp"]) or 0.0, resolved=epoch(told["resolved"]))


def _told(wanted: Wanted, seen: Seen) -> Report:
    found = measured(seen)
    missed = [kpi.name for kpi in found if kpi.met is False]
    return Report(
        minutes=(seen.end - seen.start) / 60,
        rate=wanted.rate,
        patience=wanted.patience,
        faults=seen.spans,
        kpis=found,
        failed=(*missed, *(span.name for span in seen.spans if not span.survived)),
    )


@contextmanager
def _disk(place: Path) -> Iterator[Path | None]:
    """A small file system of the drill's own where root may mount one, else None."""
    if os.geteuid() != 0 or not _done("mount", "-t", "tmpfs", "-o", f"size={SMALL}", "none", str(place)):
        yield None
        return
    try:
        yield place
    finally:
        _done("umount", "-l", str(place))


def _done(*words: str) -> bool:
    """Whether a program of the system is there and did it."""
    if words[0] == "mount":
        Path(words[-1]).mkdir()
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0  # noqa: S603 - our own words
    except OSError:
        return False
