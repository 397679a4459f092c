"""``modelkeep demo NAME``: one workload lives on a served app, from its simulator or from a recorded file."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct, structs
from rich.console import Console

from modelkeep.app import App
from modelkeep.clock import ManualClock
from modelkeep.nouns import Version
from modelkeep.quantities import DAY, HOUR, iso, moment
from modelkeep.replaying.beginning import first_version
from modelkeep.replaying.choosing import Chosen, choose
from modelkeep.replaying.driving import Served
from modelkeep.replaying.replay import Wanted, ending, prepared, renamed
from modelkeep.replaying.scoring import Ledgerbook
from modelkeep.replaying.simulating import simulated, workloads
from modelkeep.replaying.streaming import Stream
from modelkeep.replaying.tape import Tape, step_for
from modelkeep.runtimes import read_table
from modelkeep.settings import load
from modelkeep.workloads.flights import demo as flights
from modelkeep.workloads.flights.demo import Serve
from modelkeep.workloads.flights.replay import Moment, reached
from modelkeep.workloads.flights.story import Player, Story

START = moment("2026-01-05")
DAYS = 60.0


class Shown(Struct, frozen=True, kw_only=True):
    """Where and how a demo is shown: its folder, port, simulated days a second, end, and whether it stays after it."""

    folder: Path
    port: int
    speed: float
    until: float | None = None
    stay: bool = True


def play_all(shown: Shown, *, serve: Serve) -> int:
    """The real flights, and all workloads from their simulators, on one server."""

    def beside(app: App, tell: Callable[[str], None]) -> contextlib.AbstractContextManager[Callable[[float], None]]:
        return simulated(app, tell, played=workloads())

    return flights.play(
        folder=shown.folder,
        port=shown.port,
        speed=shown.speed,
        serve=serve,
        until=shown.until or flights.END,
        stay=shown.stay,
        beside=beside,
    )


def play_one(name: str, shown: Shown, *, serve: Serve) -> int:
    """One workload from its simulator."""
    if name == "flights":
        return flights.play(
            folder=shown.folder, port=shown.port, speed=shown.speed, serve=serve,
            until=shown.until or flights.END, stay=shown.stay,
        )  # fmt: skip
    place = _place(shown)
    clock = ManualClock(reached(place, START))
    end = shown.until or START + DAYS * DAY
    with _served(shown, clock, serve=serve, workload=name, model="") as (app, story):
        story.tell(f"{name}: everything here is simulated")
        with simulated(app, story.tell, played=workloads([name])) as hour, story.playing(clock.now(), end) as player:
            _hours(app, clock, hour=hour, player=player, shown=shown, end=end)
        story.tell(f"played to {iso(end)}; {story.url} keeps answering until Ctrl-C")
        _stay(shown)
    return 0


def play_file(wanted: Wanted, shown: Shown, *, serve: Serve) -> int:
    """A recorded file, streamed at ``speed`` days a second into a served app, by the recipe of the workload."""
    table = renamed(read_table(wanted.file), wanted.mapping)
    chosen = choose(table, wanted.workload, history=wanted.history)
    tape = Tape(prepared(chosen, table, wanted=wanted))
    start = tape.beginning(wanted.train_until)
    place = _place(shown)
    clock = ManualClock(reached(place, start))
    end = ending(tape, shown.until)
    with _served(shown, clock, serve=serve, workload=chosen.workload.name, model=chosen.recipe.model) as (app, story):
        story.tell(f"{chosen.name}: {wanted.file.name}, {len(tape.at):,} rows, from {iso(start)} to {iso(end)}")
        first = _first(app, chosen, tape=tape, start=start, story=story)
        book = Ledgerbook(tape, classifies=first.signature.classifies, unit=first.signature.output.unit)
        stream = Stream(app, clock, driver=Served(app), tape=tape, book=book, first=first)
        step = wanted.step or step_for(start, end, at=tape.at)
        with story.playing(clock.now(), end) as player:
            pace = _Pace(clock.now(), shown.speed)
            for done in stream.play(end=end, step=step):
                _remember(place, done.at)
                player.goes_on(Moment(at=done.at, predictions=done.predictions, outcomes=done.outcomes))
                pace.wait(done.at)
        story.tell(f"played to {iso(end)}; {story.url} keeps answering until Ctrl-C")
        _stay(shown)
    return 0


def _first(app: App, chosen: Chosen, *, tape: Tape, start: float, story: Story) -> Version:
    """Version 1, made now unless an earlier run made it."""
    with app.rooms.store.read() as ledger:
        if ledger.rollouts.get(chosen.recipe.model) is not None:
            return ledger.versions.get(chosen.recipe.model, 1)
    learnt = tape.learnt(start)
    story.tell(f"training version 1 on {len(learnt.truth):,} rows ...")
    source = f"recorded rows before {iso(start)}"
    return first_version(app, chosen.recipe, rows=learnt, source=source, work=Served(app).work)


def _hours(
    app: App, clock: ManualClock, *, hour: Callable[[float], None], player: Player, shown: Shown, end: float
) -> None:
    """Play hour by hour; the clock stands still while a model is trained, as five real seconds would else be days."""
    pace, served, place = _Pace(clock.now(), shown.speed), Served(app), _place(shown)
    while clock.now() < end:
        at = min(clock.now() + HOUR, end)
        clock.advance_to(at)
        hour(at)
        served.work()
        _remember(place, at)
        player.goes_on(Moment(at=at))
        pace.wait(at)


class _Pace:
    """Keeps simulated time from running faster than so many days a second."""

    def __init__(self, start: float, speed: float) -> None:
        self._start, self._speed, self._began = start, speed * DAY, time.perf_counter()

    def wait(self, at: float) -> None:
        """Sleep until the moment may come; when it is late, nothing is caught up by haste."""
        left = (at - self._start) / self._speed - (time.perf_counter() - self._began)
        if left > 0:
            time.sleep(left)


def _place(shown: Shown) -> Path:
    return shown.folder / "replay.txt"


def _remember(place: Path, at: float) -> None:
    fresh = place.with_suffix(".new")
    fresh.write_text(f"{at}\n")
    fresh.replace(place)


@contextlib.contextmanager
def _served(
    shown: Shown, clock: ManualClock, *, serve: Serve, workload: str, model: str
) -> Iterator[tuple[App, Story]]:
    """The app on its folder, served, with somebody who tells its story; Ctrl-C ends all in order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    console = Console()
    flights.configure(shown.folder)
    settings = load(folder=shown.folder, flags={"server.listen": [shown.port]})
    app = App.open(structs.replace(settings, workloads=(workload,)), clock=clock)
    try:
        with serve(app) as url, Story(console, url=url, model=model, unit="") as story:
            yield app, story
    except KeyboardInterrupt:
        console.print(f"stopped at {iso(clock.now())}; the same command goes on from there")


def _stay(shown: Shown) -> None:
    if shown.stay:
        threading.Event().wait()
