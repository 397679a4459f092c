"""A workload's page: its panel as a view. No HTML here; what cannot be shown is unknown, with the reason."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct, structs

from modelkeep.edge.pages.charts import Chart, Line, Look, Point
from modelkeep.edge.pages.views import AlertCard, Condition, Reason, Shown, Sources, card
from modelkeep.edge.pages.words import plural, rank, worst
from modelkeep.errors import ModelkeepError, NotFound, StoreUnavailable
from modelkeep.nouns import LEVELS, Level, gravity
from modelkeep.quantities import duration
from modelkeep.workload import Graph, Panel, Series, Table

ROWS = 30
"""So many rows of a table are shown."""
POINTS = 72
"""So many moments of a chart are shown."""
LOOKS: tuple[Look, ...] = ("model", "challenger", "baseline", "fourth")
"""The lines that one chart can hold apart."""
FRESH = 30.0
"""So long, in seconds, what a workload has to show is good enough for a link to it."""
_LOG = logging.getLogger("modelkeep.edge")


class Sheet(Struct, frozen=True, kw_only=True):
    """A table of a panel as it is shown; ``hidden`` rows were left out."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], Level | None], ...]
    empty: str
    levelled: bool
    hidden: int


class PanelView(Struct, frozen=True, kw_only=True):
    """All that the page of a workload shows."""

    now: float
    workload: str
    state: Condition
    about: str = ""
    simulated: bool = False
    alerts: tuple[AlertCard, ...] = ()
    notices: tuple[AlertCard, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    charts: tuple[Chart, ...] = ()


class Panels:
    """The panels of an app's workloads by name, asked when somebody looks."""

    def __init__(self, makers: Mapping[str, Callable[[], Panel]]) -> None:
        self._makers = dict(makers)
        self._seen: dict[str, tuple[float, Panel | None]] = {}

    def view(self, sources: Sources, name: str) -> PanelView:
        """The page of a workload. Raises NotFound for one that has none, StoreUnavailable."""
        if name not in self._makers:
            raise NotFound("workload's page", name, known=self._makers)
        now, panel, why = sources.clock.now(), *self._made(name)
        with sources.store.read() as ledger:
            active = [a for a in ledger.alerts.all(active=True) if a.subject.partition("/")[0] == name]
        active.sort(key=lambda alert: (rank(gravity(alert.severity)), -alert.opened))
        view = PanelView(
            now=now,
            workload=name,
            state=Condition(
                level="unknown", headline=f"{name} cannot be shown", reasons=(Reason(level="unknown", text=why),)
            ),
            alerts=tuple(card(alert, now) for alert in active if alert.severity != "info"),
            notices=tuple(card(alert, now) for alert in active if alert.severity == "info"),
        )
        return view if panel is None else _shown(view, panel)

    @staticmethod
    def outage(sources: Sources, name: str, *, cause: StoreUnavailable) -> PanelView:
        """The page of a workload while the store cannot be read: only that is known, and said."""
        state = Condition(
            level="critical",
            headline="The store cannot be read",
            reasons=(Reason(level="critical", text=str(cause)),),
        )
        return PanelView(now=sources.clock.now(), workload=name, state=state)

    def shown(self) -> tuple[Shown, ...]:
        """The workloads that have something to show; each is asked every ``FRESH`` seconds at most."""
        found = []
        for name in self._makers:
            before = self._seen.get(name)
            if before is None or time.perf_counter() - before[0] > FRESH:
                self._made(name)
            panel = self._seen[name][1]
            if panel is not None and _something(panel):
                found.append(Shown(name=name, about=panel.title, simulated=panel.simulated))
        return tuple(found)

    def _made(self, name: str) -> tuple[Panel | None, str]:
        """The panel as it is now, or why there is none."""
        panel, why = None, ""
        try:
            panel = self._makers[name]()
        except ModelkeepError as refusal:
            why = str(refusal)
        except Exception as defect:  # noqa: BLE001 - the edge: the page says so, and the others go on
            _LOG.exception("a workload's panel failed", extra={"workload": name})
            why = f"its panel is defective, the log has the cause: {type(defect).__name__}"
        self._seen[name] = (time.perf_counter(), panel)
        return panel, why


def _shown(view: PanelView, panel: Panel) -> PanelView:
    levels = [row.level for table in panel.tables for row in table.rows if row.level is not None]
    return structs.replace(
        view,
        about=panel.about,
        simulated=panel.simulated,
        state=Condition(
            level=worst([*levels, *(alert.level for alert in view.alerts)]),
            headline=panel.title,
            reasons=tuple(_reasons(levels, [alert.level for alert in view.alerts])),
        ),
        sheets=tuple(_sheet(table) for table in panel.tables),
        charts=tuple(_chart(graph, f"{view.workload}-{i}") for i, graph in enumerate(panel.graphs)),
    )


def _something(panel: Panel) -> bool:
    return any(table.rows for table in panel.tables) or any(
        value is not None for graph in panel.graphs for line in graph.lines for _, value in line.points
    )


def _reasons(levels: Sequence[Level], alerts: list[Level]) -> Iterator[Reason]:
    """What the word above stands for: how many rows are how, and how many alerts are open."""
    if alerts:
        yield Reason(level=worst(alerts), text=f"{plural(len(alerts), 'alert')} open")
    for level in reversed(LEVELS):
        n = levels.count(level)
        if n and level != "ok":
            yield Reason(level=level, text=f"{n:,} of {plural(len(levels), 'row')} {level}")


def _sheet(table: Table) -> Sheet:
    levelled = any(row.level is not None for row in table.rows)
    rows = tuple((row.cells, row.level) for row in table.rows[:ROWS])
    hidden = max(len(table.rows) - ROWS, 0)
    return Sheet(title=table.title, head=table.head, rows=rows, empty=table.empty, levelled=levelled, hidden=hidden)


def _chart(graph: Graph, name: str) -> Chart:
    """A graph with at most as many moments as can be seen, and as many lines as can be told apart."""
    moments = sorted({at for line in graph.lines for at, _ in line.points})
    start, end = (moments[0], moments[-1]) if moments else (0.0, 1.0)
    wide = (end - start) / POINTS if len(moments) > POINTS else 0.0
    lines = [
        Line(name=s.name, look=look, points=_points(s, start, wide=wide))
        for s, look in zip(graph.lines, LOOKS, strict=False)
    ]
    said = [f"Each point is the newest value of {duration(wide)}."] if wide else []
    more = len(graph.lines) - len(LOOKS)
    said += [f"{plural(more, 'further line')} not drawn."] if more > 0 else []
    return Chart(
        name=name, title=f"{graph.title}{f' ({graph.unit})' if graph.unit else ''}", summary=" ".join(said),
        start=start, end=max(end, start + 1.0), lines=tuple(lines), fine=True,
    )  # fmt: skip


def _points(series: Series, start: float, *, wide: float) -> tuple[Point, ...]:
    """The points by time; of those in one stretch of ``wide`` seconds the newest."""
    found: dict[float, Point] = {}
    for at, value in sorted(series.points, key=lambda point: point[0]):
        found[(at - start) // wide if wide else at] = Point(at=at, value=value)
    return tuple(found.values())
