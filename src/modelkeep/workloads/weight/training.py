"""Trains the ensemble on weighed objects, and says what it is worth on objects that it has not seen."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import sklearn
from numpy.typing import NDArray

from modelkeep import (
    Ensemble,
    Linear,
    Member,
    Refused,
    Signature,
    Trained,
    TrainingRows,
    Value,
    linear_bytes,
    pack_ensemble,
)
from modelkeep.workloads.weight import features as code
from modelkeep.workloads.weight.columns import INPUTS, WEIGHT, WEIGHTS
from modelkeep.workloads.weight.fitting import TREES, Floats, Objects, objects_of
from modelkeep.workloads.weight.members import NAMES, Fitted, fit
from modelkeep.workloads.weight.scale import LEAST_PAIRS, Pair, shift_of
from modelkeep.workloads.weight.weighing import HeldOut, Weighed, answer, by_material, by_object, together, weigh

FOLDS, LARGE = 10, 5000
LEAST_OBJECTS = 5
SAMPLE = 5000
SINCE = (0.03, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""Shares of the rows after which the yardstick may have changed."""
PLAIN = ("shape", "reference", "view", "second_view")
PAIRED = ("view", "x0", "y0", "x1", "y1", "cx0", "cy0", "cx1", "cy1", "image_width", "image_height")


def train(rows: TrainingRows) -> Trained:
    """Train on weighed objects.

    Held out is always whole objects (``rows.groups``, else what has the same key and weight): every photo of one is on
    the same side.
    Members are weighed against each other, and the 90 % interval is found, on objects held out; so are materials, for
    what the model answers for one that nobody has weighed yet.

    Args:
        rows: Columns by the names of ``columns.INPUTS``, the truth in grams.

    Returns:
        An ensemble with its feature code; metrics of held-out objects, and of simple rules on them (``rivals``).

    Raises:
        Refused: Fewer than five objects, one weight for all, or newest photos that all err by one and the same factor.
    """
    table = [dict(zip(rows.columns, values, strict=True)) for values in zip(*rows.columns.values(), strict=True)]
    truth = np.asarray(rows.truth, dtype=np.float64)
    groups = rows.groups or [f"{key} {weight}" for key, weight in zip(rows.keys, rows.truth, strict=True)]
    _refuse(truth, groups)
    _refuse_scale(table, truth, at=rows.at)
    single = len(table)
    more, weights, names = paired(table, truth, groups=groups)
    data = objects_of(more, weights, groups=names)
    fitted = fit(data, np.ones(data.n, dtype=np.bool_))
    _, weighed, plain = calibrate(data)
    return _trained(rows, data, fitted=fitted, weighed=weighed, found=plain, single=single)


def calibrate(data: Objects) -> tuple[HeldOut, Weighed, HeldOut]:
    """Everything held out, what follows from it, and the part that holds out plain objects alone."""
    large = len(np.unique(data.groups)) > LARGE
    take = _some(data, LARGE) if large else np.ones(data.n, dtype=np.bool_)
    plain = by_object(data, folds=5 if large else FOLDS, seed=1, take=take)
    others = [by_material(data, keep=keep, seed=1, take=take) for keep in (0, 2)]
    found = together([plain, *(part for part in others if part is not None)])
    return found, weigh(data, found), plain


def paired(
    rows: Sequence[dict[str, Any]], truth: NDArray[np.float64], *, groups: Sequence[str]
) -> tuple[list[dict[str, Any]], NDArray[np.float64], list[str]]:
    """The rows, and behind them each object's photos from above paired with those from the side, in their order."""
    above: dict[str, list[int]] = {}
    aside: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row.get("x0") is not None and row.get("second_x0") is None and row.get("length_mm") is None:
            (aside if row.get("view") == "side" else above).setdefault(groups[place], []).append(place)
    pairs = [pair for name, tops in above.items() for pair in zip(tops, aside.get(name, []), strict=False)]
    more = [rows[top] | {f"second_{name}": rows[side].get(name) for name in PAIRED} for top, side in pairs]
    places = [top for top, _ in pairs]
    return [*rows, *more], np.concatenate([truth, truth[places]]), [*groups, *(groups[place] for place in places)]


def _refuse(truth: Floats, groups: Sequence[str]) -> None:
    count = len(set(groups))
    if count < LEAST_OBJECTS:
        raise Refused(
            f"{len(truth)} rows show {count} objects, at least {LEAST_OBJECTS} are needed",
            remedy="weigh more objects; photos of the same one do not count twice",
        )
    if not (truth > 0).all() or len(np.unique(truth)) == 1:
        raise Refused(
            f"all {len(truth)} weights are {truth[0]:g} g" if (truth > 0).all() else "a weight is not above 0 g",
            remedy="give the weight of every object in grams, kg or lb",
        )


def _refuse_scale(table: Sequence[dict[str, Any]], truth: Floats, *, at: Sequence[float]) -> None:
    """Raise Refused when all materials have been off by one factor since some moment: then the yardstick is wrong."""
    order = np.argsort(np.asarray(at), kind="stable")
    if len(set(at)) < 2 * LEAST_PAIRS:
        return
    rows = [table[place] for place in order.tolist()]
    data = objects_of(rows, truth[order], groups=[str(place) for place in order.tolist()])
    sized = np.isfinite(data.volume)
    rest = data.volume - data.truth
    for share in SINCE:
        since = int(len(rows) * share)
        before, after = np.arange(len(rows)) < since, np.arange(len(rows)) >= since
        pairs = []
        for name in np.unique(data.materials[sized & after]):
            mine = sized & (data.materials == name)
            if (mine & before).sum() >= LEAST_PAIRS // 2:
                usual = float(np.median(rest[mine & before]))
                pairs += [Pair(material=str(name), error=float(r) - usual) for r in rest[mine & after]]
        found = shift_of(pairs)
        if found is not None:
            raise Refused(
                f"the newest {len(rows) - since} photos cannot be learnt from: {found.words()}",
                remedy="put the reference right (which coin is it?); leave out what was measured with the wrong one",
            )


def _some(data: Objects, most: int) -> NDArray[np.bool_]:
    names = np.unique(data.groups)
    return np.isin(data.groups, np.random.default_rng(1).choice(names, most, replace=False))


def _trained(
    rows: TrainingRows, data: Objects, *, fitted: Fitted, weighed: Weighed, found: HeldOut, single: int
) -> Trained:
    folder = Path(tempfile.mkdtemp(prefix="weight-"))
    alone = found.rows < single  # pairs were made here: what is reported is worth one photo
    places = found.rows[alone]
    answers = answer(found, weighed)[alone]
    metrics = _metrics(data.truth[places], answers)
    rivals = {
        "usual weight of the material": _metrics(data.truth[places], found.typical[alone]),
        **{name: _metrics(data.truth[places], found.answers[alone][:, at]) for at, name in enumerate(NAMES)},
    }
    within = {f"within_20_{trust.replace(' ', '_')}": share for trust, share in weighed.within.items()}
    weights = {f"weight_{name}": weighed.weights["known"].get(name, 0.0) for name in NAMES}
    return Trained(
        path=pack_ensemble(_ensemble(fitted, weighed), folder / "weight.ensemble"),
        code=_code(fitted, folder),
        runtime="ensemble",
        signature=signature_of(fitted),
        metrics=metrics | within | weights,
        rivals={name: rivals[name] for name in ("usual weight of the material", "physics")},
        sample=_sample(rows, places),
        split="group",
        note="; ".join(f"{name} {value['mape']:.1%}" for name, value in (("ensemble", metrics), *rivals.items()))
        + f" mean error on held-out objects ({len(np.unique(data.groups))} objects)",
        libraries={"lightgbm": lightgbm.__version__, "scikit-learn": sklearn.__version__},
    )


def _ensemble(fitted: Fitted, weighed: Weighed) -> Ensemble:
    names = [*NAMES, "paired"]
    weights = {
        trust: {name: share.get("trees" if name == "paired" else name, 0.0) for name in names if name != unused}
        for trust, share in weighed.weights.items()
        for unused in ["trees" if trust.endswith(code.BOTH) else "paired"]
    }
    data = {
        "physics": linear_bytes(Linear(intercept=0.0, coefficients={"physics": 1.0})),
        "balanced": linear_bytes(Linear(intercept=0.0, coefficients={"balanced": 1.0})),
        "ridge": linear_bytes(fitted.line),
        "trees": fitted.trees.model_to_string().encode(),
        "paired": fitted.paired.model_to_string().encode(),
    }
    columns = {"physics": ("physics",), "balanced": ("balanced",), "ridge": (), "trees": TREES, "paired": TREES}
    low, high = weighed.offsets["new"] if "new" in weighed.offsets else weighed.offsets["scale"]
    return Ensemble(
        members=tuple(
            Member(
                name=name,
                runtime="linear" if name in {"physics", "balanced", "ridge"} else "lightgbm",
                data=data[name],
                columns=columns[name],
            )
            for name in names
        ),
        weights=weights["new"],
        link="log",
        by="trust",
        weights_by=weights,
        low=low,
        high=high,
        offsets_by=weighed.offsets,
        floor=WEIGHTS[0],
        ceiling=WEIGHTS[1],
    )


def _code(fitted: Fitted, folder: Path) -> Path:
    """The feature code with the tables of this version in the place of ``FITTED``."""
    source = Path(code.__file__).read_text(encoding="utf-8")
    tables = json.loads(json.dumps(fitted.tables))
    path = folder / "features.py"
    path.write_text(source.replace("FITTED: Row = {}", f"FITTED: Row = {tables!r}"), encoding="utf-8")
    return path


def signature_of(fitted: Fitted) -> Signature:
    """What the model takes; the categories of ``material`` are those of which objects were weighed."""
    from msgspec import structs  # noqa: PLC0415 - one use

    materials = tuple(sorted(name for name in fitted.tables["objects"] if name))
    fields = [structs.replace(f, categories=materials) if f.name == "material" else f for f in INPUTS]
    return Signature(inputs=tuple(fields), output=WEIGHT)


def _metrics(truth: Floats, answers: Floats) -> dict[str, float]:
    """Errors in grams and as shares; ``truth`` and ``answers`` are logs."""
    error = np.exp(answers) - np.exp(truth)
    return {
        "mape": float(np.abs(np.expm1(answers - truth)).mean()),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
    }


def _sample(rows: TrainingRows, places: NDArray[np.int64]) -> dict[str, list[Value]]:
    """The inputs alone: the metrics are those of objects held out, which one model's answers to all cannot be."""
    step = max(1, len(places) // SAMPLE)
    taken = sorted(places.tolist())[::step]
    return {name: [values[place] for place in taken] for name, values in rows.columns.items()}
