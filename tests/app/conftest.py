import pytest
from msgspec import structs

from modelkeep.app import App
from modelkeep.clock import ManualClock
from modelkeep.settings import Settings
from modelkeep.settings.sections import LogsSettings

START = 1_700_000_000.0


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def opened(tmp_path, clock):
    """Opens apps on a folder; what a test leaves open is stopped."""
    apps = []

    def build(name="data", clock=clock, **sections):
        base = Settings(folder=tmp_path / name, logs=LogsSettings(file=""))
        app = App.open(structs.replace(base, **sections), clock=clock)
        apps.append(app)
        return app

    yield build
    for app in apps:
        app.stop()
