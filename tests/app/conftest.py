import pytest
from migrated import ready
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
        asked = structs.replace(Settings(folder=tmp_path / name, logs=LogsSettings(file="")), **sections)
        if asked.store.url is None:
            ready(asked.database)
        app = App.open(asked, clock=clock)
        apps.append(app)
        return app

    yield build
    for app in apps:
        app.stop()
