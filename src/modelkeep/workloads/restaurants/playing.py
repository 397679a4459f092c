"""Simulated life for the demo: some restaurants send what happened every three hours, each morning they ask."""

from modelkeep import App, NotFound
from modelkeep.workloads.restaurants import city_life, customer_acts, demand_acts, ingesting, keeping, kitchen_acts
from modelkeep.workloads.restaurants.simulator import DAY, HOUR, City

N, SEED = 4, 7
PAST = 70
"""Days of past that are there when the demo begins."""
EVERY, MORNING = 3, 6
"""Hours between two sendings, and the hour (UTC) in which forecasts are asked."""
_CITIES: dict[int, City] = {}


def play(app: App, at: float) -> None:
    """Play up to a moment: every three hours the orders come in, and in the morning forecasts are asked."""
    city = _CITIES.setdefault(N, City(N, SEED))
    begin, clock = at - EVERY * HOUR, int(at % DAY // HOUR)
    if not keeping.dataset(app.rooms, "about").revision:
        ingesting.ingest(app.rooms, "about", rows=city_life.about(city, at))
        begin = at // DAY * DAY - PAST * DAY
    elif clock % EVERY:
        return
    send(app, city, start=begin, end=at)
    if clock == MORNING:
        ask(app, city)


def send(app: App, city: City, *, start: float, end: float) -> None:
    """Send what happened in the hours between two moments."""
    found: dict[str, city_life.Rows] = {}
    hour = start // HOUR * HOUR
    while hour < end - HOUR / 2:
        for kind, rows in city_life.hour(city, hour, seed=SEED).items():
            found.setdefault(kind, []).extend(rows)
        hour += HOUR
    for kind, rows in found.items():
        if rows:
            ingesting.ingest(app.rooms, kind, rows=rows)


def ask(app: App, city: City) -> None:
    """Ask what the day and the week bring; a model that is not released yet is not asked."""
    try:
        for name in city.names:
            demand_acts.forecast(app, demand_acts.AskDemand(restaurant_id=name, hours_ahead=18))
            week = demand_acts.AskDemand(restaurant_id=name, hours_ahead=168, forecast_type="daily")
            demand_acts.forecast(app, week)
            orders = tuple(
                kitchen_acts.Order(station_id=station, menu_item_id=item) for item, station in city_life.MENU[:3]
            )
            kitchen_acts.batch_prep_time(app, kitchen_acts.AskBatch(restaurant_id=name, orders=orders))
            customer_acts.at_risk(app, customer_acts.AskAtRisk(restaurant_id=name))
    except NotFound:
        return
