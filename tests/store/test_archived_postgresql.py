"""The contract of records on PostgreSQL when every record is archived as soon as it is written."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract import OutcomesContract, PredictionsContract, SumsContract

from modelkeep.store.archive.cold import Cold
from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.postgresql import PostgresStore
from modelkeep.store.seams import Ledger
from modelkeep.store.turns import Scope


class Hasty(PostgresStore):
    """After each transaction it seals what there is, and merges files now and then."""

    _sealing = False

    @contextmanager
    def write(self, scope: Scope = "everything") -> Iterator[Ledger]:
        with super().write(scope) as ledger:
            yield ledger
        if self._sealing:
            return
        self._sealing = True
        with self.read() as ledger:
            models = [m for m in ledger.archive.asked() if ledger.archive.waiting(m, before=1e18)[0]]
        for model in models:
            Archive(self).seal(model, before=1e18, at=1e6)
            if random.Random(len(models)).random() < 0.3:
                Archive(self).merge(model, at=1e6)
        self._sealing = False


@pytest.fixture
def store(database: str, tmp_path: Path) -> Iterator[PostgresStore]:
    kept = Hasty(database, cold=Cold(tmp_path / "archive"))
    yield kept
    kept.close()


@pytest.mark.prove  # each transaction writes and reads Parquet files: half a minute
class TestArchivedPostgres(PredictionsContract, OutcomesContract, SumsContract):
    pass
