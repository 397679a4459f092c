"""Part one of a report: how each model did."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from msgspec import Struct

from modelkeep.errors import ModelkeepError
from modelkeep.jobs.reports.parts import ModelMetrics, Weights
from modelkeep.jobs.reports.spans import Asked, Draft, Span, drafted, of_hours
from modelkeep.nouns import Rollout, Version
from modelkeep.profile import Slice, Sums
from modelkeep.quantities import iso
from modelkeep.runtimes.ensemble import read_ensemble
from modelkeep.store.seams import Files, Ledger
from modelkeep.watch.changes import Block

ANSWERED = ("champion", "canary", "fallback")


class Looked(Struct, frozen=True, kw_only=True):
    """What was seen of one model: its hours, and the figures that wait for the others."""

    rollout: Rollout
    version: Version
    slices: tuple[Slice, ...]
    speed: Draft
    accuracy: Draft
    available: Draft
    weights: tuple[Weights, ...]

    @property
    def drafts(self) -> tuple[Draft, ...]:
        """The figures that are compared."""
        return self.speed, self.accuracy, self.available

    def settled(self, comparisons: int) -> ModelMetrics:
        """The part of the report."""
        ensemble = self.version.runtime == "ensemble"
        return ModelMetrics(
            model=self.rollout.model,
            version=self.version.name,
            average_inference_time=self.speed.settled(comparisons),
            model_accuracy=self.accuracy.settled(comparisons),
            model_availability=self.available.settled(comparisons),
            ensemble_weight_adjustments=self.weights,
            note="" if ensemble else f"{self.version.name} is no ensemble ({self.version.runtime}): it has no weights",
        )


def looked(ledger: Ledger, rollout: Rollout, *, files: Files, span: Span) -> Looked:
    """Look at one model: every arm that answered, hour by hour."""
    model, records = rollout.model, ledger.records
    version = ledger.versions.get(model, rollout.champion)
    arms = [arm for arm in records.arms(model, start=span.earlier, end=span.end) if arm[1] in ANSWERED]
    slices = tuple(
        one
        for number, role in arms
        for one in records.slices(model, number, role=role, start=span.earlier, end=span.end)
    )
    return Looked(
        rollout=rollout,
        version=version,
        slices=slices,
        speed=_speed(model, slices, span=span),
        accuracy=_accuracy(version, slices, span=span),
        available=_available(model, slices, span=span),
        weights=_weights(ledger, rollout, files=files, span=span),
    )


def _speed(model: str, slices: tuple[Slice, ...], *, span: Span) -> Draft:
    asked = Asked(
        name="average_inference_time", subject=model, lacking="timed calls", unit="ms", better="less", matters=1.0,
        query=f"/v1/models/{quote(model)}", command=f"modelkeep model {model}",
    )  # fmt: skip
    said = "from a histogram of ten buckets a decade"
    return drafted(asked, span, dated=of_hours(slices, _spent), detail=said)


def _spent(one: Slice) -> Block:
    """Milliseconds that calls took by the histogram, and how many calls."""
    return 1000 * one.profile.total_seconds, float(one.profile.latency.sum())


def _accuracy(version: Version, slices: tuple[Slice, ...], *, span: Span) -> Draft:
    """The share of right classes; of numbers the mean absolute error, of chances the mean squared one."""
    model, signature = version.model, version.signature
    name = "accuracy" if signature.classifies else "brier" if signature.chances else "mae"
    asked = Asked(
        name=name, subject=model, lacking="predictions with a known outcome",
        unit=signature.output.unit if name == "mae" else "", better="more" if name == "accuracy" else "less",
        query=f"/v1/models/{quote(model)}/accuracy?{urlencode({'start': iso(span.start), 'end': iso(span.end)})}",
        command=f"modelkeep accuracy {model} --start {iso(span.start)} --end {iso(span.end)}",
    )  # fmt: skip

    def measured(one: Slice) -> Block:
        sums = one.profile.errors.get("model", Sums())
        good = {"accuracy": sums.n - sums.loss, "brier": sums.square, "mae": sums.absolute}[name]
        return float(good), float(sums.n)

    return drafted(asked, span, dated=of_hours(slices, measured))


def _available(model: str, slices: tuple[Slice, ...], *, span: Span) -> Draft:
    """The share of calls that the model itself answered."""
    asked = Asked(
        name="model_availability", subject=model, lacking="calls", better="more",
        query=f"/v1/readings?{urlencode({'subject': model, 'name': 'error_rate'})}",
        command=f"modelkeep readings list {model} --name error_rate",
    )  # fmt: skip
    dated = of_hours(slices, lambda one: (float(one.profile.n - one.profile.failures), float(one.profile.n)))
    return drafted(asked, span, dated=dated)


def _weights(ledger: Ledger, rollout: Rollout, *, files: Files, span: Span) -> tuple[Weights, ...]:
    """The weights of the ensemble that answered at the beginning, and of each that took over since."""
    history = ledger.rollouts.history(rollout.model) or [rollout]
    took_over = [now for was, now in zip([None, *history], history, strict=False) if was is None or _moved(was, now)]
    before = [one for one in took_over if one.since <= span.start][-1:]
    during = [one for one in took_over if span.start < one.since < span.end]
    found = []
    for one in (*before, *during):
        version = ledger.versions.get(one.model, one.champion)
        if version.runtime == "ensemble":
            found.append(
                Weights(at=datetime.fromtimestamp(one.since, UTC), version=version.name, weights=_of(files, version))
            )
    return tuple(found)


def _moved(was: Rollout, now: Rollout) -> bool:
    return was.champion != now.champion


def _of(files: Files, version: Version) -> dict[str, float]:
    try:
        return dict(read_ensemble(files.path(version.artifact).read_bytes()).weights)
    except (ModelkeepError, OSError):
        return {}  # a file that cannot be read is told by the reading `artifact`
