"""The act behind ``POST /api/weight/estimate``: look at the photo, ask the model, say how sure it is."""

import importlib
import math
import time
import uuid
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from modelkeep import (
    BadInput,
    Conflict,
    Explanation,
    ModelFailed,
    NotFound,
    Operation,
    Prediction,
    Problem,
    Refused,
    TimedOut,
    Unavailable,
    Value,
    read_ensemble,
    stamp,
)
from modelkeep.workloads.weight import consent, prices, watching
from modelkeep.workloads.weight import features as code
from modelkeep.workloads.weight.asking import (
    Ask,
    BoxView,
    CheckView,
    Estimate,
    Label,
    MemberView,
    QualityView,
)
from modelkeep.workloads.weight.columns import BOX, COIN, GRAMS, INPUTS, MILLIMETRES
from modelkeep.workloads.weight.tiers import TIERS, Tier, tier_of

if TYPE_CHECKING:
    from modelkeep import App, Rooms, Version
    from modelkeep.workloads.weight.photos import Check, Quality

MODEL = "weight"
WIDE = 2.5
"""An interval whose upper end is so many times its lower is too wide to pay by."""
LABELS: tuple[tuple[float, Label], ...] = ((0.8, "High"), (0.6, "Medium"), (0.4, "Low"))
HEURISTIC = "heuristic"
TELLING, SLIGHT = 3, 0.005
"""So many of the inputs that moved the answer most are told."""


class Seen(Struct, frozen=True, kw_only=True):
    """What the photo gave: the row's fields, its quality, and the reference's box."""

    fields: dict[str, Value] = {}
    quality: Any = None
    box: BoxView | None = None


class Answered(Struct, frozen=True, kw_only=True):
    """A weight in grams with what is known about it; ``told`` is empty for the heuristic."""

    grams: float
    ends: tuple[float, float] | None
    method: str
    version: str
    trust: str
    prediction: Prediction | None = None
    told: Explanation | None = None


class Around(Struct, frozen=True, kw_only=True):
    """What an answer comes with: the photo, the tier, why to weigh, why there is no scale, and whether it is kept."""

    seen: Seen
    tier: Tier
    please: tuple[str, ...]
    doubt: str
    keep: bool
    why_not: str


def estimate(app: "App", request: Ask) -> Estimate:
    """Estimate the weight of an object from a photo with a reference object in it, from boxes, or from measurements.

    Raises BadInput for a photo that cannot be used, naming each failing check with its value and limit, for a
    reference that is not found, and for boxes or units that say nothing; NotFound when no model was released yet.
    """
    began = time.perf_counter()
    tier = tier_of(app.rooms, asked=request.tier, request_class=request.request_class)
    row = _row(request)
    seen = Seen()
    if request.photo is not None:
        with app.rooms.gateway.admission.easing("weight photos").one() as less:
            tier = TIERS["low"] if less else tier
            seen = _looked(app.rooms, request, tier=tier)
        row |= seen.fields
    doubt = _check_sized(row)
    keep, why_not = _kept(app.rooms, request)
    answered = _answered(app, request, row=row, keep=keep)
    shifted = watching.shifted(app.rooms) if row["x0"] is not None and answered.told is not None else ""
    if shifted:
        answered = _unmeasured(app, answered, row=row)
    please = _please(answered, shifted=shifted)
    _record(app.rooms, answered, row=row, please=bool(please), keep=keep)
    around = Around(seen=seen, tier=tier, please=please, doubt=doubt, keep=keep, why_not=why_not)
    return _said(app, request, answered=answered, around=around, began=began)


# ------------------------------------------------------------------------------------------- the request


_BOXES = frozenset({*(f"{p}{n}" for p in ("", "second_") for n in (*BOX, *COIN)), "reference", "reference_mm"})


def _row(request: Ask) -> dict[str, Value]:
    """The model's inputs from the request, lengths in mm."""
    row: dict[str, Value] = {field.name: getattr(request, field.name, None) or None for field in INPUTS}
    for name in ("x0", "y0", "cx0", "cy0", "second_x0", "second_y0", "second_cx0", "second_cy0"):
        row[name] = getattr(request, name)  # 0 is a place in a photo
    factor = MILLIMETRES[request.length_unit]
    for name in ("length", "width", "height", "thickness"):
        given = getattr(request, name)
        row[f"{name}_mm"] = None if given is None else given * factor
    row["material"] = code.material_of(row) if request.material.strip() else None
    if request.reference and request.reference not in code.REFERENCES:
        raise BadInput.of("reference", expected=f"one of {', '.join(code.REFERENCES)}", got=repr(request.reference))
    if request.shape and request.shape not in {*code.SHAPES, "sheet"}:
        raise BadInput.of("shape", expected=f"one of {', '.join(code.SHAPES)}, sheet", got=repr(request.shape))
    return row


def _check_sized(row: dict[str, Value]) -> str:
    """Why the photo tells no scale, or an empty text. Raises BadInput when nothing tells a size at all."""
    lengths = [row[name] for name in ("length_mm", "width_mm", "height_mm") if row[name] is not None]
    boxes = [name for name in (*BOX, *COIN) if row[name] is None]
    if len(lengths) >= 2:
        return ""
    if boxes:
        raise BadInput(
            f"nothing tells the object's size: {', '.join(boxes)} missing, and fewer than two of length, width, height",
            problems=tuple(Problem(field=name, expected="pixels", got="nothing") for name in boxes),
            remedy="send the boxes of object and reference, a photo with the object's box, or two lengths",
        )
    if row["reference"] is None and row["reference_mm"] is None:
        raise BadInput.of("reference", expected=f"one of {', '.join(code.REFERENCES)}, or reference_mm", got="nothing")
    photo = code.photo_of(row, "")
    return str(photo["fault"]) if photo is not None else ""


def _looked(rooms: "Rooms", request: Ask, *, tier: Tier) -> Seen:
    """Decode and measure the photo, and find the coin when the client did not say where the reference is."""
    photos, coins = _eyes()
    photo = photos.decode(request.photo, tier)
    fields: dict[str, Value] = {"image_width": float(photo.width), "image_height": float(photo.height)}
    told = all(getattr(request, name) is not None for name in COIN)
    if any(getattr(request, name) is None for name in BOX):
        raise BadInput(
            "the object's box is missing: x0, y0, x1, y1",
            problems=tuple(
                Problem(field=n, expected="pixels", got="nothing") for n in BOX if getattr(request, n) is None
            ),
            remedy="let the user draw it: no finder of objects that we tried is good enough to guess",
        )
    box = None
    if not told:
        coin = coins.find_coin(photo.pixels, advanced=tier.preprocessing == "advanced")
        if coin is not None:
            places = [side / photo.scale for side in coin.box]
            fields |= dict(zip(COIN, places, strict=True))
            box = BoxView(x0=places[0], y0=places[1], x1=places[2], y1=places[3], source="found", sure=coin.sure)
    else:
        places = [float(getattr(request, name)) for name in COIN]
        box = BoxView(x0=places[0], y0=places[1], x1=places[2], y1=places[3], source="client")
    sure = 1.0 if told else 0.0 if box is None or box.sure is None else box.sure
    quality = photos.quality(photo, reference=sure)
    _refuse(rooms, quality, tier=tier, found=box is not None, least=photos.PASS)
    return Seen(fields=fields, quality=quality, box=box)


def _eyes() -> tuple[Any, Any]:
    """The modules that look at photos, which need packages of an extra."""
    try:
        return tuple(importlib.import_module(f"modelkeep.workloads.weight.{name}") for name in ("photos", "coins"))  # type: ignore[return-value]
    except ImportError as missing:
        raise Conflict(
            f"photos cannot be looked at here: {missing}", remedy="pip install modelkeep[weight], or send boxes alone"
        ) from None


def _refuse(rooms: "Rooms", quality: "Quality", *, tier: Tier, found: bool, least: float) -> None:
    """Raise BadInput for a photo that is not good enough, naming every failing check; the refusal is counted."""
    if found and quality.score >= least:
        return
    failed: tuple[Check, ...] = quality.failed
    now = rooms.clock.now()
    consent.refusals(rooms).append(
        {"at": [now] * len(failed), "check": [one.name for one in failed], "tier": [tier.name] * len(failed)}
    )
    problems = tuple(Problem(field=f"photo.{one.name}", expected=_limits(one), got=f"{one.value:g}") for one in failed)
    named = ", ".join(f"{one.name} {one.value:g} (needs {_limits(one)})" for one in failed)
    why = "no reference object was found" if not found else f"its quality is {quality.score:.2f}, {least} is needed"
    raise BadInput(
        f"the photo cannot be used: {why}; failing: {named}",
        problems=problems,
        remedy="lay the coin flat beside the object in good light, or send the reference's box cx0, cy0, cx1, cy1",
    )


def _limits(check: "Check") -> str:
    parts = [
        f"at least {check.low:g}" if check.low is not None else "",
        f"at most {check.high:g}" if check.high else "",
    ]
    return " and ".join(part for part in parts if part)


def _kept(rooms: "Rooms", request: Ask) -> tuple[bool, str]:
    """Whether the estimate may be kept, and why not."""
    if request.consent is False:
        return False, "the request says that nothing may be kept"
    if request.consent or consent.granted(rooms, request.user):
        return True, ""
    who = f"user {request.user!r} has not consented" if request.user else "no user who consented is named"
    return False, f"{who}; consent=true keeps this one, POST /api/weight/consent all"


# ------------------------------------------------------------------------------------------- the answer


def _answered(app: "App", request: Ask, *, row: dict[str, Value], keep: bool) -> Answered:
    """The model's answer, else the heuristic's where it can stand in. Raises what the model raised where it cannot."""
    key = request.user
    if keep:
        key = consent.token_of(app.rooms, request.user, make=True) if request.user else uuid.uuid4().hex
    try:
        prediction = app.predict(MODEL, [row], keys=[key], record=keep)[0]
        if prediction.stand_in == 0 or prediction.output is None:
            raise ModelFailed(prediction.error or "the model did not answer")  # noqa: TRY301 - as if it had not
        told = app.explain(MODEL, row, number=prediction.stand_in or prediction.version)
    except (NotFound, Unavailable, ModelFailed, TimedOut, Conflict) as failure:
        return _heuristic(row, failure)
    except Refused as unexplained:
        return _heuristic(row, unexplained)
    inputs = {part.input: part.value for part in told.contributions}
    return Answered(
        grams=float(prediction.output),
        ends=prediction.interval,
        method=f"ensemble of {', '.join(sorted(told.members))}",
        version=f"{MODEL}@{prediction.stand_in or prediction.version}",
        trust=str(inputs.get("trust", "")),
        prediction=prediction,
        told=told,
    )


def _heuristic(row: dict[str, Value], failure: Exception) -> Answered:
    """The size times a table of densities; only for materials of the table."""
    material, size = code.material_of(row), code.size_of(row)
    if material not in code.DENSITIES or size["volume"] is None:
        raise failure
    grams = float(code.DENSITIES[material] * math.exp(size["volume"]))
    return Answered(grams=grams, ends=None, method=f"{HEURISTIC}: {failure}", version=HEURISTIC, trust=HEURISTIC)


def _unmeasured(app: "App", answered: Answered, *, row: dict[str, Value]) -> Answered:
    """What the material usually weighs: the fallback while the yardstick is in doubt. What was asked stays recorded."""
    bare = {name: None if name in _BOXES else value for name, value in row.items()}
    prediction = answered.prediction
    if prediction is None:
        return answered
    told = app.explain(MODEL, bare, number=prediction.stand_in or prediction.version)
    return structs.replace(
        answered,
        grams=float(told.answer),
        ends=told.interval,
        method="fallback: what the material usually weighs",
        trust="scale",
        told=told,
    )


def _version(rooms: "Rooms", prediction: Prediction) -> "Version":
    number = prediction.stand_in or prediction.version
    route = rooms.gateway.routes.get(MODEL)
    if route is not None and number in route.loaded:
        return route.loaded[number].version
    with rooms.store.read() as ledger:
        return ledger.versions.get(MODEL, number)


def _please(answered: Answered, *, shifted: str) -> tuple[str, ...]:
    """Why the object should be weighed; empty when the estimate is good enough."""
    found = []
    if shifted:
        found.append(f"the yardstick is in doubt: {shifted}")
    if answered.trust.startswith(("new", "listed")):
        found.append("nobody has weighed an object of this material yet")
    if answered.trust == "scale" and not shifted:
        found.append("the photo tells no scale that can be trusted")
    if answered.ends is None:
        found.append("no interval is known for this answer")
    elif answered.ends[0] <= 0 or answered.ends[1] / answered.ends[0] > WIDE:
        found.append(
            f"the interval's upper end is {answered.ends[1] / max(answered.ends[0], 1e-9):.1f} times its lower"
        )
    return tuple(found)


def _record(rooms: "Rooms", answered: Answered, *, row: dict[str, Value], please: bool, keep: bool) -> None:
    """Keep the record of the estimate: six fields, and no user in any of them."""
    consent.records(rooms).append(
        {
            "timestamp": [rooms.clock.now()],
            "model_version": [answered.version],
            "estimated_weight": [answered.grams],
            "material": [row["material"]],
            "please_weigh": [please],
            "prediction": [answered.prediction.id if keep and answered.prediction is not None else None],
        }
    )


def _said(app: "App", request: Ask, *, answered: Answered, around: Around, began: float) -> Estimate:
    seen, tier, please = around.seen, around.tier, around.please
    factor = GRAMS[request.unit]
    confidence = _confidence(app.rooms, answered)
    ends = answered.ends
    recorded = around.keep and answered.prediction is not None
    return Estimate(
        estimate=answered.grams / factor,
        unit=request.unit,
        low=None if ends is None else ends[0] / factor,
        high=None if ends is None else ends[1] / factor,
        confidence=confidence,
        confidence_label=label(confidence),
        please_weigh=bool(please),
        method=answered.method,
        factors=(*_factors(answered), *filter(None, (around.doubt,)), *please),
        suggestions=_suggestions(request, answered, please=please),
        members=_members(app.rooms, answered, factor=factor),
        price=prices.price(
            code.material_of({"material": request.material}) or "unknown",
            answered.grams,
            ends=ends,
            own=request.price,
            unit=request.price_unit,
            currency=request.currency,
        ),
        quality=_quality_view(seen.quality),
        reference_box=seen.box,
        tier=tier.name,
        preprocessing=tier.preprocessing,
        model_version=answered.version,
        prediction_id=answered.prediction.id if recorded and answered.prediction is not None else None,
        recorded=recorded,
        not_recorded="" if recorded else around.why_not or "the heuristic's answers are not predictions of a model",
        milliseconds=round((time.perf_counter() - began) * 1000, 3),
        timestamp=stamp(app.rooms.clock.now()),
    )


def label(confidence: float | None) -> Label:
    """The word for a confidence.

    >>> label(0.83), label(0.5), label(None)
    ('High', 'Low', 'unknown')
    """
    if confidence is None:
        return "unknown"
    return next((name for least, name in LABELS if confidence >= least), "Very low")


def _confidence(rooms: "Rooms", answered: Answered) -> float | None:
    if answered.prediction is None:
        return None
    metrics = _version(rooms, answered.prediction).baseline.metrics
    return metrics.get(f"within_20_{answered.trust.replace(' ', '_')}")


def _factors(answered: Answered) -> tuple[str, ...]:
    """What moved the answer most, in words."""
    if answered.told is None:
        return (answered.method,)
    moved = [part for part in answered.told.contributions if abs(part.contribution) >= SLIGHT][:TELLING]
    return tuple(
        f"{part.input} {_value(part.value)}: {100 * math.expm1(part.contribution):+.0f} %"
        if abs(part.contribution) < 1
        else f"{part.input} {_value(part.value)}: times {math.exp(part.contribution):.3g}"
        for part in moved
    )


def _value(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _suggestions(request: Ask, answered: Answered, *, please: tuple[str, ...]) -> tuple[str, ...]:
    found = []
    if please:
        found.append("weigh it, and tell the weight by the prediction id: the next estimate of its kind is better")
    if answered.trust != "scale" and not answered.trust.endswith(code.BOTH) and request.x0 is not None:
        found.append("send a second photo from the other side: two views err a fifth less")
    if not request.material:
        found.append("say what it is made of")
    return tuple(found)


def _members(rooms: "Rooms", answered: Answered, *, factor: float) -> tuple[MemberView, ...]:
    """The members that weigh in for an object known so well, the heaviest first."""
    if answered.told is None or answered.prediction is None:
        return ()
    version = _version(rooms, answered.prediction)
    if version.runtime != "ensemble":
        return ()
    weights = _weights(str(rooms.files.path(version.artifact)), answered.trust)
    return tuple(
        MemberView(name=name, estimate=answered.told.members[name] / factor, weight=weight)
        for name, weight in sorted(weights.items(), key=lambda part: -part[1])
        if weight > 0 and name in answered.told.members
    )


@lru_cache(maxsize=64)
def _weights(path: str, trust: str) -> dict[str, float]:
    """The weights of the members for a trust; the file's name is its digest, so it never changes."""
    found = read_ensemble(Path(path).read_bytes())
    return found.weights_by.get(trust) or found.weights


def _quality_view(found: "Quality | None") -> QualityView | None:
    if found is None:
        return None
    return QualityView(
        score=found.score,
        passed=True,
        checks=tuple(
            CheckView(name=c.name, value=c.value, low=c.low, high=c.high, share=c.share, passed=c.passed)
            for c in found.checks
        ),
    )


OPERATION: Operation[Ask, Estimate] = Operation(
    name="weight_estimate",
    method="POST",
    path="/api/weight/estimate",
    request=Ask,
    result=Estimate,
    run=estimate,
    upload="photo",
)
