"""Shadows: after the answer the other version of a trial is asked the same, and its answer is recorded beside it.

In a shadow stage that is the challenger, on every input; in a canary the champion, on what the challenger answered:
the judge compares both on the same inputs, because their losses differ far less there than between arms.
"""

from __future__ import annotations

from collections.abc import Container
from functools import partial

from msgspec import structs

from modelkeep.nouns import Prediction
from modelkeep.runtimes import Loaded
from modelkeep.serving.calling import call
from modelkeep.serving.counters import Counters
from modelkeep.serving.discretion import minimal
from modelkeep.serving.lanes import Lane
from modelkeep.serving.recorder import Recorder
from modelkeep.serving.routes import Route

WAITING = 256
"""So many requests wait for one challenger at most; more are dropped and counted."""


class Shadows:
    """Runs challengers in the background, each in a thread of its own: one that hangs delays nobody."""

    def __init__(self, recorder: Recorder, counters: Counters) -> None:
        self._recorder, self._counters = recorder, counters
        self._lanes: dict[tuple[str, int], Lane] = {}

    def follow(self, route: Route, answered: tuple[Prediction, ...]) -> None:
        """Hand answered rows to the other version, or drop and count them when it lags or is not loaded."""
        rollout = route.rollout
        other = rollout.challenger
        if rollout.mode == "canary":
            answered = tuple(p for p in answered if p.role == "canary")
            other = rollout.champion
        if not answered:
            return
        loaded = None if other is None else route.loaded.get(other)
        keep = route.policy.privacy.keep
        if loaded is None or self._lane(loaded).submit(partial(self._run, loaded, answered, keep=keep)) is None:
            self._counters.shadows_dropped[rollout.model] += len(answered)

    @property
    def running(self) -> int:
        """Calls of challengers that were taken and have not ended."""
        return sum(lane.running for lane in list(self._lanes.values()))

    def retain(self, versions: Container[tuple[str, int]]) -> None:
        """Let the threads of all other versions go."""
        for name in [name for name in list(self._lanes) if name not in versions]:
            self._lanes.pop(name).close()

    def close(self, timeout: float) -> None:
        """End what has begun, within ``timeout`` seconds for each challenger."""
        for lane in list(self._lanes.values()):
            lane.close(timeout)

    def _lane(self, loaded: Loaded) -> Lane:
        name = (loaded.version.model, loaded.version.number)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(f"{loaded.version.name} shadow", threads=1, waiting=WAITING)
        return lane

    def _run(self, loaded: Loaded, answered: tuple[Prediction, ...], *, keep: tuple[str, ...]) -> None:
        found = call(loaded, [prediction.features for prediction in answered])
        answered = tuple(minimal(answered, keep)) if keep else answered
        names = self._recorder.new_ids(len(found))
        self._recorder.take(
            [
                structs.replace(
                    prediction,
                    id=name,
                    version=loaded.version.number,
                    role="shadow",
                    output=got.value,
                    seconds=got.seconds,
                    score=got.score,
                    interval=got.interval,
                    error=got.error,
                    stand_in=None,
                    of=prediction.id,
                )
                for name, got, prediction in zip(names, found, answered, strict=True)
            ]
        )
        self._counters.predictions[loaded.version.model, loaded.version.number, "shadow"] += len(found)
