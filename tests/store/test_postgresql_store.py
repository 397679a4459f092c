"""The contract on PostgreSQL."""

from collections.abc import Iterator

import pytest
from contract import StoreContract

from modelkeep.store.postgresql import PostgresStore


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    kept = PostgresStore(database)
    yield kept
    kept.close()


class TestPostgresStore(StoreContract):
    pass
