"""The whole contract of a store, on one whose every record is archived as soon as it is written."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract import StoreContract

from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.seams import Ledger
from modelkeep.store.sqlite import SqliteStore


class Hasty(SqliteStore):
    """After each transaction it seals what there is (or a part of it), and merges files now and then."""

    def __init__(self, path: Path, *, part: bool) -> None:
        super().__init__(path)
        self._part, self._busy_sealing, self._random = part, False, random.Random(5)

    @contextmanager
    def write(self, scope="everything") -> Iterator[Ledger]:
        with super().write(scope) as ledger:
            yield ledger
        if self._busy_sealing:
            return
        self._busy_sealing = True
        archive = Archive(self)
        with self.read() as ledger:
            models = ledger.archive.asked()
        for model in models:
            archive._batch = self._random.choice([1, 3, 1000]) if self._part else 1000
            if not self._part or self._random.random() < 0.6:
                archive.seal(model, before=1e18, at=1e6)
            if self._random.random() < 0.3:
                archive.merge(model, at=1e6)
        self._busy_sealing = False


@pytest.fixture(params=[True, False], ids=["some", "all"])
def store(request: pytest.FixtureRequest, path: Path) -> Iterator[SqliteStore]:
    kept = Hasty(path, part=request.param)
    kept.migrate()
    yield kept
    kept.close()


class TestArchivedStore(StoreContract):
    pass
