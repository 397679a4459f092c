"""A price change in one restaurant: that one alone drifts, people are told, and a retraining takes it in."""

import pytest

from modelkeep import App, ManualClock, Settings
from modelkeep.replaying.driving import Served
from modelkeep.workloads.restaurants import city_life, demand_acts, ingesting, simulator, telling, watching

DAY, HOUR = simulator.DAY, simulator.HOUR
N, SEED, BEGIN = 6, 21, 140
CHANGED = "restaurant-4"


def table(sent, until):
    """The days before one, as an owner makes a table of them."""
    counts = {}
    for name, _, day in {(row["restaurant"], row["order"], int(row["at"] // DAY)) for row in sent}:
        if day < until:
            counts[name, day] = counts.get((name, day), 0) + 1
    days = sorted(counts)
    return {"restaurant": [name for name, _ in days], "date": [simulator.iso_day(day) for _, day in days],
            "visitors": [counts[one] for one in days]}  # fmt: skip


class World:
    """Orders come in, forecasts are asked every morning, outcomes are told; one restaurant changes its prices."""

    def __init__(self, app, clock, city):
        self.app, self.clock, self.city = app, clock, city
        self.sent, self.prices = [], {}

    def send(self, day):
        rows = []
        for hour in range(24):
            found = city_life.hour(self.city, day * DAY + hour * HOUR, seed=SEED, prices=self.prices)
            rows += found["orders"]
        self.sent += rows
        if rows:
            ingesting.ingest(self.app.rooms, "orders", rows=rows)

    def live(self, days):
        for _ in range(days):
            for name in self.city.names:
                demand_acts.forecast(
                    self.app, demand_acts.AskDemand(restaurant_id=name, hours_ahead=24, forecast_type="daily")
                )
            self.clock.advance(DAY)
            self.send(int(self.clock.now() // DAY) - 1)
        telling.tell_outcomes(self.app.rooms)

    def train(self, why):
        self.app.train("restaurants", table(self.sent, int(self.clock.now() // DAY)), why=why)
        Served(self.app).work()

    def told(self):
        """What people were told of drifting restaurants."""
        with self.app.rooms.store.read() as ledger:
            return [alert for alert in ledger.alerts.all() if alert.rule == "restaurants_drift"]

    def drifting(self):
        return {r.subject for r in watching.drift(self.app.rooms) if r.level == "warning"}


@pytest.mark.prove
@pytest.mark.row("WK2-03", "ALR-17")
@pytest.mark.timeout(900)
def test_a_price_change_in_one_restaurant_drifts_there_alone_and_a_retraining_clears_it(tmp_path):
    clock = ManualClock((simulator.FIRST + BEGIN) * DAY + 6 * HOUR)
    settings = Settings(folder=tmp_path / "data", workloads=("restaurants",))
    with App.open(settings, clock=clock) as app:
        app.start()
        world = World(app, clock, simulator.City(N, SEED))
        for day in range(simulator.FIRST, simulator.FIRST + BEGIN):
            world.send(day)
        world.train("the first version")
        world.live(30)
        Served(app).work()
        assert world.told() == []
        changed = clock.now()
        world.prices[CHANGED] = (changed, 0.5)
        while not world.told() and clock.now() < changed + 21 * DAY:
            world.live(1)
            Served(app).work()  # outcomes are told, the watch looks
        told = world.told()
        assert [alert.subject for alert in told] == [f"restaurants/{CHANGED}"]
        lines = told[0].message.splitlines()
        assert lines[0] == "Model Drift Detected: demand"
        assert lines[1] == f"Restaurant ID: {CHANGED}"
        assert [line.partition(":")[0] for line in lines[2:5]] == ["Training MAE", "Recent MAE", "Degradation"]
        assert lines[5] == "Action: Model retraining recommended"
        world.live(5)
        world.train("the drift of a restaurant")
        world.live(28)  # the challenger walks its trial meanwhile
        Served(app).work()
        assert world.drifting() == set()
        assert [alert.state for alert in world.told()] == ["resolved"]
