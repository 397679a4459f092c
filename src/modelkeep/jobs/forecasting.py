"""How long a release would take with today's traffic."""

from msgspec.structs import replace

from modelkeep.nouns import Guards, Trial
from modelkeep.quantities import DAY, HOUR, WEEK
from modelkeep.rollout.planner import Forecast, Traffic, forecast
from modelkeep.store.seams import Ledger


def stages(trial: Trial, *, share: float | None, stage: float | None) -> Trial:
    """The policy's trial as a release asks for it: ``share`` makes it one canary stage, ``stage`` sets the least time.

    >>> stages(Trial(), share=0.05, stage=60.0).canary
    (0.05,)
    """
    if stage is not None:
        trial = replace(trial, stage=stage, shadow=min(trial.shadow, stage))
    return trial if share is None else replace(trial, shadow=0.0, canary=(share,))


def forecast_release(ledger: Ledger, model: str, *, trial: Trial, guards: Guards, at: float) -> Forecast:
    """Forecast the first stage of a trial from the traffic of the last day and the labels of the last week."""
    found = ledger.rollouts.get(model)
    day = ledger.records.slices(model, found.champion, role="champion", start=at - DAY, end=at + 1) if found else []
    calls = sum(s.profile.n for s in day)
    failed = sum(s.profile.failures for s in day)
    labels = ledger.records.sums(model, start=at - WEEK, end=at)
    asked = {s.start for s in day}
    traffic = Traffic(
        calls=calls / max(len(asked), 1),
        labels=labels["model"].n / (WEEK / HOUR) if "model" in labels else 0.0,
        errors=(failed + 1) / (calls + 100),
    )
    first = 0.0 if trial.shadow > 0 or not trial.canary else trial.canary[0]
    least = trial.shadow if first == 0 else trial.stage
    return forecast(guards, traffic, share=first, stage=least, last=trial.last)
