"""Which store a setting means: the one place that knows their names."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from modelkeep.errors import BadSettings
from modelkeep.store.archive.cold import Cold
from modelkeep.store.sealing import PLAIN, Sealer
from modelkeep.store.seams import Store
from modelkeep.store.sqlite import SqliteStore


def sqlite(path: Path, *, busy: float, cold: Cold | None = None, sealer: Sealer = PLAIN) -> Store:
    """The store in the file ``path``."""
    return SqliteStore(path, busy=busy, cold=cold, sealer=sealer)


def postgresql(
    url: str,
    *,
    busy: float,
    pool_size: int,
    max_overflow: int,
    pre_ping: bool,
    cold: Cold | None = None,
    sealer: Sealer = PLAIN,
) -> Store:
    """The store on the server at ``url``; its driver is imported only now. Raises BadSettings, without it too."""
    try:
        module = import_module("modelkeep.store.postgresql")
    except ModuleNotFoundError as missing:
        if missing.name != "psycopg":
            raise
        raise BadSettings(
            "store is on PostgreSQL, and its driver psycopg is not installed",
            remedy="pip install 'modelkeep[postgres]'",
        ) from None
    store = module.PostgresStore(
        url,
        busy=busy,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pre_ping=pre_ping,
        cold=cold,
        sealer=sealer,
    )
    return cast("Store", store)
