"""The page of the workload: health scores, alerts, the model, anomalies and sessions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from modelkeep import Graph, Level, Panel, Row, Series, Table, iso
from modelkeep.workloads.drilling import keeping
from modelkeep.workloads.drilling.watching import LIMITS

if TYPE_CHECKING:
    from modelkeep import App
    from modelkeep.workloads.drilling.fleet import Look

ABOUT = "Health, remaining life and predictive alerts of devices that send telemetry."
SHOWN = 12
LINES = 6


def panel(app: App) -> Panel:
    """The panel of the fleet as it stands: the worst devices first."""
    if not keeping.rows(app.rooms).revision:
        empty = "no telemetry was read yet: modelkeep drilling ingest FILE"
        return Panel(
            title="Drilling",
            about=ABOUT,
            tables=(Table(title="Health scores", head=("device",), rows=(), empty=empty),),
        )
    from modelkeep.workloads.drilling import alert_acts, health_acts, telemetry_acts  # noqa: PLC0415 - for those with data
    from modelkeep.workloads.drilling.fleet import fleet  # noqa: PLC0415 - the same

    devices = fleet(app.rooms, LIMITS)
    worst = sorted(devices.scores(), key=lambda score: (score.health is None, score.health or 0.0))[:SHOWN]
    looks = devices.looks([score.device_id for score in worst])
    alerts = alert_acts.list_alerts(app, alert_acts.ListAlerts(limit=SHOWN))
    status = health_acts.model_status(app, health_acts.Nothing())
    odd = telemetry_acts.anomalies(app, telemetry_acts.Span())
    sessions = telemetry_acts.list_sessions(app, telemetry_acts.Span()).sessions[-SHOWN:]
    metrics = status.performance_metrics
    return Panel(
        title="Drilling",
        about=ABOUT,
        simulated=simulated(app),
        tables=(
            Table(
                title="Health scores",
                head=("device", "health", "confidence", "risk", "mostly", "critical in"),
                rows=tuple(_scored(look) for look in looks),
            ),
            Table(
                title="Alerts",
                head=("opened", "device", "severity", "status", "what"),
                rows=tuple(
                    Row(
                        cells=(iso(a.created_at.timestamp()), a.device_id, a.severity, a.status, a.title),
                        level=_grave(a.severity) if a.status == "active" else None,
                    )
                    for a in alerts.alerts
                ),
                empty="no device alert yet",
            ),
            Table(
                title="Remaining-life model",
                head=("version", "status", "RMSE on held-out machines", "trained on rows", "note"),
                rows=(
                    Row(
                        cells=(
                            status.model_version or "none",
                            status.status,
                            "unknown" if metrics.rmse is None else f"{metrics.rmse:.1f}",
                            "unknown" if metrics.training_samples is None else str(metrics.training_samples),
                            status.reason,
                        )
                    ),
                ),
            ),
            Table(
                title="Anomalies of the telemetry",
                head=("what", "count", "example"),
                rows=tuple(
                    Row(cells=(what, str(count), example), level="warning" if count else "ok")
                    for what, count, example in (
                        (
                            "sessions under 5 min",
                            len(odd.short_sessions),
                            _first(s.session_id for s in odd.short_sessions),
                        ),
                        (
                            "devices with lost rows",
                            len(odd.missing_telemetry),
                            _first(m.device_id for m in odd.missing_telemetry),
                        ),
                        (
                            "two sessions at once",
                            len(odd.overlapping_sessions),
                            _first(p.first for p in odd.overlapping_sessions),
                        ),
                        (
                            "rows with battery under 20 %",
                            len(odd.low_battery),
                            _first(r.device_id for r in odd.low_battery),
                        ),
                    )
                ),
            ),
            Table(
                title="Newest sessions",
                head=("session", "start", "minutes", "tagged"),
                rows=tuple(
                    Row(
                        cells=(
                            s.session_id,
                            iso(s.start.timestamp()),
                            f"{s.duration_min:.0f}",
                            "yes" if s.tagged else "no",
                        )
                    )
                    for s in reversed(sessions)
                ),
            ),
        ),
        graphs=(_graph(looks[:LINES]),),
    )


def simulated(app: App) -> bool:
    """Whether any telemetry here came from a simulator."""
    data = keeping.ingests(app.rooms)
    return bool(data.revision and data.sql("SELECT count(*) FROM data WHERE file LIKE 'simulated%'")[0][0])


def _graph(looks: tuple[Look, ...]) -> Graph:
    from modelkeep.workloads.drilling import scoring  # noqa: PLC0415 - it brings numpy, for those with data

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


def _grave(severity: str) -> Level:
    return "critical" if severity in {"high", "critical"} else "warning"


def _first(names: Iterable[str]) -> str:
    return next(iter(names), "")
