"""An empty store of the newest schema: migrated once in a process, and copied from then on."""

import contextlib
import os
import tempfile
from functools import cache
from pathlib import Path

from modelkeep.store.sqlite import SqliteStore


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        store = SqliteStore(path)
        store.migrate()
        store.close()
        assert not path.with_name("empty.db-wal").exists()
        return path.read_bytes()


def ready(path: Path) -> Path:
    """The path of a store, which is there from now on: an empty one when there was none."""
    with contextlib.suppress(OSError):  # whoever opens it says why it cannot be made
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640), "wb") as file:
            file.write(_empty())
    return path
