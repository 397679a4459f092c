"""Streams a tape through an app: outcomes are told, rows are asked, jobs run, all at the tape's own moments."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct, structs

from modelkeep.app import App
from modelkeep.clock import ManualClock
from modelkeep.errors import BadFeatures, ModelFailed, Unavailable
from modelkeep.nouns import Features, Outcome, Output, Version
from modelkeep.quantities import DAY
from modelkeep.replaying.driving import Driver
from modelkeep.replaying.happened import Witness
from modelkeep.replaying.scoring import Ledgerbook
from modelkeep.replaying.tape import TICKS, Tape, Tick
from modelkeep.runtimes import Loaded, load
from modelkeep.serving.gateway import Answer, Ask

MOST = 2000
"""Rows of one request."""
WARM = 28 * DAY
"""Outcomes of so long before the start are told, so that the automatic baselines know what anybody would."""
PATIENCE = 60.0


class Progress(Struct, frozen=True, kw_only=True):
    """How far a replay is: the simulated moment, and what was asked, told and refused so far."""

    at: float
    predictions: int = 0
    outcomes: int = 0
    refused: int = 0


class Stream:
    """Plays one model's tape from the clock's moment.

    Args:
        app: with version 1 released.
        clock: the app's clock, moved by this stream alone.
        driver: how the app is asked, and how its jobs get done.
        tape: what is asked and told.
        book: where the answers are noted.
        first: version 1, which is also asked everything by itself, to see what would have been without any repair.
    """

    def __init__(
        self, app: App, clock: ManualClock, *, driver: Driver, tape: Tape, book: Ledgerbook, first: Version
    ) -> None:
        self._app, self._clock, self._driver, self._tape, self._book = app, clock, driver, tape, book
        self._model = first.model
        self._first = first.number
        self._frozen: Loaded = load(first, app.rooms.files.path)
        self._inputs = tuple(field.name for field in first.signature.inputs)
        self._signature = first.signature
        self._ids: dict[int, str] = {}
        self._told = 0
        self.witness = Witness(first.model)
        self.reasons: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self.done = Progress(at=clock.now())

    def play(self, *, end: float, step: float) -> Iterator[Progress]:
        """Play from the clock's moment to ``end``; yields after every step, when all its jobs have run."""
        now = self._clock.now()
        self._warm(now)
        while now < end:
            following = min(now + step, end)
            for tick in self._tape.ticks(now, following, width=step / TICKS):
                self._ask(tick)
            self._clock.advance_to(following)
            self._tell(following)
            self._settle()
            with self._timed("jobs"):
                self._driver.work()
                with self._app.rooms.store.read() as ledger:
                    self.witness.look(ledger)
            now = following
            self.done = structs.replace(self.done, at=now, refused=sum(self.reasons.values()))
            yield self.done

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began

    # ------------------------------------------------------------------------------------------------ outcomes

    def _warm(self, now: float) -> None:
        """Pass over what was told long before the start."""
        tape, order = self._tape, self._tape.in_order_of_telling
        while self._told < len(order) and tape.told[order[self._told]] < now - WARM:
            self._told += 1
        self._tell(now)

    def _tell(self, until: float) -> None:
        """Tell every outcome that is known by ``until``."""
        tape, order = self._tape, self._tape.in_order_of_telling
        began = self._told
        while self._told < len(order) and tape.told[order[self._told]] <= until:
            self._told += 1
        with self._timed("tell"):
            for first in range(began, self._told, MOST):
                places = order[first : min(first + MOST, self._told)]
                self._app.rooms.recorder.tell([self._outcome(i) for i in places]).result(PATIENCE)
        self.done = structs.replace(self.done, outcomes=self.done.outcomes + self._told - began)

    def _outcome(self, place: int) -> Outcome:
        tape, rows = self._tape, self._tape.rows
        asked = self._ids.pop(place, None)
        if asked is not None:
            return Outcome(value=rows.truth[place], at=tape.told[place], prediction=asked)
        return Outcome(
            value=rows.truth[place],
            at=tape.told[place],
            model=self._model,
            key=rows.keys[place],
            target=tape.targets[place],
        )

    # ------------------------------------------------------------------------------------------------- asking

    def _ask(self, tick: Tick) -> None:
        """Ask the rows of a tick, knowing what was told before the first of them."""
        tape = self._tape
        self._clock.advance_to(tape.at[tick.first])
        self._tell(tape.at[tick.first])
        self._clock.advance_to(tape.at[tick.end - 1])
        for first in range(tick.first, tick.end, MOST):
            places = list(range(first, min(first + MOST, tick.end)))
            rows = [tape.features(place, self._inputs) for place in places]
            self._asked(*self._fitting(places, rows=rows))

    def _asked(self, places: Sequence[int], rows: Sequence[Features]) -> None:
        if not places:
            return
        tape = self._tape
        ask = Ask(
            model=self._model,
            rows=rows,
            keys=[tape.rows.keys[place] for place in places],
            targets=[tape.targets[place] for place in places],
            request=f"replay-{places[0]}",
        )
        with self._timed("predict"):
            try:
                answer = self._driver.ask(ask)
            except (ModelFailed, Unavailable) as failure:
                self.reasons[str(failure)] += len(places)
                return
        for place, prediction in zip(places, answer.predictions, strict=True):
            self._book.kept[place] = prediction.output
            self._ids[place] = prediction.id
        self._left_alone(places, rows, answer=answer)
        self.done = structs.replace(self.done, predictions=self.done.predictions + len(places))

    def _fitting(self, places: list[int], *, rows: list[Features]) -> tuple[list[int], list[Features]]:
        """The rows that the signature takes; the others are counted with what is wrong with them."""
        route = self._app.rooms.gateway.routes[self._model]
        if all(map(route.fits, rows)):
            return places, rows
        good = []
        for place, row in zip(places, rows, strict=True):
            problems = route.signature.problems(row)
            if problems:
                self.reasons[f"{problems[0].field}: expected {problems[0].expected}"] += 1
            else:
                good.append((place, row))
        return [place for place, _ in good], [row for _, row in good]

    def _left_alone(self, places: Sequence[int], rows: Sequence[Features], *, answer: Answer) -> None:
        """What version 1 says, were it never replaced."""
        theirs: list[Output | None] = [
            p.output if p.version == self._first and p.error is None else None for p in answer.predictions
        ]
        missing = [i for i, output in enumerate(theirs) if output is None]
        with self._timed("frozen"):
            if missing:
                try:
                    said = self._frozen.predict([rows[i] for i in missing]).values
                except (ModelFailed, BadFeatures):
                    return
                for i, answered in zip(missing, said, strict=True):
                    theirs[i] = answered
        for place, output in zip(places, theirs, strict=True):
            self._book.frozen[place] = output

    def _settle(self) -> None:
        """Let the other version of a trial finish answering, so that its answers belong to this step."""
        with self._timed("shadows"):
            gateway, recorder = self._app.rooms.gateway, self._app.rooms.recorder
            until = time.perf_counter() + PATIENCE
            while (gateway.shadowing or recorder.state.held) and time.perf_counter() < until:
                time.sleep(0.001)
