"""What a sample of data says about a version: does it fit, is it usable, what is the version worth on it."""

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct

from modelkeep import quantities
from modelkeep.errors import BadArtifact, BadInput, ModelFailed
from modelkeep.nouns import Features, Output, Outputs, Predict, Signature, Value
from modelkeep.profile import Sums
from modelkeep.runtimes.formulas import LEAST_PAIRS, leak
from modelkeep.runtimes.signatures import missing, rows_of
from modelkeep.watch import baselines
from modelkeep.watch.skill import best_baseline, log_ratio

PROOF = 100
"""With fewer held-out rows a perfect score may be luck."""
_BATCH = 1000


class Sample(Struct, frozen=True, kw_only=True):
    """Rows of held-out data as callers send them, with the truth, the entity and the moment where they are known."""

    columns: dict[str, list[Value]]
    rows: list[Features]
    truth: list[Output] | None = None
    keys: list[str] | None = None
    times: list[float] | None = None


def sample_of(columns: Mapping[str, Sequence[Value]], signature: Signature, *, key: str = "", time: str = "") -> Sample:
    """Pick a sample out of columns: the inputs, the truth under the output's name, ``key`` and ``time``.

    Rows without a truth are left out when there is a column of truth. Raises BadInput for a column that is named and
    missing, and BadFeatures when a row does not fit the signature.
    """
    names = [field.name for field in signature.inputs]
    for name in (*names, *filter(None, (key, time))):
        if name not in columns:
            raise BadInput(f"the sample has no column {name!r}", remedy=f"it has: {', '.join(columns)}")
    output = signature.output.name
    size = max((len(values) for values in columns.values()), default=0)
    told = columns.get(output)
    places = [i for i in range(size) if told is None or not missing(told[i])]
    if not places:
        raise BadInput("the sample has no row" if told is None else f"no row of the sample has a value in {output!r}")
    picked: dict[str, list[Value]] = {name: [values[i] for i in places] for name, values in columns.items()}
    rows = rows_of(picked, names)
    signature.check(rows)
    wanted = [*names, output] if told is not None else names
    return Sample(
        columns={name: picked[name] for name in wanted},
        rows=rows,
        truth=None if told is None else [_truth(value, signature) for value in picked[output]],
        keys=[str(value) for value in picked[key]] if key else None,
        times=[_moment(value, time) for value in picked[time]] if time else None,
    )


def problems(sample: Sample, signature: Signature) -> list[str]:
    """Why nothing can be learned from this sample: one distinct row, or an input that is the truth itself."""
    found = []
    if len({tuple(row.values()) for row in sample.rows}) == 1 and len(sample.rows) > 1:
        found.append(f"all {len(sample.rows)} rows of the sample are the same")
    for name in [field.name for field in signature.inputs] if sample.truth else []:
        said = leak(sample.columns[name], sample.truth or [])
        if said:
            found.append(
                f"input {name!r} {said} the output {signature.output.name!r}: the answer leaks into the question"
            )
    return found


def tried(predict: Predict, rows: Sequence[Features]) -> Outputs:
    """What a version answers for all rows of a sample. Raises BadArtifact with what it failed with."""
    values: list[Output] = []
    try:
        for start in range(0, len(rows), _BATCH):
            values += predict(rows[start : start + _BATCH]).values
    except ModelFailed as error:
        raise BadArtifact(
            f"the trial prediction failed: {error.message}",
            remedy=error.remedy or "give a sample of rows that it takes",
        ) from error
    return Outputs(values=values)


def constant(outputs: Outputs, sample: Sample) -> str:
    """That a model answers the same to every one of many different rows, in words, or an empty text."""
    distinct = len({tuple(row.values()) for row in sample.rows})
    if distinct < LEAST_PAIRS or len(set(outputs.values)) > 1:
        return ""
    return f"it answers {outputs.values[0]!r} to each of {distinct} different rows of the sample"


def perfect(outputs: Outputs, sample: Sample) -> str:
    """That a model is right about every one of many rows, which says that it has seen them, in words, or an empty text.

    Numbers count as right within a billionth of the spread of the truth.
    """
    truth = sample.truth or []
    if len(truth) < LEAST_PAIRS or len(set(truth)) < 2:
        return ""
    numbers = [float(t) for t in truth if not isinstance(t, str | bool)]
    near = 1e-9 * (max(numbers) - min(numbers)) if numbers else 0.0
    if not all(_right(answer, real, near=near) for answer, real in zip(outputs.values, truth, strict=True)):
        return ""
    few = "so few rows prove nothing" if len(truth) < PROOF else "no real outcome is foreseen like that"
    return f"every one of its {len(truth)} answers is exactly right: {few}, and the answer may leak into the question"


def strange(outputs: Outputs, sample: Sample, *, signature: Signature) -> str:
    """That a model answers with classes of which none is ever true, in words, or an empty text."""
    if not signature.classifies or not sample.truth or set(outputs.values) & set(sample.truth):
        return ""
    answers, truths = (
        ", ".join(sorted({repr(value) for value in values})[:5]) for values in (outputs.values, sample.truth)
    )
    return f"it answers {answers}, but {signature.output.name!r} holds {truths} in the sample"


def worth(
    outputs: Outputs, sample: Sample, *, signature: Signature, horizon: float
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The metrics of these answers, and those of the automatic baselines by name where the moments are known.

    ``skill`` is against the best of them. ``horizon`` is the age in seconds at which a truth becomes known to the
    baselines. Both are empty without truth.
    """
    if sample.truth is None:
        return {}, {}
    total = Sums()
    for answer, truth in zip(outputs.values, sample.truth, strict=True):
        total = total + Sums.of(answer, truth)
    found = total.metrics()
    skill, errors = automatic(outputs, sample, signature=signature, horizon=horizon)
    if skill is not None:
        found["skill"] = skill
    simple = {name: _finite(sums.metrics()) for name, sums in errors.items()}
    return _finite(found), simple


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def automatic(
    outputs: Outputs, sample: Sample, *, signature: Signature, horizon: float
) -> tuple[float | None, dict[str, Sums]]:
    """The skill against the best automatic baseline, and the error sums of each of them; None without moments."""
    if sample.times is None or sample.truth is None:
        return None, {}
    times, truth = sample.times or [], sample.truth or []
    simple = baselines.backtest(
        times,
        targets=times,
        keys=sample.keys or [""] * len(times),
        truths=truth,
        told=[at + horizon for at in times],
        classifies=signature.classifies,
    )
    errors = baselines.scored(truth, {"model": outputs.values, **simple})
    best = best_baseline(errors)
    skill = None if best is None else log_ratio(errors["model"], errors[best])
    return skill, {name: sums for name, sums in errors.items() if name != "model" and sums.n}


def _right(answer: Output, truth: Output, *, near: float) -> bool:
    if isinstance(answer, str | bool) or isinstance(truth, str | bool):
        return answer == truth
    return abs(answer - truth) <= near


def _truth(value: Value, signature: Signature) -> Output:
    """A truth in the form in which the version answers."""
    output = signature.output
    if value is None:
        raise BadInput(f"a truth in {output.name!r} is missing")
    if output.kind == "boolean":
        return value if isinstance(value, bool) else str(value).lower() in {"true", "1"}
    if signature.classifies:
        return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else f"{value:g}"
    if isinstance(value, str | bool):
        raise BadInput(f"{output.name!r} is {value!r} in the sample, the output is a {output.kind}")
    return float(value)


def _moment(value: Value, field: str) -> float:
    if isinstance(value, bool) or value is None:
        raise BadInput(f"{field!r} is {value!r} in the sample, not a moment", remedy="give ISO-8601 or epoch seconds")
    return quantities.moment(str(value), field)
