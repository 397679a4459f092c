"""What people say of predictions: feedback on single ones, and reviews of a sample."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep.errors import BadInput
from modelkeep.given import given_id
from modelkeep.operations.act import By, DurationText, ModelName, MomentText, Operation, moment
from modelkeep.operations.models import known, sought
from modelkeep.operations.predictions import FeedbackView, PredictionView, said, view
from modelkeep.operations.seeing import note, veiled
from modelkeep.operations.truths import OURS
from modelkeep.opinions import Feedback, Review
from modelkeep.quantities import seconds
from modelkeep.store.seams import Hit, Sought

if TYPE_CHECKING:
    from modelkeep.app import App

WORST = 10
POOL = 5000
"""A sample for review is drawn from so many of the newest predictions."""


class TellFeedback(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody says of one prediction; with ``model`` it is named by the id that its service gave it.

    ``id`` is the caller's own name of this feedback: sent again, it changes nothing.
    """

    prediction_id: Annotated[str, Meta(description="Id of the prediction", min_length=1, max_length=200)]
    rating: Annotated[int, Meta(description="From 1 (worst) to 5", ge=1, le=5)]
    comment: Annotated[str, Meta(description="In words", max_length=4000)] = ""
    model: Annotated[str, Meta(description="Model of an id that a service gave", max_length=200)] = ""
    id: Annotated[str, Meta(description="Name of this feedback, to send it again", max_length=200)] = ""
    at: MomentText | None = None
    by: Annotated[str, Meta(description="Who says it", max_length=200)] = ""


class ToldFeedback(Struct, frozen=True, kw_only=True):
    """The feedback's id; ``new`` is false when it was known, ``known`` whether its prediction is kept (yet)."""

    id: str
    prediction_id: str
    new: bool
    known: bool


class ReadFeedback(Struct, frozen=True, kw_only=True):
    """Of one model or all, in the last ``window`` before ``end`` (now by default)."""

    model: Annotated[str, Meta(description="Only feedback on this model", max_length=200)] = ""
    window: DurationText = "7d"
    end: MomentText | None = None


class FeedbackSummary(Struct, frozen=True, kw_only=True):
    """How many said something, how often each rating was given, their mean (None without any), and the worst ten."""

    count: int
    mean: float | None
    ratings: dict[str, int]
    worst: tuple[FeedbackView, ...]


class ReviewSample(Struct, frozen=True, kw_only=True):
    """A sample of ``sample`` predictions of the last ``window``; ``dry_run`` shows it and marks nothing.

    ``seed`` draws the same sample again, as long as nothing else was recorded or reviewed.
    """

    model: ModelName
    sample: Annotated[int, Meta(description="How many predictions", ge=1, le=1000)] = 50
    window: DurationText = "30d"
    note: Annotated[str, Meta(description="A remark that is kept with each of them", max_length=2000)] = ""
    seed: int | None = None
    dry_run: Annotated[bool, Meta(description="Only show the sample; mark nothing")] = False
    by: By = ""


class Sampled(Struct, frozen=True, kw_only=True):
    """The sample, each prediction with its truth; ``strata`` say how many of each kind there were and were drawn."""

    predictions: tuple[PredictionView, ...]
    by: str
    marked: int
    strata: dict[str, str]


def tell_feedback(app: App, request: TellFeedback) -> ToldFeedback:
    """Say what a prediction was worth to you: a rating from 1 (worst) to 5, and a comment.

    It may come before its prediction does. Raises BadInput naming the field.
    """
    ours = bool(OURS.fullmatch(request.prediction_id))
    if not ours and not request.model:
        raise BadInput.of(
            "prediction_id",
            expected="a prediction id such as 12-345, or with model the id that the service gave it",
            got=repr(request.prediction_id[:80]),
        )
    prediction = request.prediction_id if ours else given_id(request.model, request.prediction_id)
    at = moment(request.at, "at")
    told = Feedback(
        id=request.id or uuid.uuid4().hex,
        prediction=prediction,
        rating=request.rating,
        at=app.rooms.clock.now() if at is None else at,
        comment=request.comment,
        by=request.by,
        model=request.model,
    )
    with app.rooms.store.write() as ledger:
        (new,) = ledger.said.add_feedback([told])
        is_known = bool(ledger.records.whereabouts([prediction]))
    return ToldFeedback(id=told.id, prediction_id=prediction, new=new, known=is_known)


def read_feedback(app: App, request: ReadFeedback) -> FeedbackSummary:
    """Tell what people said of predictions: how many, how good, and the worst ten.

    Raises NotFound for an unknown model.
    """
    end = moment(request.end, "end")
    end = app.rooms.clock.now() + 1e-3 if end is None else end
    start, model = end - seconds(request.window, "window"), request.model or None
    with app.rooms.store.read() as ledger:
        sought(ledger, request.model)
        ratings = ledger.said.ratings(model, start=start, end=end)
        worst = ledger.said.worst(model, start=start, end=end, limit=WORST)
    count = sum(ratings.values())
    return FeedbackSummary(
        count=count,
        mean=sum(rating * n for rating, n in ratings.items()) / count if count else None,
        ratings={str(rating): n for rating, n in ratings.items()},
        worst=tuple(map(said, worst)),
    )


def review(app: App, request: ReviewSample) -> Sampled:
    """Draw a stratified sample of predictions with features and outcomes, and mark them as reviewed by you.

    Strata are versions, and within each whether it failed, has no outcome yet, was right or wrong, or how large its
    error was; each kind is drawn from, and what somebody has reviewed is not drawn again. Raises NotFound, BadInput.
    """
    now = app.rooms.clock.now()
    if not request.by and not request.dry_run:
        raise BadInput.of("by", expected="who reviews them", got="nothing")
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        wanted = Sought(model=request.model, since=now - seconds(request.window, "window"))
        hits = ledger.records.search(wanted, limit=POOL).hits
        done = ledger.said.reviewed(hit.prediction.id for hit in hits)
    pool = strata([hit for hit in hits if hit.prediction.id not in done])
    drawn = draw(pool, request.sample, seed=int(now) if request.seed is None else request.seed)
    chosen = [hit for name in pool for hit in drawn[name]]
    if chosen and not request.dry_run:
        with app.rooms.store.write() as ledger:
            ledger.said.add_reviews(
                [
                    Review(prediction=hit.prediction.id, model=request.model, by=request.by, at=now, note=request.note)
                    for hit in chosen
                ]
            )
    note(app, [hit.prediction for hit in chosen], act="review", who=request.by, detail=request.model)
    with app.rooms.store.read() as ledger:
        shown = veiled(ledger, [hit.prediction for hit in chosen])
    return Sampled(
        predictions=tuple(view(one, hit=hit) for one, hit in zip(shown, chosen, strict=True)),
        by=request.by,
        marked=0 if request.dry_run else len(chosen),
        strata={name: f"{len(drawn[name])} of {len(held)}" for name, held in pool.items()},
    )


def strata(hits: Sequence[Hit]) -> dict[str, list[Hit]]:
    """Hits by version and by what became of them; errors of numbers in quarters."""
    found: dict[str, list[Hit]] = {}
    sizes = sorted(hit.error for hit in hits if hit.error is not None and not _classed(hit))
    cuts = [sizes[len(sizes) * quarter // 4] for quarter in (1, 2, 3)] if sizes else []
    for hit in hits:
        found.setdefault(f"version {hit.prediction.version}, {_kind(hit, cuts)}", []).append(hit)
    return dict(sorted(found.items()))


def _kind(hit: Hit, cuts: Sequence[float]) -> str:
    if hit.prediction.error is not None:
        return "failed"
    if hit.error is None:
        return "no outcome yet"
    if _classed(hit):
        return "wrong" if hit.error else "right"
    return f"error in quarter {1 + sum(hit.error >= cut for cut in cuts)} of 4"


def _classed(hit: Hit) -> bool:
    return isinstance(hit.prediction.output, bool | str)


def draw(pool: dict[str, list[Hit]], size: int, *, seed: int) -> dict[str, list[Hit]]:
    """``size`` hits, spread evenly over the strata as far as they reach."""
    chance = random.Random(seed)  # noqa: S311 - a sample, no secret
    left = {name: chance.sample(held, len(held)) for name, held in pool.items()}
    drawn: dict[str, list[Hit]] = {name: [] for name in pool}
    while size > 0 and any(left.values()):
        for name in chance.sample(sorted(left), len(left)):
            if left[name] and size > 0:
                drawn[name].append(left[name].pop())
                size -= 1
    return drawn


OPERATIONS = (
    Operation(
        name="feedback", method="GET", path="/v1/feedback", request=ReadFeedback, result=FeedbackSummary,
        run=read_feedback, words=("feedback", "list"), plain=("model",),
    ),
    Operation(
        name="tell_feedback", method="POST", path="/v1/feedback", request=TellFeedback, result=ToldFeedback,
        run=tell_feedback, words=("feedback", "tell"), plain=("prediction_id", "rating", "comment"),
    ),
    Operation(
        name="review", method="POST", path="/v1/models/{model}/reviews", request=ReviewSample, result=Sampled,
        run=review, words=("predictions", "review"),
    ),
)  # fmt: skip
