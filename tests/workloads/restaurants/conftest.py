from types import SimpleNamespace

import pytest
from migrated import ready
from msgspec import json, to_builtins

from modelkeep import App, ManualClock, Settings
from modelkeep.jobs import making
from modelkeep.jobs.changing import adopt
from modelkeep.jobs.registering import register
from modelkeep.jobs.release import Release, enqueue
from modelkeep.replaying.driving import Served
from modelkeep.runtimes import trainer_process
from modelkeep.workloads.restaurants import WORKLOAD, city_life, ingesting, simulator

SEED = 11
DAYS = 130
APART = "restaurants-prep"
"""Which is trained in a process of its own, as all are in production."""
AT = (simulator.FIRST + DAYS) * simulator.DAY + 6 * simulator.HOUR


@pytest.fixture(scope="session")
def city():
    return simulator.City(4, SEED)


@pytest.fixture(scope="session")
def life(city):
    """Everything that four restaurants sent in 130 days, by kind of data."""
    found = {"about": city_life.about(city, AT)}
    for hour in range(simulator.FIRST * 24, (simulator.FIRST + DAYS) * 24):
        for kind, rows in city_life.hour(city, hour * simulator.HOUR, seed=SEED).items():
            found.setdefault(kind, []).extend(rows)
    return found


@pytest.fixture(scope="session")
def tables(life):
    """The tables of the recipes, made from what was sent as an owner would make them."""
    visits, hours = {}, {}
    for row in {(r["restaurant"], r["order"], r["at"]) for r in life["orders"]}:
        day, hour = int(row[2] // simulator.DAY), int(row[2] // simulator.HOUR)
        visits[row[0], day] = visits.get((row[0], day), 0) + 1
        hours[row[0], hour] = hours.get((row[0], hour), 0) + 1
    worked = {(name, hour // 24) for name, hour in hours}
    for name, day in worked:
        for clock in range(simulator.OPENS, simulator.CLOSES):
            hours.setdefault((name, day * 24 + clock), 0)
    days = sorted(visits)
    slots = sorted(hours)
    tickets = life["tickets"]
    return {
        "restaurants-demand": {
            "restaurant": [name for name, _ in days],
            "date": [simulator.iso_day(day) for _, day in days],
            "visitors": [visits[one] for one in days],
        },
        "restaurants-hourly": {
            "restaurant": [name for name, _ in slots],
            "hour": [float(hour * 3600) for _, hour in slots],
            "orders": [hours[one] for one in slots],
        },
        "restaurants-prep": {
            name: [row.get(name) for row in tickets]
            for name in ("assigned", "completed", "restaurant", "station", "item", "quantity", "queue")
        }
        | {"minutes": [(row["completed"] - row["assigned"]) / 60 for row in tickets]},
    }


@pytest.fixture(scope="module")
def town(tmp_path_factory, life, tables):
    """A running app with the city's data and a released version of every model.

    It ends with its file: a runner on a clock that is moved by hand looks for work 20 times a second.
    """
    clock = ManualClock(AT)
    settings = Settings(folder=tmp_path_factory.mktemp("town") / "data", workloads=("restaurants",))
    ready(settings.database)
    with App.open(settings, clock=clock) as app:
        app.start()
        for kind, rows in life.items():
            ingesting.ingest(app.rooms, kind, rows=rows)
        for recipe in WORKLOAD.recipes:
            if recipe.model in tables:
                table = tables[recipe.model]
            elif recipe.simulate:
                table = simulator.purchases(3000, 5)
            else:
                continue
            if recipe.model == APART:
                app.train(f"restaurants/{recipe.model}", table, source="the test's town", why="a test")
            else:
                trained_here(app.rooms, recipe, table=table)
        Served(app).work()
        yield SimpleNamespace(app=app, clock=clock, ask=lambda act, **fields: asked(app, act, fields))


def trained_here(rooms, recipe, *, table):
    """What ``App.train`` makes, without the process of its own, which imports every library anew."""
    job = making.training_job(rooms, recipe, table=table, source="the test's town", why="a test")
    asked, folder = json.decode(job.arguments, type=making.Training), making.folder_of(rooms, job.id)
    trainer_process.run(recipe.policy.retrain.trainer, folder)
    made = making._left(folder)
    with rooms.store.write() as ledger:
        adopt(ledger, asked.policy, who="test", why="the recipe's policy", at=rooms.clock.now())
    version = register(rooms, making._registration(asked, made, folder=folder))
    wanted = Release(model=recipe.model, number=version.number, force=True, why="a test")
    with rooms.store.write() as ledger:
        enqueue(ledger, wanted, at=rooms.clock.now())


def asked(app, name, fields):
    """What an act answers, as plain values."""
    act = next(one for one in WORKLOAD.operations if one.name == f"restaurants_{name}")
    return to_builtins(act.run(app, act.request(**fields)))
