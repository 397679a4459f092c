"""The page of the workload: models, restaurants with their next days, the kitchen and the stock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelkeep import Graph, Level, Panel, Row, Series, Table
from modelkeep.workloads.restaurants import inventory_acts, keeping, stations, stock
from modelkeep.workloads.restaurants.recipes import DEMAND, RECIPES

if TYPE_CHECKING:
    from modelkeep import App

DAY = 86400.0
SHOWN, LINES = 12, 6
ABOUT = (
    "What restaurants send, what their models expect, and what needs a hand. A forecast stands on a restaurant's own "
    "past; where a simple forecast did better, it answers."
)


def panel(app: App) -> Panel:
    """The panel of the restaurants as they stand."""
    return Panel(
        title="Restaurants",
        about=ABOUT,
        simulated=_simulated(app),
        tables=(_models(app), _restaurants(app), _kitchen(app), _stock(app)),
        graphs=tuple(_graph(app)),
    )


def _simulated(app: App) -> bool:
    with app.rooms.store.read() as ledger:
        versions = [version for recipe in RECIPES for version in ledger.versions.all(recipe.model)]
    return any("simulated" in f"{version.note} {version.lineage.source}".lower() for version in versions)


def _models(app: App) -> Table:
    rows = []
    with app.rooms.store.read() as ledger:
        for recipe in RECIPES:
            rollout = ledger.rollouts.get(recipe.model)
            if rollout is not None:
                version = ledger.versions.get(recipe.model, rollout.champion)
                rows.append(Row(cells=(recipe.model, version.name, version.note or recipe.summary)))
    return Table(
        title="Models",
        head=("model", "serves", "on data that it had not seen"),
        rows=tuple(rows),
        empty="no version is released yet: modelkeep train restaurants --data FILE, or modelkeep demo restaurants",
    )


def _restaurants(app: App) -> Table:
    found = keeping.dataset(app.rooms, "orders").sql(
        'SELECT restaurant, count(DISTINCT "order"), count(DISTINCT floor(moment / 86400)), max(moment) FROM data '
        "WHERE moment >= ? GROUP BY restaurant ORDER BY 2 DESC LIMIT ?",
        [app.rooms.clock.now() - 28 * DAY, SHOWN],
    )
    rows = tuple(
        Row(cells=(str(name), f"{orders:,}", f"{orders / max(days, 1):.1f}", f"{days}"))
        for name, orders, days, _ in found
    )
    return Table(
        title="Restaurants, last 28 days",
        head=("restaurant", "orders", "a day", "days open"),
        rows=rows,
        empty="no orders were sent yet: POST /api/data/orders",
    )


def _kitchen(app: App) -> Table:
    rows, now = [], app.rooms.clock.now()
    names = keeping.dataset(app.rooms, "tickets").sql("SELECT DISTINCT restaurant FROM data ORDER BY ALL LIMIT 50")
    for (name,) in names:
        for times in stations.times(app.rooms, name):
            found = stations.slowed(times, now=now)
            if found.bottleneck:
                rows.append(Row(cells=(str(name), found.station_name, found.reason), level="warning"))
    return Table(
        title="Bottlenecks",
        head=("restaurant", "station", "against its own earlier weeks"),
        rows=tuple(rows[:SHOWN]),
        empty="no station is surely slower than it was",
    )


def _stock(app: App) -> Table:
    rows, now = [], app.rooms.clock.now()
    names = keeping.dataset(app.rooms, "stock").sql("SELECT DISTINCT restaurant FROM data ORDER BY ALL LIMIT 50")
    for (name,) in names:
        for item in inventory_acts.items_of(app.rooms, name):
            used = inventory_acts.used_of(app.rooms, name, item=item.item)
            plan = stock.plan(item, used, now=now, service=0.95)
            if plan.status in {"critical", "low"}:
                days = "unknown" if plan.days_until_stockout is None else f"{plan.days_until_stockout:.1f}"
                level: Level = "critical" if plan.status == "critical" else "warning"
                cells = (str(name), plan.item_name, days, plan.action, f"{plan.recommended_order_qty or 0:g}")
                rows.append(Row(cells=cells, level=level))
    return Table(
        title="Stock that runs out",
        head=("restaurant", "item", "days left", "what to do", "order"),
        rows=tuple(rows[:SHOWN]),
        empty="nothing runs out within a week, as far as its use is known",
    )


def _graph(app: App) -> list[Graph]:
    now = app.rooms.clock.now()
    found = keeping.dataset(app.rooms, "orders").sql(
        'SELECT restaurant, floor(moment / 86400) * 86400, count(DISTINCT "order") FROM data WHERE moment >= ? '
        "AND moment < ? GROUP BY ALL ORDER BY ALL",
        [now - 56 * DAY, now // DAY * DAY],
    )
    lines: dict[str, list[tuple[float, float | None]]] = {}
    for name, day, orders in found:
        lines.setdefault(str(name), []).append((float(day), float(orders)))
    if not lines:
        return []
    busiest = sorted(lines, key=lambda name: -sum(value or 0.0 for _, value in lines[name]))[:LINES]
    series = tuple(Series(name=name, points=tuple(lines[name])) for name in busiest)
    return [Graph(title=f"Orders a day, the busiest ({DEMAND} forecasts them)", unit="orders", lines=series)]
