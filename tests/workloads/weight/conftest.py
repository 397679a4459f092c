import shutil

import httpx
import pytest
from yard import NEW, installed

from modelkeep import App, ManualClock, Policy, settings
from modelkeep.claims import key_of
from modelkeep.edge import KEY_HEADER
from modelkeep.edge.server import running
from modelkeep.workloads.weight import POLICY
from modelkeep.workloads.weight.preparing import prepare
from modelkeep.workloads.weight.simulator import METALS, START, simulate
from modelkeep.workloads.weight.training import train

NOW = START + 30 * 86400.0
FLAGS = {"server.listen": [0], "watch.every": "0s", "workloads": ["weight"], "loading.isolate": False}


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
    return ManualClock(NOW)


@pytest.fixture(scope="session")
def made(tmp_path_factory, trained):
    """A data folder with the ensemble as a version that answers: made once, and copied."""
    folder = tmp_path_factory.mktemp("made") / "data"
    with App.open(settings.load(folder=folder, environ={}, flags=FLAGS), clock=ManualClock(NOW)) as one:
        installed(one, trained)
    return folder


@pytest.fixture
def app(tmp_path, clock, made):
    shutil.copytree(made, tmp_path / "data")
    with App.open(settings.load(folder=tmp_path / "data", environ={}, flags=FLAGS), clock=clock) as one:
        one.rooms.router.refresh()
        yield one


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
