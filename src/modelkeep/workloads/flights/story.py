"""What the terminal shows while the demo plays: how far it is, how good the answers are, and what happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from textwrap import wrap
from typing import Self, TypeVar

import httpx
import msgspec
from msgspec import Struct
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from modelkeep.workloads.flights.replay import Moment

T = TypeVar("T")
INDENT = " " * 13
BESIDE = 29
LINES = 2
"""Of what an event tells, so much is shown; the page and ``modelkeep timeline`` have the rest."""
TOLD = frozenset({"release", "retrain", "roll_back", "train"})
"""Work that is told here; the page shows the daily rounds of the workloads."""
EVERY = 12 * 3600.0
"""Simulated seconds between two looks at the server's timeline."""


class Event(Struct, frozen=True, kw_only=True):
    """One line of the server's timeline; see ``GET /v1/timeline``."""

    at: datetime
    kind: str
    what: str
    subject: str
    detail: str
    id: str


class Timeline(Struct, frozen=True, kw_only=True):
    """The answer of ``GET /v1/timeline``."""

    events: list[Event]


class Errors(Struct, frozen=True, kw_only=True):
    """What the story needs of ``GET /v1/models/{model}/accuracy``."""

    metrics: dict[str, float]
    baselines: dict[str, "Errors"] = {}


class Story:
    """Tells the replay to a person; reads everything from the server at ``url`` as any client would.

    ``model`` is the one whose error is shown, in ``unit``; without one, none is.
    """

    def __init__(self, console: Console, *, url: str, model: str = "flights", unit: str = "min") -> None:
        self._console, self._model, self._unit = console, model, unit
        self._client = httpx.Client(base_url=url, timeout=30.0)
        self._seen: set[tuple[str, str, str]] = set()
        self._notices: set[str] = set()
        self.url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self._client.close()

    def tell(self, text: str) -> None:
        """One line."""
        self._console.print(escape(text))

    @contextmanager
    def playing(self, start: float, end: float) -> Iterator["Player"]:
        """A progress bar over simulated time, from ``start`` to ``end`` (moments)."""
        self.tell(f"\nopen {self.url} (Ctrl-C stops, the same command goes on)\n")
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"))
        with Progress(*columns, console=self._console, transient=True) as progress:
            bar = progress.add_task(_day(start), total=max(end - start, 1.0), figures="")
            yield Player(self, progress, bar=bar, start=start)
        self.news()

    def news(self) -> None:
        """Print what happened since the last call."""
        events = self._get("/v1/timeline?limit=200", Timeline).events
        for event in reversed(events):
            place = (event.id, event.kind, event.what)
            if place not in self._seen:
                self._seen.add(place)
                self._print(event)

    def _print(self, event: Event) -> None:
        if event.kind == "alert" and event.what.startswith("info"):
            self._notices.add(event.id)
        if event.id in self._notices or event.what.startswith("release.") or event.what == "policy":
            return  # the page shows notices; the acts of a release are told by its steps; policies come with the demo
        if event.kind == "job" and event.what.partition(":")[0] not in TOLD:
            return
        colour = {"alert": "red", "job": "cyan", "act": "green"}[event.kind]
        colour = "green" if event.what == "resolved" else colour
        claim, _, detail = (event.detail.splitlines() or [""])[0].partition(": ")
        if event.kind != "alert":
            claim, detail = event.subject, event.detail
        first, *more = wrap(claim, max(self._console.width - BESIDE, 20)) or [""]
        line = f"[dim]{event.at:%d %b %H:%M}[/] [{colour}]{escape(event.what):15}[/] {escape(first)}"
        self._console.print(line, soft_wrap=True)
        for part in more:
            self._console.print(f"{' ' * BESIDE}{escape(part)}", soft_wrap=True)
        if detail and event.what != "resolved":
            width = max(self._console.width - len(INDENT), 20)
            for part in wrap(detail, width, max_lines=LINES, placeholder=" ..."):
                self._console.print(f"{INDENT}[dim]{escape(part)}[/]", soft_wrap=True)

    def figures(self) -> str:
        """The error of the last seven days beside the best automatic baseline's, in words."""
        if not self._model:
            return ""
        found = self._get(f"/v1/models/{self._model}/accuracy?window=7d", Errors)
        mine, rivals = _error(found), {name: _error(each) for name, each in found.baselines.items()}
        known = [(error, name) for name, error in rivals.items() if error is not None]
        if mine is None or not known:
            return "too few outcomes yet"
        error, name = min(known)
        return f"7-day error {_amount(mine, self._unit)}, best simple rule ({name}) {_amount(error, '')}"

    def _get(self, path: str, kind: type[T]) -> T:
        return msgspec.json.decode(self._client.get(path).raise_for_status().content, type=kind)


class Player:
    """Moves the progress bar along."""

    def __init__(self, story: Story, progress: Progress, *, bar: TaskID, start: float) -> None:
        self._story, self._progress, self._bar, self._start = story, progress, bar, start
        self._next = start

    def goes_on(self, done: Moment) -> None:
        """Show how far it is, and every half simulated day what happened."""
        self._progress.update(self._bar, completed=done.at - self._start, description=_day(done.at))
        if done.at >= self._next:
            self._next = done.at + EVERY
            self._story.news()
            sent = f"{done.predictions:,} predictions"
            self._progress.update(self._bar, figures=f"{sent}, {self._story.figures()}")


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%a %d %b %Y}"


def _error(found: Errors) -> float | None:
    """The mean error of numbers, or the share of wrong classes."""
    wrong = found.metrics.get("accuracy")
    return found.metrics.get("mae") if wrong is None else 1 - wrong


def _amount(error: float, unit: str) -> str:
    return f"{error:.1f} {unit}".rstrip() if error >= 1 else f"{error:.3g} {unit}".rstrip()
