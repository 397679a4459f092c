import httpx
import pytest

from modelkeep import App, ManualClock, Policy, settings
from modelkeep.claims import key_of
from modelkeep.edge import KEY_HEADER
from modelkeep.edge.server import running
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Lineage, Rollout
from modelkeep.workloads.weight import POLICY
from modelkeep.workloads.weight.preparing import prepare
from modelkeep.workloads.weight.simulator import METALS, START, simulate
from modelkeep.workloads.weight.training import train

NEW = "lead"
"""The metal that the model of the tests has never seen."""


@pytest.fixture(scope="session")
def scrap():
    """Simulated scrap without lead."""
    table = simulate(260, 5)
    keep = [i for i, metal in enumerate(table["material"]) if metal != NEW]
    return {name: [values[i] for i in keep] for name, values in table.items()}


@pytest.fixture(scope="session")
def trained(scrap):
    """A real ensemble on simulated scrap."""
    assert NEW in METALS
    return train(prepare(scrap))


@pytest.fixture
def clock():
    return ManualClock(START + 30 * 86400.0)


@pytest.fixture
def app(tmp_path, clock, trained):
    found = settings.load(
        folder=tmp_path / "data", environ={}, flags={"server.listen": [0], "watch.every": "0s", "workloads": ["weight"]}
    )
    with App.open(found, clock=clock) as one:
        installed(one, trained)
        yield one


def installed(app, trained, *, number=1, release=True):
    """The ensemble as a version that answers."""
    register(
        app.rooms,
        Registration(
            model="weight",
            path=trained.path,
            runtime=trained.runtime,
            trust=True,
            code=packed(trained),
            signature=trained.signature,
            metrics=trained.metrics,
            rivals=trained.rivals,
            columns=trained.sample,
            lineage=Lineage(rows=len(trained.sample["material"]), split="group", data_source="sample"),
        ),
    )
    if release:
        with app.rooms.store.write() as ledger:
            ledger.rollouts.put(Rollout(model="weight", champion=number, since=app.rooms.clock.now()), None)
        app.rooms.router.refresh()


def packed(trained):
    from modelkeep.runtimes import pack_features

    return pack_features(trained.code)


@pytest.fixture
def house(app):
    """The app served, and a client that may do everything."""
    with (
        running(app) as url,
        httpx.Client(base_url=url, headers={KEY_HEADER: key_of(app.rooms.folder) or ""}, timeout=30) as client,
    ):
        yield app, client


@pytest.fixture(scope="session")
def policy() -> Policy:
    return POLICY
