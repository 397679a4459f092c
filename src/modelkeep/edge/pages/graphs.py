"""The charts of one model: its error against its best automatic baseline, its skill, and how much it answered."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from modelkeep.edge.pages.charts import Chart, Line, Mark, Point, Shade
from modelkeep.edge.pages.days import Bucket, by_day, measured, saved
from modelkeep.edge.pages.words import claim, count, plural
from modelkeep.nouns import Alert, Rollout, Signature, about, gravity
from modelkeep.profile import Sums, together
from modelkeep.quantities import DAY
from modelkeep.store.seams import Ledger
from modelkeep.watch.skill import best_baseline

RANGES = (7, 30, 90, 0)
"""Days that a chart may show; 0 is everything."""


def charts(
    ledger: Ledger, rollout: Rollout, *, signature: Signature, now: float, days: int, yardstick: str = "", whole: bool
) -> tuple[Chart, ...]:
    """Error and skill by day up to ``now``, and (``whole``) predictions.

    They compare with the automatic baseline ``yardstick``, or with the best one when it is not named or has no pairs.
    """
    model, history = rollout.model, ledger.rollouts.history(rollout.model)
    first = min((r.since for r in history), default=now)
    start = max(now - days * DAY, first) if days else first
    buckets = by_day(ledger.records, model, start=start, end=now)
    marks = _marks(history)
    shades = _shades(ledger.alerts.all(), model, now=now)
    errors = together(bucket.errors for bucket in buckets)
    baseline = yardstick if yardstick in errors else best_baseline(errors)
    span = Span(buckets=buckets, marks=marks, shades=shades, baseline=baseline, signature=signature)
    return (span.error(), span.skill(), span.answered()) if whole else (span.error(), span.skill())


def _marks(history: Sequence[Rollout]) -> tuple[Mark, ...]:
    """The moments at which another version took over."""
    found, before = [], None
    for rollout in history:
        if rollout.champion != before:
            back = before is not None and rollout.champion < before
            found.append(Mark(at=rollout.since, label=f"{'back to ' if back else ''}v{rollout.champion}"))
        before = rollout.champion
    return tuple(found)


def _shades(alerts: Sequence[Alert], model: str, *, now: float) -> tuple[Shade, ...]:
    """When something grave was open: the alerts of severity high and critical, those that overlap as one."""
    grave = [a for a in alerts if about(a.subject, model) and gravity(a.severity) == "critical"]
    found: list[Shade] = []
    for alert in sorted(grave, key=lambda a: a.opened):
        shade = Shade(
            start=alert.opened, end=now if alert.resolved is None else alert.resolved, label=claim(alert.message)[0]
        )
        if found and shade.start <= found[-1].end:
            before = found.pop()
            label = before.label if shade.label in before.label else f"{before.label}; {shade.label}"
            shade = Shade(start=before.start, end=max(before.end, shade.end), label=label)
        found.append(shade)
    return tuple(found)


class Span(Struct, frozen=True, kw_only=True):
    """What the charts of one model share: the days, what happened in them, and the baseline to compare with."""

    buckets: list[Bucket]
    marks: tuple[Mark, ...]
    shades: tuple[Shade, ...]
    baseline: str | None
    signature: Signature

    @property
    def each(self) -> str:
        """``day`` or ``week``."""
        return "week" if self.buckets and self.buckets[0].end - self.buckets[0].start > DAY else "day"

    def error(self) -> Chart:
        """The headline metric of what was answered, of the best baseline, and of the version on trial."""
        classes = self.signature.classifies
        lines = [Line(name="model", look="model", points=tuple(_point(b, b.errors.get("model")) for b in self.buckets))]
        trial = max((version for b in self.buckets for version in b.trials), default=None)
        if trial is not None:
            points = tuple(_point(b, b.trials.get(trial), bounds=False) for b in self.buckets)
            lines.append(Line(name=f"v{trial} on trial", look="challenger", points=points))
        if self.baseline is not None:
            points = tuple(_point(b, b.errors.get(self.baseline), bounds=False) for b in self.buckets)
            lines.append(Line(name=f"{self.baseline} (baseline)", look="baseline", points=points))
        whole = measured(together(bucket.errors for bucket in self.buckets).get("model"))
        told = "No outcome is known." if whole is None else f"From {plural(whole.n, 'outcome')}."
        title = "Accuracy" if classes else "Mean absolute error"
        unit = "" if classes else self.signature.output.unit
        return self._chart("error", title, summary=told, lines=lines, unit=unit, share=classes)

    def skill(self) -> Chart:
        """How much better than the best baseline; below 0 the baseline would have been the better model."""
        points = tuple(Point(at=b.middle, value=_clipped(saved(b.errors, self.baseline))) for b in self.buckets)
        name = self.baseline or "the baseline"
        summary = f"Share of the error of {name} that the model saves. Below 0, {name} is the better model."
        lines = [Line(name=f"better than {name}", look="model", points=points)]
        return self._chart("skill", "Skill", summary=summary, lines=lines, share=True, level=f"as good as {name}")

    def answered(self) -> Chart:
        """How many predictions were answered."""
        points = tuple(Point(at=b.middle, value=float(b.answered)) for b in self.buckets)
        total, failed = sum(b.answered for b in self.buckets), sum(b.failed for b in self.buckets)
        lines = [Line(name="predictions", look="count", points=points)]
        summary = f"{plural(total, 'prediction')}, {count(failed)} failed."
        return self._chart("answered", "Predictions", summary=summary, lines=lines)

    def _chart(
        self,
        name: str,
        title: str,
        *,
        summary: str,
        lines: list[Line],
        unit: str = "",
        share: bool = False,
        level: str = "",
    ) -> Chart:
        return Chart(
            name=name,
            title=f"{title} by {self.each}{f' ({unit})' if unit else ''}",
            summary=summary,
            start=self.buckets[0].start,
            end=self.buckets[-1].end,
            lines=tuple(lines),
            bars=name == "answered",
            share=share,
            level=level,
            marks=self.marks,
            shades=self.shades,
        )


def _point(bucket: Bucket, sums: Sums | None, *, bounds: bool = True) -> Point:
    found = measured(sums)
    if found is None:
        return Point(at=bucket.middle, value=None)
    low, high = (found.low, found.high) if bounds else (None, None)
    return Point(at=bucket.middle, value=found.value, low=low, high=high)


def _clipped(value: float | None) -> float | None:
    """A skill below -100 % is drawn at -100 %: how bad it is beyond that tells nothing more."""
    return None if value is None else max(value, -1.0)
