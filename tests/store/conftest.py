from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkeep.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "modelkeep.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    kept = SqliteStore(path, busy=5.0)
    kept.migrate()
    yield kept
    kept.close()
