"""The page of the workload: health scores, alerts, the model, anomalies and sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelkeep import Graph, Level, Panel, Row, Series, Table, iso
from modelkeep.workloads.drilling import alert_acts, health_acts, keeping, scoring, telemetry_acts
from modelkeep.workloads.drilling.fleet import fleet
from modelkeep.workloads.drilling.watching import LIMITS

if TYPE_CHECKING:
    from modelkeep import App
    from modelkeep.workloads.drilling.fleet import Look
    from modelkeep.workloads.drilling.sessions import Session, Track

TITLE = "Drilling"
ABOUT = "Health, remaining life and predictive alerts of devices that send telemetry; the worst devices first."
SHOWN = 12
LINES = 6
WEEK = 7 * 86400.0


def panel(app: App) -> Panel:
    """The panel of the fleet as it stands: the worst devices first, sessions and anomalies of their last week."""
    devices = fleet(app.rooms, LIMITS)
    worst = sorted(devices.scores(), key=lambda score: (score.health is None, score.health or 0.0))[:SHOWN]
    looks = devices.looks([score.device_id for score in worst]) if worst else ()
    found = [
        pair for score in worst for pair in devices.sessions(device=score.device_id, start=(score.end or WEEK) - WEEK)
    ]
    return Panel(
        title=TITLE,
        about=ABOUT,
        simulated=simulated(app),
        tables=(_scores(looks), _alerts(app), _model(app), _unusual(app, looks), _odd(found), _sessions(found)),
        graphs=(_graph(looks[:LINES]),) if looks else (),
    )


def simulated(app: App) -> bool:
    """Whether any telemetry here came from a simulator."""
    data = keeping.ingests(app.rooms)
    return bool(data.revision and data.sql("SELECT count(*) FROM data WHERE file LIKE 'simulated%'")[0][0])


def _scores(looks: Sequence[Look]) -> Table:
    return Table(
        title="Health scores",
        head=("device", "health", "confidence", "risk", "lowest factor", "critical in"),
        rows=tuple(_scored(look) for look in looks),
        empty="no telemetry was read yet: modelkeep drilling ingest FILE",
    )


def _scored(look: Look) -> Row:
    score = look.score
    if score.health is None:
        return Row(cells=(score.device_id, "unknown", "", "", score.reason, ""), level="unknown")
    worst = min(score.factors, key=lambda part: part.value, default=None)
    ahead = score.trend.hours if score.trend else None
    level: Level = "ok"
    if score.health < LIMITS.alert_threshold:
        level = "critical" if score.health < LIMITS.critical else "warning"
    return Row(
        cells=(
            score.device_id,
            f"{score.health:.1f}",
            f"{score.confidence:.0%}",
            score.risk or "",
            f"{worst.feature.replace('_', ' ')} {worst.value:.0f}" if worst else "",
            "does not surely fall" if ahead is None else f"about {ahead:.0f} h",
        ),
        level=level,
    )


def _alerts(app: App) -> Table:
    alerts = alert_acts.list_alerts(app, alert_acts.ListAlerts(limit=SHOWN)).alerts
    return Table(
        title="Alerts",
        head=("opened", "device", "severity", "status", "what"),
        rows=tuple(
            Row(
                cells=(iso(a.created_at.timestamp()), a.device_id, a.severity, a.status, a.title),
                level=_grave(a.severity) if a.status == "active" else None,
            )
            for a in alerts
        ),
        empty="no device alert yet",
    )


def _model(app: App) -> Table:
    status = health_acts.model_status(app, health_acts.Nothing())
    metrics = status.performance_metrics
    cells = (
        status.model_version or "none",
        status.status.replace("_", " "),
        "unknown" if metrics.rmse is None else f"{metrics.rmse:.1f}",
        "unknown" if metrics.training_samples is None else str(metrics.training_samples),
        status.reason,
    )
    head = ("version", "status", "RMSE on held-out machines", "trained on rows", "why")
    return Table(title="Remaining-life model", head=head, rows=(Row(cells=cells),))


def _unusual(app: App, looks: Sequence[Look]) -> Table:
    found = [one for look in looks for one in telemetry_acts.unusual_spans(app, look.score.device_id)]
    newest = sorted(found, key=lambda one: -one.start.timestamp())[:SHOWN]
    return Table(
        title="Far from the healthy start",
        head=("device", "from", "rows", "robust z", "channels"),
        rows=tuple(
            Row(
                cells=(
                    one.device_id,
                    iso(one.start.timestamp()),
                    str(one.rows),
                    f"{one.score:.1f}",
                    ", ".join(one.channels),
                ),
                level="warning",
            )
            for one in newest
        ),
        empty="every device is near its own healthy start",
    )


def _odd(found: Sequence[tuple[Track, tuple[Session, ...]]]) -> Table:
    odd = telemetry_acts.oddities(found)
    rows = (
        ("sessions under 5 min", [s.session_id for s in odd.short_sessions]),
        ("devices with lost rows", [m.device_id for m in odd.missing_telemetry]),
        ("two sessions of a device at once", [pair.first for pair in odd.overlapping_sessions]),
        ("rows without a position (first ten)", [row.device_id for row in odd.missing_gps]),
        ("rows with battery under 20 % (first ten)", [row.device_id for row in odd.low_battery]),
    )
    return Table(
        title="Anomalies of the telemetry",
        head=("what", "count", "the first"),
        rows=tuple(
            Row(cells=(what, str(len(names)), names[0] if names else ""), level="warning" if names else "ok")
            for what, names in rows
        )
        if found
        else (),
    )


def _sessions(found: Sequence[tuple[Track, tuple[Session, ...]]]) -> Table:
    newest = sorted((s for _, sessions in found for s in sessions), key=lambda s: -s.start)[:SHOWN]
    return Table(
        title="Newest sessions",
        head=("session", "start", "minutes", "tagged"),
        rows=tuple(
            Row(cells=(s.session_id, iso(s.start), f"{s.minutes:.0f}", "yes" if s.tagged else "no")) for s in newest
        ),
    )


def _graph(looks: Sequence[Look]) -> Graph:
    return Graph(
        title="Health by hour of work",
        unit="0-100",
        lines=tuple(
            Series(
                name=look.score.device_id,
                points=tuple(scoring.hours(look.features.hours, LIMITS)) if look.features else (),
            )
            for look in looks
        ),
    )


def _grave(severity: str) -> Level:
    return "critical" if severity in {"high", "critical"} else "warning"
