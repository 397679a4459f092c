"""What a page shows, as frozen views built from one read transaction. No HTML here.

Nothing is guessed: what has not been measured is ``unknown`` in words, and a reading that nobody renews is no longer
believed (``patience``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Struct

from modelkeep.clock import Clock
from modelkeep.edge.pages import graphs, story, trials
from modelkeep.edge.pages.charts import Chart
from modelkeep.edge.pages.patience import Patience
from modelkeep.edge.pages.rows import Known, ModelRow, by_subject, notices, row
from modelkeep.edge.pages.words import age, causes, claim, count, figure, lasting, percent, plural, rank, worst
from modelkeep.errors import NotFound, StoreUnavailable
from modelkeep.nouns import Alert, Level, Rollout, Rule, about, gravity
from modelkeep.operations.models import role_of
from modelkeep.store.seams import Ledger, Store

if TYPE_CHECKING:
    from modelkeep.serving.recording import Recording

ROWS = 40
"""How many models the table shows, the worst first."""
REASONS = 5
_ILL: dict[Level, str] = {
    "critical": "in trouble",
    "warning": "need attention",
    "unknown": "not known to be well",
    "ok": "",
}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the views look: the store, the product's clock, the recorder's state, the router's failures, the rules.

    ``shown`` says which workloads have something to show.
    """

    store: Store
    clock: Clock
    recording: Callable[[], Recording]
    failures: Callable[[], Mapping[str, str]]
    rules: Sequence[Rule]
    shown: Callable[[], tuple[Shown, ...]] = tuple
    patience: Patience = field(default_factory=Patience)


class Shown(Struct, frozen=True, kw_only=True):
    """A workload that has something to show: its name, what it is, and whether that is simulated."""

    name: str
    about: str
    simulated: bool


class Fact(Struct, frozen=True, kw_only=True):
    """One figure of the headline: a label, its value, and a note below it."""

    label: str
    value: str
    note: str = ""
    level: Level | None = None


class Reason(Struct, frozen=True, kw_only=True):
    """Something that is not as it should be."""

    level: Level
    text: str


class Condition(Struct, frozen=True, kw_only=True):
    """How things are in all: the worst level, a headline, and the reasons, the worst first."""

    level: Level
    headline: str
    reasons: tuple[Reason, ...] = ()


class AlertCard(Struct, frozen=True, kw_only=True):
    """An alert that is not resolved."""

    id: str
    level: Level
    severity: str
    subject: str
    what: str
    basis: str
    causes: str
    rule: str
    opened: float
    lasting: str
    by: str
    advice: tuple[str, ...]
    command: str


class VersionRow(Struct, frozen=True, kw_only=True):
    """One version of a model."""

    number: int
    role: str
    created: float
    runtime: str
    rows: str
    metrics: str
    below: str
    note: str


class View(Struct, frozen=True, kw_only=True):
    """All that one page shows; ``model`` is None on the overview."""

    now: float
    model: str | None
    days: int
    state: Condition
    facts: tuple[Fact, ...]
    alerts: tuple[AlertCard, ...] = ()
    notices: tuple[AlertCard, ...] = ()
    trials: tuple[trials.Progress, ...] = ()
    models: tuple[ModelRow, ...] = ()
    hidden: int = 0
    versions: tuple[VersionRow, ...] = ()
    charts: tuple[Chart, ...] = ()
    charted: str | None = None
    events: tuple[story.Event, ...] = ()
    empty: bool = False
    workloads: tuple[Shown, ...] = ()


def build(sources: Sources, *, model: str | None, days: int) -> View:
    """The view of everything, or of one model; ``days`` of charts (0 = all).

    Raises NotFound for a model that is not registered, StoreUnavailable when the store cannot be read.
    """
    now, failures, recording = sources.clock.now(), sources.failures(), sources.recording()
    shown_workloads = sources.shown() if model is None else ()
    with sources.store.read() as ledger:
        names = ledger.versions.models()
        if model is not None and model not in names:
            raise NotFound("model", model, known=names)
        shown = names if model is None else [model]
        rollouts = {rollout.model: rollout for rollout in ledger.rollouts.all()}
        active = [a for a in ledger.alerts.all(active=True) if about(a.subject, model)]
        active.sort(key=lambda alert: (rank(gravity(alert.severity)), -alert.opened))
        alerts = [alert for alert in active if alert.severity != "info"]
        known = Known(
            now=now,
            readings=by_subject(ledger.readings.newest(model)),
            alerts=alerts,
            failures=failures,
            notices=notices(sources.rules),
        )
        lines = [row(ledger, m, rollout=rollouts.get(m), known=known, patience=sources.patience) for m in shown]
        lines.sort(key=lambda line: (rank(line.level), line.newest is None, line.name))
        charted = next((line.name for line in lines if line.name in rollouts), None)
        return View(
            now=now,
            model=model,
            days=days,
            state=_state(lines, alerts, recording=recording),
            facts=_facts(lines, alerts, now=now, model=model, recording=recording),
            alerts=tuple(card(alert, now) for alert in alerts),
            notices=tuple(card(alert, now) for alert in active if alert.severity == "info"),
            trials=trials.releases(ledger, rollouts, model=model, now=now),
            models=tuple(lines[:ROWS]),
            hidden=max(len(lines) - ROWS, 0),
            versions=_versions(ledger, model, rollout=rollouts.get(model)) if model else (),
            charts=_charts(ledger, rollouts[charted], known=known, days=days, whole=model is not None)
            if charted
            else (),
            charted=charted,
            empty=not lines,
            workloads=shown_workloads,
            events=tuple(story.events(ledger, model)),
        )


def outage(sources: Sources, cause: StoreUnavailable, *, model: str | None, days: int) -> View:
    """The view when the store cannot be read: only that is known, and said."""
    kept, why = _recorder(sources.recording())
    reasons = (Reason(level="critical", text=str(cause)), Reason(level=kept, text=f"serving goes on; {why}"))
    facts = [Fact(label=label, value="unknown") for label in ("Models", "Predictions", "Outcomes", "Alerts")]
    return View(
        now=sources.clock.now(),
        model=model,
        days=days,
        state=Condition(level="critical", headline="The store cannot be read", reasons=reasons),
        facts=(*facts, Fact(label="Recorder", value="keeping up" if kept == "ok" else "behind", note=why, level=kept)),
    )


def _state(lines: Sequence[ModelRow], alerts: Sequence[Alert], *, recording: Recording) -> Condition:
    """The worst of all models and of the recorder, and up to four reasons, the worst first."""
    if not lines:
        return Condition(level="unknown", headline="No model is registered yet", reasons=())
    kept, why = _recorder(recording)
    found = [Reason(level=line.level, text=_named(line)) for line in lines if line.level != "ok"]
    found += [Reason(level=kept, text=why)] if kept != "ok" else []
    found.sort(key=lambda reason: rank(reason.level))
    counted = plural(len(alerts), "alert") + " open" if alerts else "no alert is open"
    if not found:
        return Condition(level="ok", headline=f"{_all(lines)} well, {counted}")
    level = found[0].level
    if len(found) == 1:
        basis = tuple(Reason(level=level, text=line.basis) for line in lines if line.basis and line.level != "ok")
        return Condition(level=level, headline=found[0].text, reasons=basis)
    ill = sum(line.level == level for line in lines)
    headline = f"{count(ill)} of {plural(len(lines), 'model')} {_ILL[level]}, {counted}" if ill else why
    more = len(found) - REASONS
    rest = [Reason(level=found[REASONS].level, text=f"and {more:,} more")] if more > 0 else []
    return Condition(level=level, headline=headline, reasons=(*found[:REASONS], *rest))


def _named(line: ModelRow) -> str:
    """A model's reason, with its name unless the reason has it."""
    return line.reason if line.name in line.reason else f"{line.name}: {line.reason}"


def _all(lines: Sequence[ModelRow]) -> str:
    return f"{lines[0].name} is" if len(lines) == 1 else f"all {count(len(lines))} models are"


def _recorder(recording: Recording) -> tuple[Level, str]:
    """How the recorder is, in a sentence."""
    if recording.dropped:
        lost = plural(recording.dropped, "record")
        return "critical", f"the recorder lost {lost}: {recording.cause or 'its spool was full'}"
    if recording.cause:
        return "warning", f"the recorder holds {plural(recording.held, 'record')} back: {recording.cause}"
    if recording.aside:
        return "warning", f"the recorder put {plural(recording.aside, 'record')} aside that the store refuses"
    if recording.gap:
        return "ok", f"every record is on disk; {count(recording.gap)} were lost when the last process was killed"
    return "ok", "every record is on disk"


def _facts(
    lines: Sequence[ModelRow], alerts: Sequence[Alert], *, now: float, model: str | None, recording: Recording
) -> tuple[Fact, ...]:
    kept, why = _recorder(recording)
    newest = max((line.newest for line in lines if line.newest is not None), default=None)
    asked = "none yet" if newest is None else f"newest {age(newest, now)}"
    level = worst([gravity(alert.severity) for alert in alerts]) if alerts else "ok"
    recorder = Fact(label="Recorder", value={"ok": "keeping up"}.get(kept, "behind"), note=why, level=kept)
    if model is None:
        first = Fact(label="Models", value=count(len(lines)), note=_levels(lines))
    else:
        first = Fact(label="Champion", value=lines[0].version, note=lines[0].trial or "nothing on trial")
    return (
        first,
        Fact(label="Predictions", value=count(sum(line.predicted for line in lines)), note=asked),
        Fact(label="Outcomes", value=_share(lines), note="of predictions have one"),
        Fact(label="Alerts", value=count(len(alerts)), note="open" if alerts else "none open", level=level),
        recorder,
    )


def _levels(lines: Sequence[ModelRow]) -> str:
    """How many models are at each level, the worst first."""
    levels = [line.level for line in lines]
    return ", ".join(f"{levels.count(level)} {level}" for level in sorted(set(levels), key=rank))


def _share(lines: Sequence[ModelRow]) -> str:
    predicted = sum(line.predicted for line in lines)
    return percent(sum(line.told for line in lines) / predicted) if predicted else "unknown"


def card(alert: Alert, now: float) -> AlertCard:
    """An alert as a page shows it."""
    by = f"acknowledged by {alert.acknowledged_by}" if alert.state == "acknowledged" else alert.state
    dead = [f"could not be sent to {d.channel}: {d.error}" for d in alert.deliveries if d.state == "dead"]
    what, basis = claim(alert.message)
    return AlertCard(
        id=alert.id,
        level=gravity(alert.severity),
        severity=alert.severity,
        subject=alert.subject,
        what=what,
        basis=basis,
        causes=causes(alert.message),
        rule=alert.rule.replace("_", " "),
        opened=alert.opened,
        lasting=lasting(now - alert.opened),
        by=by,
        advice=(*alert.advice, *dead),
        command=alert.command,
    )


def _versions(ledger: Ledger, model: str, *, rollout: Rollout | None) -> tuple[VersionRow, ...]:
    """The versions of a model, newest first."""
    said: dict[str, str] = {"candidate": "", "challenger": (rollout and rollout.mode) or ""}
    return tuple(
        VersionRow(
            number=version.number,
            role=said.get(role := role_of(version, rollout), role),
            created=version.created,
            runtime=version.runtime,
            rows=count(version.lineage.rows),
            metrics=", ".join(f"{name} {figure(value)}" for name, value in sorted(version.baseline.metrics.items())),
            below="; ".join(version.below),
            note=version.note,
        )
        for version in reversed(ledger.versions.all(model))
    )


def _charts(ledger: Ledger, rollout: Rollout, *, known: Known, days: int, whole: bool) -> tuple[Chart, ...]:
    version = ledger.versions.get(rollout.model, rollout.champion)
    judged = known.readings.get(version.name, {}).get("skill")
    yardstick = str(judged.facts.get("baseline", "")) if judged else ""
    now = known.now
    return graphs.charts(
        ledger, rollout, signature=version.signature, now=now, days=days, yardstick=yardstick, whole=whole
    )
