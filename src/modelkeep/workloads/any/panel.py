"""The page of the platform's operator: the models as they stand, and the twelve KPIs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelkeep import Panel, Row, Table
from modelkeep.workloads.any.acts import ListThem, models
from modelkeep.workloads.any.kpis import Kpi, Span, kpis

if TYPE_CHECKING:
    from modelkeep import App, Level

ABOUT = "Every model of this server, whoever made it, and the KPIs of the platform over the last seven days."


def panel(app: App) -> Panel:
    """The models and the KPIs; nothing while there is no model."""
    found = models(app, ListThem()).models
    listed = tuple(
        Row(
            cells=(
                one.name, one.version, one.status, one.model_type, str(one.feature_count),
                ", ".join(f"{name} {value:.4g}" for name, value in sorted(one.metrics.items())[:4]),
            ),
            level="warning" if one.status == "disabled" else "ok" if one.status == "serving" else None,
        )
        for one in found
    )  # fmt: skip
    head = ("model", "version", "status", "runtime", "features", "metrics when it was made")
    told = tuple(_row(kpi) for kpi in kpis(app, Span()).kpis) if found else ()
    return Panel(
        title="Models and KPIs",
        about=ABOUT,
        tables=(
            Table(title="Models", head=head, rows=listed, empty="no model is registered yet"),
            Table(title="KPIs", head=("KPI", "target", "value", "from"), rows=told, empty="nothing to measure yet"),
        ),
    )


def _row(kpi: Kpi) -> Row:
    value = "unknown" if kpi.value is None else f"{kpi.value:.4g} {kpi.unit}"
    level: Level = "unknown" if kpi.met is None else "ok" if kpi.met else "warning"
    return Row(cells=(kpi.name, kpi.target, value, kpi.detail), level=level)
