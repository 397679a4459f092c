"""One transaction's view of everything that is kept."""

from sqlalchemy import Connection

from modelkeep.store.acts import SqlActs
from modelkeep.store.alerts import SqlAlerts
from modelkeep.store.archive.cold import Cold
from modelkeep.store.archive.records import LongRecords
from modelkeep.store.archive.vault import Vault
from modelkeep.store.jobs import SqlJobs
from modelkeep.store.persons import SqlPersons
from modelkeep.store.readings import SqlReadings
from modelkeep.store.records import SqlRecords
from modelkeep.store.registry import SqlRollouts, SqlVersions
from modelkeep.store.said import SqlSaid
from modelkeep.store.seams import Acts, Alerts, Jobs, Persons, Readings, Records, Rollouts, Said, Versions


class SqlLedger:
    """``seams.Ledger`` over one connection that is in a transaction, and the archive's files."""

    def __init__(self, connection: Connection, cold: Cold | None = None) -> None:
        self.records: Records = SqlRecords(connection) if cold is None else LongRecords(connection, cold)
        self.versions: Versions = SqlVersions(connection)
        self.rollouts: Rollouts = SqlRollouts(connection)
        self.readings: Readings = SqlReadings(connection)
        self.alerts: Alerts = SqlAlerts(connection)
        self.jobs: Jobs = SqlJobs(connection)
        self.acts: Acts = SqlActs(connection)
        self.persons: Persons = SqlPersons(connection)
        self.said: Said = SqlSaid(connection, self.records)
        self.archive = Vault(connection)
