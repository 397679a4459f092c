from collections.abc import Iterator
from pathlib import Path

import pytest
from migrated import ready

from modelkeep.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "modelkeep.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    kept = SqliteStore(ready(path), busy=5.0)
    yield kept
    kept.close()
