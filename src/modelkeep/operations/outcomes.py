"""Outcomes: telling what really happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from modelkeep.errors import BadInput
from modelkeep.given import given_id
from modelkeep.nouns import Outcome, Output
from modelkeep.operations import truths
from modelkeep.operations.act import DurationText, Lines, MomentText, Operation, moment
from modelkeep.operations.recording import NAMED, LineProblem, decoded
from modelkeep.quantities import seconds
from modelkeep.store.seams import Told

if TYPE_CHECKING:
    from modelkeep.app import App


class About(Struct, frozen=True, kw_only=True):
    """Which prediction an outcome is about, and when it became known (``at``, now by default).

    ``prediction_id`` is the id that was given here, or with ``model`` the service's own. ``tolerance`` is how far
    ``for`` may be from the moment that the prediction is about; without it, the policy's.
    """

    prediction_id: Annotated[str, Meta(description="Id of the prediction", max_length=200)] = ""
    model: Annotated[str, Meta(description="Name of the model", max_length=200)] = ""
    key: Annotated[str, Meta(description="Entity of the prediction", max_length=500)] = ""
    for_: MomentText | None = field(default=None, name="for")
    at: MomentText | None = None
    source: Annotated[str, Meta(description="Where it comes from", max_length=200)] = ""
    tolerance: DurationText | None = None


Actual = Annotated[Output | None, Meta(description="What really happened; null withdraws the outcome")]


class Truth(About, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One outcome: by ``prediction_id``, or by ``model``, ``key`` and the moment that it is about (``for``)."""

    actual: Actual


class TellOutcomes(About, frozen=True, kw_only=True):
    """One outcome (its fields at the top), or many under ``outcomes``; ``at`` is when it became known (default now).

    ``dry_run`` says what would become of them and keeps nothing.
    """

    outcomes: Annotated[tuple[Truth, ...], Meta(max_length=10_000)] | UnsetType = UNSET
    actual: Actual | UnsetType = UNSET
    dry_run: Annotated[bool, Meta(description="Only say what would become of them; keep nothing")] = False


class ToldOutcomes(Struct, frozen=True, kw_only=True):
    """What became of each outcome, in the order of the request (empty for a stream of lines).

    ``counts`` tell how many became what, ``refused`` lines aside; ``problems`` name the first 100 of those. In a dry
    run ``reasons`` say why outcomes would meet no prediction, ``problems`` tell of the first 100 of them, and
    ``ambiguous`` ones would stand for several answers.
    """

    outcomes: tuple[Told, ...]
    counts: dict[str, int] = {}
    refused: int = 0
    ambiguous: int = 0
    reasons: dict[str, int] = {}
    problems: tuple[LineProblem, ...] = ()


def tell_outcomes(app: App, request: TellOutcomes) -> ToldOutcomes:
    """Tell what really happened, for one prediction or many; safe to repeat.

    An outcome before its prediction is kept and joined later; another value for the same prediction is a correction.
    The answer comes when the outcomes are on disk. Raises BadInput naming the field (a value that the model cannot
    answer too), Unavailable when they cannot be, Conflict while collection is off.
    """
    now = app.rooms.clock.now()
    places = [place for place, _ in _truths(request)]
    found = [_outcome(truth, now=now, place=place) for place, truth in _truths(request)]
    fitting = truths.Fitting(app, found)
    refusals = [fitting.refused(o, field=f"{p}actual") for o, p in zip(found, places, strict=True)]
    problems = [problem for refusal in refusals if refusal is not None for problem in refusal.problems]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise BadInput(f"{problems[0]}{more}", problems=problems[:NAMED])
    if request.dry_run:
        return _foreseen(app, found, numbers=range(1, len(found) + 1), refused=[])
    told = app.tell(found)
    return ToldOutcomes(outcomes=tuple(told), counts=truths.counted([one.state for one in told]))


def tell_lines(app: App, lines: Iterable[tuple[int, bytes]], *, request: TellOutcomes) -> ToldOutcomes:
    """Tell numbered lines of JSON: bad ones are counted and named, the rest is told.

    ``request`` has what lines leave out (``model``, ``tolerance``, ``source``), and ``dry_run``. Raises as
    ``tell_outcomes`` does for what concerns all lines.
    """
    now = app.rooms.clock.now()
    found: list[Outcome] = []
    numbers: list[int] = []
    refused: list[LineProblem] = []
    for number, line in lines:
        try:
            truth = _common(decoded(_line, line), request)
            found.append(_outcome(truth, now=now, place=""))
            numbers.append(number)
        except BadInput as wrong:
            refused.append(LineProblem(line=number, code=wrong.code, message=str(wrong)))
    fitting = truths.Fitting(app, found)
    kept = []
    for outcome, number in zip(found, numbers, strict=True):
        unfit = fitting.refused(outcome, field="actual")
        if unfit is None:
            kept.append((outcome, number))
        else:
            refused.append(LineProblem(line=number, code=unfit.code, message=str(unfit)))
    outcomes = [outcome for outcome, _ in kept]
    if request.dry_run:
        return _foreseen(app, outcomes, numbers=[number for _, number in kept], refused=refused)
    told = app.rooms.client.tell(outcomes, patient=True)
    counts = truths.counted([one.state for one in told])
    return ToldOutcomes(outcomes=(), counts=counts, refused=len(refused), problems=tuple(refused[:NAMED]))


def _foreseen(
    app: App, found: Sequence[Outcome], *, numbers: Sequence[int], refused: Sequence[LineProblem]
) -> ToldOutcomes:
    app.rooms.recorder.caught_up()  # what was recorded a moment ago may be what these are about
    seen = truths.foresee(app, found)
    lost = [
        LineProblem(line=number, code="orphan", message=detail)
        for number, detail in zip(numbers, seen.details, strict=True)
        if detail
    ]
    return ToldOutcomes(
        outcomes=seen.told if not refused and len(found) <= NAMED else (),
        counts=truths.counted([one.state for one in seen.told]),
        refused=len(refused),
        ambiguous=seen.ambiguous,
        reasons=truths.counted(seen.reasons),
        problems=(*refused, *lost)[:NAMED],
    )


def together(one: ToldOutcomes, other: ToldOutcomes) -> ToldOutcomes:
    """Two parts of one stream as one."""
    return ToldOutcomes(
        outcomes=(),
        counts=dict(Counter(one.counts) + Counter(other.counts)),
        refused=one.refused + other.refused,
        ambiguous=one.ambiguous + other.ambiguous,
        reasons=dict(Counter(one.reasons) + Counter(other.reasons)),
        problems=(*one.problems, *other.problems)[:NAMED],
    )


_line = msgspec.json.Decoder(Truth)


def _common(truth: Truth, request: TellOutcomes) -> Truth:
    """A line with what it leaves out."""
    missing = {
        name: getattr(request, name) for name in ("model", "tolerance", "source", "at") if not getattr(truth, name)
    }
    return msgspec.structs.replace(truth, **missing)


def _truths(request: TellOutcomes) -> list[tuple[str, Truth]]:
    if request.outcomes is not UNSET:
        if request.actual is not UNSET:
            raise BadInput.of("actual", expected="nothing beside outcomes", got=repr(request.actual))
        return [(f"outcomes[{i}].", truth) for i, truth in enumerate(request.outcomes)]
    if request.actual is UNSET:
        raise BadInput.of("actual", expected="a number, a boolean, a text or null", got="nothing")
    about = {name: getattr(request, name) for name in About.__struct_fields__}
    alone = Truth(actual=request.actual, **about)
    return [("", alone)]


def _outcome(truth: Truth, *, now: float, place: str) -> Outcome:
    about = moment(truth.for_, f"{place}for")
    by_name = truth.prediction_id and not truths.OURS.fullmatch(truth.prediction_id)
    if by_name and not truth.model:
        raise BadInput.of(
            f"{place}prediction_id",
            expected="a prediction id such as 12-345, or with model the id that the service gave it",
            got=repr(truth.prediction_id[:80]),
        )
    if not truth.prediction_id and (not truth.model or about is None):
        raise BadInput.of(
            f"{place}prediction_id", expected="a prediction id, or model and for (and key)", got="neither"
        )
    told = moment(truth.at, f"{place}at")
    return Outcome(
        value=truth.actual,
        at=now if told is None else told,
        prediction=(given_id(truth.model, truth.prediction_id) if by_name else truth.prediction_id) or None,
        model=truth.model or None,
        key=truth.key,
        target=about,
        source=truth.source,
        tolerance=None if truth.tolerance is None else seconds(truth.tolerance, f"{place}tolerance"),
    )


OPERATIONS = (
    Operation(
        name="outcomes", method="POST", path="/v1/outcomes", request=TellOutcomes, result=ToldOutcomes,
        run=tell_outcomes, many="outcomes", lines=Lines(take=tell_lines, join=together),
    ),
)  # fmt: skip
