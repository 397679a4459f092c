"""Parts five and six of a report: what changed for certain, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from modelkeep.jobs.reports.of_models import Looked
from modelkeep.jobs.reports.parts import Figure, Insight, ModelMetrics, Recommendation
from modelkeep.jobs.reports.spans import Span
from modelkeep.nouns import Alert, Job, gravity, model_of

SHOWN = 20
_WORDS = {
    "average_inference_time": "a prediction of {subject} takes",
    "mae": "the mean absolute error of {subject} is",
    "brier": "the mean squared error (Brier) of {subject} is",
    "accuracy": "the accuracy of {subject} is",
    "model_availability": "the share of calls that {subject} answers itself is",
    "memory_percent": "memory in use is",
    "cpu_percent": "the processors are busy for",
    "network_rate": "the network carries",
    "error_rate": "the share of predictions that fail is",
    "predictions": "predictions are",
    "feedback": "pieces of feedback are",
    "average_rating": "the mean rating is",
    "user_alerts": "alerts that touch users are",
}


class Standing(Struct, frozen=True, kw_only=True):
    """What is not right now, as far as the store knows."""

    alerts: tuple[Alert, ...]
    failed: tuple[Job, ...]
    backed_up: bool


def insights(figures: Sequence[Figure]) -> tuple[Insight, ...]:
    """The changes that the data supports, those to the worse first."""
    found = [Insight(text=_said(one), worse=one.worse, evidence=one) for one in figures if one.supported]
    return tuple(sorted(found, key=lambda one: not one.worse))


def note(found: Sequence[Insight], comparisons: int) -> str:
    """How much the insights say: how many comparisons there were, and that no change is no insight."""
    if not comparisons:
        return "nothing can be compared yet: the time before has too little to stand on"
    held = f"{comparisons} comparison{'s' * (comparisons > 1)}, together wrong with a chance of 5 % at most"
    return held if found else f"no change is statistically supported ({held})"


def _said(one: Figure) -> str:
    low, high = one.change_interval or (0.0, 0.0)
    subject = _WORDS.get(one.name, f"{one.name} of {{subject}} is").format(subject=one.subject)
    unit = f" {one.unit}" if one.unit else ""
    tone = "worse" if one.worse else "better" if one.better != "neither" else "changed"
    return (
        f"{subject} {one.value:.4g}{unit}, {one.change:+.4g}{unit} against the time before ({tone}; "
        f"between {low:+.3g} and {high:+.3g}, n = {one.n} and {one.n_before})"
    )


def recommendations(
    models: Sequence[tuple[Looked, ModelMetrics]], found: Sequence[Insight], *, standing: Standing, span: Span
) -> tuple[Recommendation, ...]:
    """What to do next, the most pressing first; each with the command that does or begins it."""
    said = list(_of_alerts(standing.alerts))
    touched = {model_of(alert.subject) for alert in standing.alerts}
    said += [
        Recommendation(text=f"Look into it: {one.text}", command=_look(one.evidence), why="insight")
        for one in found
        if one.worse and one.evidence.subject not in touched
    ]
    said += [
        Recommendation(
            text=f"The job {job.id} failed: {job.error}", command=f"modelkeep jobs show {job.id}", why="failed job"
        )
        for job in standing.failed
    ]
    said += list(_of_outcomes(models, span=span))
    if models and not standing.backed_up:
        said.append(
            Recommendation(
                text="No model was backed up in this time", command="modelkeep jobs run backup", why="no backup"
            )
        )
    return tuple(said[:SHOWN])


def _of_alerts(alerts: Sequence[Alert]) -> Iterator[Recommendation]:
    order = {"critical": 0, "warning": 1, "unknown": 2, "ok": 3}
    for alert in sorted(alerts, key=lambda one: (order[gravity(one.severity)], one.opened)):
        command = alert.command or f"modelkeep alerts show {alert.id}"
        first = alert.message.partition("\n")[0]
        text = f"{first}. {alert.advice[0]}" if alert.advice else first
        yield Recommendation(text=text, command=command, why=f"alert {alert.id} ({alert.severity}) is {alert.state}")


def _look(one: Figure) -> str:
    if one.name == "average_inference_time":
        return f"modelkeep readings list {one.subject} --name latency_p95"
    return one.command


def _of_outcomes(models: Sequence[tuple[Looked, ModelMetrics]], *, span: Span) -> Iterator[Recommendation]:
    """Models that answer, and whose truth nobody tells."""
    for seen, told in models:
        answered = sum(one.profile.n for one in seen.slices if one.start >= span.start)
        if answered and not told.model_accuracy.n:
            yield Recommendation(
                text=f"Tell what really happened: none of {answered} predictions of {told.model} has an outcome",
                command=f"modelkeep readings list {told.model} --name coverage",
                why="no outcomes",
            )
