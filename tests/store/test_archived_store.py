"""The whole contract of a store, on one whose every record is archived as soon as it is written."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract import StoreContract
from joining_contract import JoiningContract
from migrated import ready

from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.seams import Ledger
from modelkeep.store.sqlite import SqliteStore


class Hasty(SqliteStore):
    """After each transaction it seals what there is (or a part of it), and merges files now and then."""

    def __init__(self, path: Path, *, part: bool) -> None:
        super().__init__(path)
        self._part, self._sealing = part, False
        self._turns: dict[str, int] = {}

    @contextmanager
    def write(self, scope="everything") -> Iterator[Ledger]:
        with super().write(scope) as ledger:
            yield ledger
        if self._sealing:
            return
        self._sealing = True
        with self.read() as ledger:
            models = [m for m in ledger.archive.asked() if ledger.archive.waiting(m, before=1e18)[0]]
        for model in models:
            self._turns[model] = turn = self._turns.get(model, 0) + 1
            self._seal(Archive(self), model, random.Random(turn))
        self._sealing = False

    def _seal(self, archive: Archive, model: str, dice: random.Random) -> None:
        if self._part:
            archive._batch = dice.choice([1, 2, 3])
        if not self._part or dice.random() < 0.6:
            archive.seal(model, before=1e18, at=1e6)
        if dice.random() < 0.3:
            archive.merge(model, at=1e6)


@pytest.fixture(params=[pytest.param(True, marks=pytest.mark.prove), False], ids=["some", "all"])
def store(request: pytest.FixtureRequest, path: Path) -> Iterator[SqliteStore]:
    kept = Hasty(ready(path), part=request.param)
    yield kept
    kept.close()


class TestArchivedStore(StoreContract):
    test_any_order_gives_what_the_rule_says = None
    test_one_call_with_many_outcomes_is_the_same = None


@pytest.mark.prove
@pytest.mark.timeout(900)
class TestArchivedJoining(JoiningContract):
    pass
