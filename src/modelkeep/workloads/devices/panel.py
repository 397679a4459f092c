"""The page of the workload: devices at risk, their health, what to maintain, and the model's state."""

from modelkeep import App, Graph, Level, Panel, Row, Series, Table, iso
from modelkeep.workloads.devices import assessing, health_acts, keeping, prediction_acts, training_acts
from modelkeep.workloads.devices.fleet import DAY, known
from modelkeep.workloads.devices.scores import health

SHOWN = 10
_LEVELS: dict[str, Level] = {
    "critical": "critical", "high": "critical", "medium": "warning", "poor": "warning", "unknown": "unknown",
}  # fmt: skip


def panel(app: App) -> Panel:
    """At-risk list, health scores, maintenance and the model's status."""
    found = assessing.assess(app.rooms)
    return Panel(
        title="Devices",
        about="Which devices will likely fail within 14 days, how healthy each is, and what to look at first.",
        simulated=bool(found) and keeping.simulated(app.rooms),
        tables=(_risk(found), _health(app), _maintenance(app), _model(app)),
        graphs=_graphs(app, found),
    )


def _risk(found: list[assessing.Assessed]) -> Table:
    rows = []
    for one in map(prediction_acts.said, found[:SHOWN]):
        chance = "unknown" if one.failure_probability is None else f"{one.failure_probability:.1f} %"
        cells = (one.device_id, chance, one.risk_level, one.model_version, "; ".join(one.recommendations[:2]))
        rows.append(Row(cells=cells, level=_LEVELS.get(one.risk_level, "ok")))
    head = ("Device", "Chance to fail in 14 days", "Risk", "Said by", "What to do")
    return Table(title="At risk", head=head, rows=tuple(rows), empty="no device has sent a reading yet")


def _health(app: App) -> Table:
    rows = []
    for one in health_acts.scores(app)[:SHOWN]:
        score = f"unknown: {one.reason}" if one.overall_score is None else f"{one.overall_score:.0f}"
        weak = ", ".join(name for name, points in one.factor_scores.items() if points is not None and points <= 40)
        rows.append(
            Row(cells=(one.device_id, score, one.health_status, weak), level=_LEVELS.get(one.health_status, "ok"))
        )
    head = ("Device", "Health", "Status", "Weak factors")
    return Table(title="Health, the worst first", head=head, rows=tuple(rows), empty="no device has sent a reading yet")


def _maintenance(app: App) -> Table:
    listed = prediction_acts.list_maintenance(app, prediction_acts.Nothing()).recommendations
    rows = tuple(
        Row(
            cells=(one.device_id, one.priority, "; ".join(one.recommendations) or "inspect it"),
            level="critical" if one.priority == "high" else "warning",
        )
        for one in listed[:SHOWN]
    )
    return Table(title="Maintenance", head=("Device", "Priority", "What to do"), rows=rows, empty="nothing to maintain")


def _model(app: App) -> Table:
    status = training_acts.show_status(app, training_acts.Nothing())
    if status.model_metadata is None:
        return Table(title="Model", head=("What", "State"), rows=(), empty=status.reason)
    found = status.model_metadata
    worth = ", ".join(
        f"{name} {found.model_performance[name]:.2f}"
        for name in ("average_precision", "precision", "recall")
        if name in found.model_performance
    )
    lines = (
        ("Version", found.version),
        ("Trained", iso(found.training_date.timestamp())[:16]),
        ("Held-out days", worth or "unknown"),
        ("Data", found.data_source),
        ("Note", found.note),
    )
    return Table(title="Model", head=("What", "State"), rows=tuple(Row(cells=line) for line in lines))


def _graphs(app: App, found: list[assessing.Assessed]) -> tuple[Graph, ...]:
    """Health by day of the three devices most at risk."""
    lines = []
    start = app.rooms.clock.now() - 30 * DAY
    for one in found[:3]:
        fleet = keeping.fleet(app.rooms, device=one.device.device, start=start)
        points = tuple(
            (at, health({n: known(float(v[i])) for n, v in fleet.metrics.items()}).overall_score)
            for i, at in enumerate(fleet.at.tolist())
        )
        lines.append(Series(name=one.device.device, points=points))
    return (Graph(title="Health of the devices most at risk", unit="points", lines=tuple(lines)),) if lines else ()
