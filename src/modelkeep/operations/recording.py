"""Predictions that were made elsewhere: declaring the model, and taking its records."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from modelkeep.errors import BadInput, ModelkeepError, Problem
from modelkeep.given import given_id
from modelkeep.jobs import declaring
from modelkeep.nouns import Field, Output, Prediction, Signature, Value, Version
from modelkeep.operations import uploads
from modelkeep.operations.act import By, Lines, ModelName, MomentText, Operation, Why, moment
from modelkeep.operations.models import VersionView, known, view
from modelkeep.operations.uploads import Digest
from modelkeep.quantities import DAY, duration
from modelkeep.runtimes import read_table

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.store.seams import Ledger

T = TypeVar("T")
SKEW = 60.0
"""A record may be asked so many seconds in the future before it is flagged: clocks differ a little."""
AHEAD = 366 * DAY
"""Further ahead a moment is no moment (milliseconds are often taken for seconds)."""
LAST = 253402300799.0
NAMED = 100
"""So many problems are named; all are counted."""
_OURS = re.compile(r"\d{1,19}-\d{1,19}")


class Made(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One prediction that was made elsewhere; ``prediction`` null with an ``error`` is a failure.

    ``id`` is the service's own name of it, under which it is kept once; ``at`` is when it was asked (now by default),
    ``for`` the moment that it is about. ``version`` is the champion by default.
    """

    model: Annotated[str, Meta(description="Name of the model", max_length=200)] = ""
    prediction: Annotated[Output | None, Meta(description="What was answered")] = None
    id: Annotated[str, Meta(description="The service's own name of this prediction", max_length=200)] = ""
    features: Annotated[dict[str, Value], Meta(description="The model's inputs by name")] = {}
    key: Annotated[str, Meta(description="The entity that it is about", max_length=500)] = ""
    at: MomentText | None = None
    for_: MomentText | None = field(default=None, name="for")
    version: Annotated[int, Meta(description="Number of the version that answered", ge=1, le=2**31)] | None = None
    role: Literal["champion", "canary", "shadow", "fallback"] = "champion"
    latency_ms: Annotated[float, Meta(description="How long it took", ge=0)] | None = None
    score: Annotated[float, Meta(description="Probability of the class that was answered", ge=0, le=1)] | None = None
    interval: tuple[float, float] | None = None
    error: Annotated[str, Meta(description="Why nothing was answered", max_length=2000)] = ""
    subject: Annotated[str, Meta(description="The person whom it is about", max_length=500)] = ""
    request_id: Annotated[str, Meta(description="The request that asked for it", max_length=200)] = ""


class RecordPredictions(Made, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One record (its fields at the top), or many under ``predictions``; ``model`` is that of all without one.

    ``dry_run`` checks everything and keeps nothing.
    """

    predictions: Annotated[tuple[Made, ...], Meta(max_length=10_000)] | UnsetType = UNSET
    dry_run: Annotated[bool, Meta(description="Only check; keep nothing")] = False


class LineProblem(Struct, frozen=True, kw_only=True):
    """Why one line (the first is 1) is not kept."""

    line: int
    code: str
    message: str


class Recorded(Struct, frozen=True, kw_only=True):
    """What became of some records: ``received`` = ``kept`` + ``repeated`` (known already) + ``refused`` + ``withheld``.

    ``withheld`` ones are about people who have not consented, of a model that asks for it, or were asked longer ago
    than the model's ``retention.predictions``: nothing is kept of them.
    ``flagged`` ones are kept though something is odd about them (a moment in the future). ``prediction_ids`` are those
    of the records, in order, when they came as JSON; ``problems`` tell of the first 100 lines that were refused.
    """

    received: int = 0
    kept: int = 0
    repeated: int = 0
    refused: int = 0
    flagged: int = 0
    withheld: int = 0
    prediction_ids: tuple[str, ...] = ()
    problems: tuple[LineProblem, ...] = ()


class Declare(Struct, frozen=True, kw_only=True):
    """A model that is served elsewhere: its signature, or a sample (sent to ``/v1/files`` before) to infer it from."""

    model: ModelName
    signature: Signature | None = None
    sample: Digest | None = None
    sample_format: Literal["csv", "parquet", "json"] = "csv"
    output: Annotated[str, Meta(description="The sample's column that the model answers", max_length=500)] = ""
    leave: Annotated[tuple[str, ...], Meta(description="Columns of the sample that are no input")] = ()
    units: Annotated[dict[str, str], Meta(description="Units of columns by name")] = {}
    metrics: Annotated[dict[str, float], Meta(description="Metrics of held-out data, such as mae")] = {}
    note: Annotated[str, Meta(description="A remark", max_length=2000)] = ""
    why: Why = ""
    by: By = ""


def declare(app: App, request: Declare) -> VersionView:
    """Make a model known that is served elsewhere: its records then get everything but the serving.

    It is the version that answers there from now on; declared again, the next. Raises BadInput when what it takes is
    not known, Conflict when the model is served here.
    """
    columns = None
    if request.sample is not None:
        with tempfile.TemporaryDirectory(prefix="declare-") as scratch:
            # The reader of tables tells formats by the ending, which an uploaded file has not.
            sample = Path(scratch) / f"sample.{request.sample_format}"
            sample.symlink_to(uploads.received(app, request.sample).resolve())
            columns = read_table(sample)
        uploads.forget(app, request.sample)
        columns = {name: values for name, values in columns.items() if name not in request.leave}
    version = declaring.declare(
        app.rooms,
        declaring.Declaration(
            model=request.model,
            signature=request.signature,
            columns=columns,
            output=request.output,
            units=request.units,
            metrics=request.metrics,
            note=request.note,
            why=request.why,
            by=request.by,
        ),
    )
    with app.rooms.store.read() as ledger:
        return view(version, ledger.rollouts.get(version.model))


def record_predictions(app: App, request: RecordPredictions) -> Recorded:
    """Record predictions that were made elsewhere; with ids of their own they may be sent again.

    All are kept or none: the answer comes when they are on disk. Raises NotFound for a model or version that was not
    declared, BadInput naming the field, Unavailable when they cannot be kept, Conflict while collection is off.
    """
    if single := request.predictions is UNSET:
        many: tuple[Made, ...] = (request,)
    else:
        many = request.predictions
        _nothing_beside(request)
    problems: list[Problem] = []
    with app.rooms.store.read() as ledger:
        checking = Checking(app, ledger, model=request.model)
        found = []
        for row, made in enumerate(many):
            try:
                found.append(checking.prediction(made))
            except BadInput as wrong:
                problems += [msgspec.structs.replace(p, row=None if single else row) for p in wrong.problems]
    if problems:
        app.rooms.intake.count(request.model, "refused", n=len(problems))
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise BadInput(f"{problems[0]}{more}", problems=problems[:NAMED])
    taken = app.rooms.intake.known(found) if request.dry_run else app.rooms.intake.take(found)
    return Recorded(
        received=len(found),
        kept=taken.kept,
        repeated=taken.repeated,
        withheld=taken.withheld,
        flagged=sum(bool(p.flag) for p in found),
        prediction_ids=tuple(p.id for p in found),
    )


def _nothing_beside(request: RecordPredictions) -> None:
    common = {"model", "dry_run", "predictions"}
    for one in msgspec.structs.fields(RecordPredictions):
        value = getattr(request, one.name)
        if one.name not in common and value != one.default and value not in ({}, None):
            raise BadInput.of(one.encode_name, expected="nothing beside predictions", got=repr(value)[:80])


def record_lines(app: App, lines: Iterable[tuple[int, bytes]], *, request: RecordPredictions) -> Recorded:
    """Record numbered lines of JSON: bad ones are counted and named, the rest is kept.

    ``request`` has the model of lines without one, and ``dry_run``. Raises Unavailable when nothing can be kept now,
    Conflict while collection is off.
    """
    model = request.model
    found: list[Prediction] = []
    problems: list[LineProblem] = []
    refused = 0
    with app.rooms.store.read() as ledger:
        checking = Checking(app, ledger, model=model)
        for number, line in lines:
            try:
                found.append(checking.prediction(decoded(_line, line)))
            except ModelkeepError as wrong:
                refused += 1
                if len(problems) < NAMED:
                    problems.append(LineProblem(line=number, code=wrong.code, message=str(wrong)))
    if refused:
        app.rooms.intake.count(model, "refused", n=refused)
    taken = app.rooms.intake.known(found) if request.dry_run else app.rooms.intake.take(found)
    return Recorded(
        received=len(found) + refused,
        kept=taken.kept,
        repeated=taken.repeated,
        withheld=taken.withheld,
        refused=refused,
        flagged=sum(bool(p.flag) for p in found),
        problems=tuple(problems),
    )


def together(one: Recorded, other: Recorded) -> Recorded:
    """Two parts of one stream as one."""
    return Recorded(
        received=one.received + other.received,
        kept=one.kept + other.kept,
        repeated=one.repeated + other.repeated,
        withheld=one.withheld + other.withheld,
        refused=one.refused + other.refused,
        flagged=one.flagged + other.flagged,
        problems=(*one.problems, *other.problems)[:NAMED],
    )


_line = msgspec.json.Decoder(Made)


def decoded(decoder: msgspec.json.Decoder[T], line: bytes) -> T:
    """What one line of JSON says. Raises BadInput naming the field that is wrong, NaN and infinity included."""
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as complaint:
        place = str(complaint).rpartition("`$")[2].strip("`. ") if "`$" in str(complaint) else ""
        said = str(complaint).partition(" - at ")[0].replace("`", "")
        raise BadInput(f"{place}: {said}" if place else said) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise _unreadable(line, cause) from None


def _unreadable(line: bytes, cause: Exception) -> BadInput:
    """The refusal of a line that is no JSON; Python writes NaN and Infinity, so their field can be named."""
    try:
        loose: Any = json.loads(line)
    except (ValueError, RecursionError):
        return BadInput(f"no JSON object: {cause}")
    names = [f"features.{n}" for n, v in _numbers(loose.get("features"))] if isinstance(loose, dict) else []
    names += [n for n, _ in _numbers(loose)]
    return BadInput(f"{', '.join(names) or 'the line'}: expected finite numbers, got NaN or infinity")


def _numbers(values: Any) -> list[tuple[str, float]]:
    found = values.items() if isinstance(values, dict) else ()
    return [(str(name), value) for name, value in found if isinstance(value, float) and not math.isfinite(value)]


class Checking:
    """Turns records into predictions, as the store stands in one transaction."""

    def __init__(self, app: App, ledger: Ledger, *, model: str = "") -> None:
        self._app, self._ledger, self._model = app, ledger, model
        self._now = app.rooms.clock.now()
        self._versions: dict[tuple[str, int | None], Version] = {}

    def prediction(self, made: Made) -> Prediction:
        """One record as a prediction. Raises NotFound for its model or version, BadInput naming each field."""
        model = made.model or self._model
        if not model:
            raise BadInput.of("model", expected="the name of a model", got="nothing")
        version = self._version(model, made.version)
        at = _moment(made.at, "at", now=self._now)
        target = _moment(made.for_, "for", now=at, ahead=math.inf)
        problems = [*_ids(made), *_finite(made), *_answer(made, version.signature.output)]
        if problems:
            more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
            raise BadInput(f"{problems[0]}{more}", problems=problems)
        late = at - self._now
        return Prediction(
            id=given_id(model, made.id) if made.id else self._app.rooms.intake.new_ids(1)[0],
            model=model,
            version=version.number,
            role=made.role,
            features=made.features,
            output=made.prediction,
            at=at,
            target=target,
            seconds=math.nan if made.latency_ms is None else made.latency_ms / 1000,
            key=made.key,
            subject=made.subject or None,
            score=made.score,
            interval=made.interval,
            error=made.error or None,
            request=made.request_id,
            given=made.id,
            flag=f"asked {duration(late)} in the future" if late > SKEW else "",
        )

    def _version(self, model: str, number: int | None) -> Version:
        found = self._versions.get((model, number))
        if found is None:
            known(self._ledger, model)
            rollout = self._ledger.rollouts.get(model)
            chosen = number or (rollout.champion if rollout else self._ledger.versions.all(model)[-1].number)
            found = self._versions[model, number] = self._ledger.versions.get(model, chosen)
        return found


def _ids(made: Made) -> list[Problem]:
    if not _OURS.fullmatch(made.id):
        return []
    return [Problem(field="id", expected="a name of your own, unlike the ids that are given here", got=repr(made.id))]


def _finite(made: Made) -> list[Problem]:
    values: Sequence[tuple[str, Any]] = [
        *((f"features.{name}", value) for name, value in made.features.items()),
        ("prediction", made.prediction),
        *(("interval", end) for end in made.interval or ()),
        ("latency_ms", made.latency_ms),
    ]
    found = [
        Problem(field=name, expected="a finite number of at most 64 bits", got=str(value)[:80])
        for name, value in values
        if (isinstance(value, float) and not math.isfinite(value))
        or (isinstance(value, int) and not -(2**63) <= value < 2**63)
    ]
    if made.interval is not None and made.interval[0] > made.interval[1]:
        found.append(Problem(field="interval", expected="low and high", got=str(list(made.interval))))
    return found


def _answer(made: Made, output: Field) -> list[Problem]:
    """What is wrong with the answer for a model with this output."""
    value = made.prediction
    if value is None:
        if made.error:
            return []
        return [Problem(field="prediction", expected=f"{output.expected()}, or null with an error", got="null")]
    kinds: dict[str, tuple[type, ...]] = {"boolean": (bool,), "category": (str,), "text": (str,)}
    if type(value) in kinds.get(output.kind, (int, float)):
        return []
    return [Problem(field="prediction", expected=output.expected(), got=repr(value)[:80])]


def _moment(value: str | float | None, name: str, *, now: float, ahead: float = AHEAD) -> float:
    found = moment(value, name)
    if found is None:
        return now
    if not 0 <= found <= min(now + ahead, LAST):
        raise BadInput.of(
            name, expected="a moment from 1970 on, at most a year ahead (in seconds, not milliseconds)", got=str(value)
        )
    return found


OPERATIONS = (
    Operation(
        name="declare", method="POST", path="/v1/models/{model}/external", request=Declare, result=VersionView,
        run=declare, status=201,
    ),
    Operation(
        name="record_predictions", method="POST", path="/v1/predictions", request=RecordPredictions, result=Recorded,
        run=record_predictions, many="predictions", lines=Lines(take=record_lines, join=together),
    ),
)  # fmt: skip
