import pytest
from migrated import ready

from modelkeep import App, ManualClock, Settings, moment


@pytest.fixture
def clock():
    return ManualClock(moment("2025-07-01T07:00:00Z"))


@pytest.fixture
def app(tmp_path, clock):
    asked = Settings(folder=tmp_path / "data", workloads=("devices",))
    ready(asked.database)
    with App.open(asked, clock=clock) as found:
        yield found
