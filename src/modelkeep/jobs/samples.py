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


def strange(outputs: Outputs, sample: Sample, *, signature: Signature) -> str:
    """That a model answers with classes of which none is ever true, in words, or an empty text."""
    if not signature.classifies or not sample.truth or set(outputs.values) & set(sample.truth):
        return ""
    answers, truths = (
        ", ".join(sorted({repr(value) for value in values})[:5]) for values in (outputs.values, sample.truth)
    )
    return f"it answers {answers}, but {signature.output.name!r} holds {truths} in the sample"


def worth(outputs: Outputs, sample: Sample, *, signature: Signature, horizon: float) -> dict[str, float]:
    """The metrics of these answers, with ``skill`` against the best automatic baseline where the moments are known.

    ``horizon`` is the age in seconds at which a truth becomes known to the baselines. Empty without truth.
    """
    if sample.truth is None:
        return {}
    total = Sums()
    for answer, truth in zip(outputs.values, sample.truth, strict=True):
        total = total + Sums.of(answer, truth)
    found = total.metrics()
    if sample.times is not None:
        gained = _skill(outputs, sample, signature=signature, horizon=horizon)
        if gained is not None:
            found["skill"] = gained
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _skill(outputs: Outputs, sample: Sample, *, signature: Signature, horizon: float) -> float | None:
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
    return None if best is None else log_ratio(errors["model"], errors[best])


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
