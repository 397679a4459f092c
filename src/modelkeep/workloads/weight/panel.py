"""The page of the workload: what was estimated lately and how far it was off, by material, and the members' weights."""

import math
import statistics
from typing import TYPE_CHECKING

from modelkeep import Graph, Level, Panel, Row, Series, Table, Version, iso
from modelkeep.workloads.weight import consent
from modelkeep.workloads.weight.features import material_of

if TYPE_CHECKING:
    from modelkeep import App, Match, Prediction

MODEL = "weight"
DAY = 86400.0
SHOWN, PAIRS = 20, 2000
MEMBERS = ("physics", "balanced", "ridge", "trees")
ABOUT = (
    "Weight of an object from a photo with a reference object, or from measurements. Errors are told once the object "
    "was weighed; an estimate that asks to be weighed should not be paid by."
)


def panel(app: "App") -> Panel:
    """Recent estimates, errors by material, members' weights by version, and the share that calls for the scale."""
    now = app.rooms.clock.now()
    with app.rooms.store.read() as ledger:
        known = MODEL in ledger.versions.models()
        asked = ledger.records.latest(MODEL, limit=SHOWN) if known else []
        told = {one.id: ledger.records.outcomes(one.id) for one in asked}
        pairs = ledger.records.labelled(MODEL, start=now - 90 * DAY, end=now, limit=PAIRS) if known else []
        versions = ledger.versions.all(MODEL) if known else []
    simulated = any(version.lineage.data_source == "sample" for version in versions)
    weighed = {name: outcomes[-1].value for name, outcomes in told.items() if outcomes}
    return Panel(
        title="Weights",
        about=ABOUT + (" Everything here is simulated." if simulated else ""),
        simulated=simulated,
        tables=(_recent(asked, weighed), _materials(pairs), _weights(versions)),
        graphs=(_errors(pairs), _please(app, now), *([_members(versions)] if len(versions) > 1 else [])),
    )


def _recent(asked: "list[Prediction]", weighed: dict[str, float | int | str | bool | None]) -> Table:
    rows = []
    for one in asked:
        truth = weighed.get(one.id)
        error = None
        if isinstance(truth, float | int) and isinstance(one.output, float | int) and truth:
            error = abs(one.output - truth) / truth
        interval = "" if one.interval is None else f"{one.interval[0]:,.0f} to {one.interval[1]:,.0f}"
        rows.append(
            Row(
                cells=(
                    iso(one.at)[:16].replace("T", " "),
                    material_of(dict(one.features)) or "unknown",
                    "nobody answered" if one.output is None else f"{float(one.output):,.0f} g",
                    interval,
                    "not weighed yet" if truth is None else f"{float(truth):,.0f} g",
                    "" if error is None else f"{100 * error:.0f} %",
                ),
                level=None if error is None else _level(error),
            )
        )
    return Table(
        title="Newest estimates",
        head=("Asked", "Material", "Estimate", "90 % interval", "Weighed", "Off by"),
        rows=tuple(rows),
        empty="nothing was estimated yet",
    )


def _level(error: float) -> Level:
    return "ok" if error <= 0.2 else "warning" if error <= 0.5 else "critical"


def _materials(pairs: "list[tuple[Prediction, Match]]") -> Table:
    by: dict[str, list[float]] = {}
    for prediction, match in pairs:
        error = _share(match)
        if error is not None:
            by.setdefault(material_of(dict(prediction.features)) or "unknown", []).append(error)
    ordered = sorted(by.items(), key=lambda part: -len(part[1]))
    return Table(
        title="Error by material, last 90 days",
        head=("Material", "Weighed", "Mean error", "Bias"),
        rows=tuple(
            Row(
                cells=(
                    name,
                    str(len(errors)),
                    f"{100 * statistics.fmean(abs(e) for e in errors):.1f} %",
                    f"{100 * statistics.fmean(errors):+.1f} %",
                ),
                level=_level(statistics.fmean(abs(e) for e in errors)),
            )
            for name, errors in ordered
        ),
        empty="nothing was weighed yet",
    )


def _share(match: "Match") -> float | None:
    """How far an answer was off, as a share of the weight, with its sign."""
    said, truth = match.output, match.value
    if isinstance(said, str | bool) or isinstance(truth, str | bool) or said is None or not truth:
        return None
    return (said - truth) / truth


def _weights(versions: "list[Version]") -> Table:
    rows = [
        Row(
            cells=(
                version.name,
                iso(version.created)[:10],
                *(_percent(version.baseline.metrics.get(f"weight_{name}")) for name in MEMBERS),
                _percent(version.baseline.metrics.get("mape")),
            )
        )
        for version in sorted(versions, key=lambda one: -one.number)
    ]
    return Table(
        title="Members' weights for materials that are known",
        head=("Version", "Made", *MEMBERS, "Held-out error"),
        rows=tuple(rows),
        empty="no version was trained yet",
    )


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def _errors(pairs: "list[tuple[Prediction, Match]]") -> Graph:
    by: dict[float, list[float]] = {}
    for _, match in pairs:
        error = _share(match)
        if error is not None:
            by.setdefault(match.at // DAY * DAY, []).append(100 * abs(error))
    points = tuple((day, statistics.fmean(errors)) for day, errors in sorted(by.items()))
    return Graph(title="Mean error of a day", unit="%", lines=(Series(name="error", points=points),))


def _please(app: "App", now: float) -> Graph:
    told = consent.records(app.rooms).sql(
        'SELECT floor("timestamp" / 86400) * 86400, avg(please_weigh::INT) FROM data WHERE "timestamp" > ? '
        "GROUP BY 1 ORDER BY 1",
        (now - 90 * DAY,),
    )
    points = tuple((float(day), 100 * float(share)) for day, share in told if math.isfinite(float(share)))
    return Graph(title="Estimates that call for the scale", unit="%", lines=(Series(name="share", points=points),))


def _members(versions: "list[Version]") -> Graph:
    ordered = sorted(versions, key=lambda one: one.created)
    return Graph(
        title="Members' weights over time",
        unit="%",
        lines=tuple(
            Series(
                name=name,
                points=tuple(
                    (one.created, None if value is None else 100 * value)
                    for one in ordered
                    for value in [one.baseline.metrics.get(f"weight_{name}")]
                ),
            )
            for name in MEMBERS
        ),
    )
