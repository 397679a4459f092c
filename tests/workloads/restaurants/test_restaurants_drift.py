"""A price change in one restaurant: that one alone drifts, people are told, and a retraining takes it in."""

import pytest

from modelkeep import App, ManualClock, Settings
from modelkeep.replaying.driving import Served
from modelkeep.workloads.restaurants import city_life, demand_acts, ingesting, simulator, telling, watching

DAY, HOUR = simulator.DAY, simulator.HOUR
N, SEED, BEGIN = 6, 21, 200
CHANGED = "restaurant-3"


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
        calm = clock.now()
        assert world.drifting() == set()
        world.prices[CHANGED] = (clock.now(), 0.5)
        for _ in range(16):
            world.live(1)
            if world.drifting():
                break
        assert world.drifting() == {f"restaurants/{CHANGED}"}
        assert clock.now() - calm <= 14 * DAY
        Served(app).work()  # the watch tells people
        with app.rooms.store.read() as ledger:
            told = [a for a in ledger.alerts.all() if a.rule == "restaurants_drift"]
        assert [alert.subject for alert in told] == [f"restaurants/{CHANGED}"]
        lines = told[0].message.splitlines()
        assert lines[0] == "Model Drift Detected: demand"
        assert lines[1] == f"Restaurant ID: {CHANGED}"
        assert [line.partition(":")[0] for line in lines[2:5]] == ["Training MAE", "Recent MAE", "Degradation"]
        assert lines[5] == "Action: Model retraining recommended"
        world.live(20)
        world.train("the drift of a restaurant")
        with app.rooms.store.read() as ledger:
            rollout = ledger.rollouts.get("restaurants-demand")
        if rollout.champion == 1:  # the challenger walks its trial: shadow, canary
            world.live(25)
        world.live(16)
        assert world.drifting() == set()
