import pytest
from migrated import ready

from modelkeep import App, ManualClock, Settings
from modelkeep.workloads.drilling import simulator


@pytest.fixture
def clock():
    return ManualClock(simulator.START + 30 * 86400.0)


@pytest.fixture
def app(tmp_path, clock):
    asked = Settings(folder=tmp_path / "data", workloads=("drilling",))
    ready(asked.database)
    with App.open(asked, clock=clock) as found:
        yield found
