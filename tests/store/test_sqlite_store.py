"""The contract on SQLite."""

from contract import StoreContract


class TestSqliteStore(StoreContract):
    pass
