"""The envelope of every answer, as the guide's service has it, and how an act fills it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from modelkeep import ModelkeepError, NotFound, Prediction, Rooms, Version, stamp
from modelkeep.workloads.restaurants import keeping

if TYPE_CHECKING:
    from modelkeep import App

T = TypeVar("T")
HOUR = 3600.0
KEPT = 512
RestaurantId = Annotated[
    str | int, Meta(description="The restaurant's id as it was sent: a whole number, a UUID or another text")
]


class Metadata(Struct, frozen=True, kw_only=True):
    """Which version answered (or by what rule), how long it took, whether it was kept from before, and when it was."""

    model_version: str
    prediction_time_ms: float
    cached: bool
    generated_at: datetime


class Envelope(Struct, frozen=True, kw_only=True):
    """Every answer: what it says is in ``data``."""

    metadata: Metadata
    success: bool = True


class Failure(Struct, frozen=True, kw_only=True):
    """Every refusal: a word for programs, and a sentence that says what to do."""

    error: str
    message: str
    timestamp: datetime
    success: bool = False


def refusal(error: ModelkeepError, at: float) -> Failure:
    """A refusal in the envelope."""
    return Failure(error=error.code, message=str(error), timestamp=stamp(at))


class Answers:
    """Answers of this hour, so that the same question about the same data is not asked twice."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[object, str]] = OrderedDict()
        self._lock = Lock()

    def get(self, place: bytes) -> tuple[object, str] | None:
        """What was answered, and by which version."""
        with self._lock:
            return self._kept.get(place)

    def put(self, place: bytes, answer: object, *, version: str) -> None:
        """Remember an answer."""
        with self._lock:
            self._kept[place] = (answer, version)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)


ANSWERS = Answers()


def answered(
    app: App,
    request: Struct,
    *,
    make: Callable[[], tuple[T, str]],
    kinds: tuple[str, ...],
    models: tuple[str, ...] = (),
) -> tuple[T, Metadata]:
    """What ``make`` gives (the data and the version that made it), or what it gave for the same question.

    A question is the same in one hour while no row of these ``kinds`` came in and no other version serves ``models``.
    """
    began, now = time.perf_counter(), app.rooms.clock.now()
    place = msgspec.msgpack.encode(
        (make.__module__, make.__qualname__, str(app.rooms.folder), now // HOUR, keeping.revision(app.rooms, *kinds),
         tuple(champion(app.rooms, model) for model in models), msgspec.to_builtins(request))
    )  # fmt: skip
    kept = ANSWERS.get(place)
    data, version = make() if kept is None else kept
    if kept is None:
        ANSWERS.put(place, data, version=version)
    took = round(1000 * (time.perf_counter() - began), 3)
    return data, Metadata(  # type: ignore[return-value]  # what is kept under a request is what it was answered
        model_version=version, prediction_time_ms=took, cached=kept is not None, generated_at=stamp(now)
    )


def unkept(app: App, began: float, *, version: str = "none") -> Metadata:
    """The metadata of an answer that is made anew each time; ``began`` by ``time.perf_counter``."""
    took = round(1000 * (time.perf_counter() - began), 3)
    now = stamp(app.rooms.clock.now())
    return Metadata(model_version=version, prediction_time_ms=took, cached=False, generated_at=now)


def champion(rooms: Rooms, model: str) -> int | None:
    """The number of the version that serves a model; None when none does."""
    with rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(model)
        return None if rollout is None else rollout.champion


def serving(rooms: Rooms, model: str) -> Version:
    """The version that serves a model. Raises NotFound saying how to make one."""
    with rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(model)
        if rollout is None:
            raise NotFound("released version of", model, known=[f"make one: modelkeep train restaurants/{model}"])
        return ledger.versions.get(model, rollout.champion)


def coverage(version: Version) -> float | None:
    """The share of truths that the version's intervals held on data that it had not seen; None when not measured."""
    measured = version.baseline.metrics.get("coverage")
    return None if measured is None else round(measured, 3)


def version_of(predictions: tuple[Prediction, ...]) -> str:
    """``model@number`` of who answered; a stand-in is named beside it."""
    for one in predictions:
        if one.stand_in is not None:
            return f"{one.model}@{one.version} (stood in for by {one.stand_in or 'the baseline'})"
        if one.output is not None:
            return f"{one.model}@{one.version}"
    return "none"
