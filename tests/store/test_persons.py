"""People in a store: SQLite in the clear, SQLite sealed, and PostgreSQL both ways."""

import pytest
from making import prediction
from migrated import ready
from persons_contract import PersonsContract

from modelkeep.errors import BadSettings, Unavailable
from modelkeep.store import sealing
from modelkeep.store.sealing import MARK, Sealer, seal, unseal
from modelkeep.store.sqlite import SqliteStore

MASTER, OTHER = b"m" * 32, b"o" * 32


class TestPersonsOnSqlite(PersonsContract):
    pass


class TestPersonsSealed(PersonsContract):
    @pytest.fixture
    def store(self, path):
        kept = SqliteStore(ready(path), sealer=Sealer([MASTER]))
        yield kept
        kept.close()


class TestPersonsOnPostgres(PersonsContract):
    @pytest.fixture(params=["clear", "sealed"])
    def store(self, database, request):
        from modelkeep.store.postgresql import PostgresStore

        kept = PostgresStore(database, sealer=Sealer([MASTER] if request.param == "sealed" else []))
        yield kept
        kept.close()


def sealed(path, *masters):
    return SqliteStore(ready(path), sealer=Sealer(masters))


def add(store, *people, first=1):
    with store.write() as ledger:
        some = [prediction(first + n, subject=who, features={"note": "a plain text"}) for n, who in enumerate(people)]
        ledger.records.add(some, [])


def disk(path):
    return b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())


@pytest.mark.row("PRV-04")
def test_no_byte_of_a_record_is_on_disk_in_the_clear(path):
    store = sealed(path, MASTER)
    add(store, "anna-maria", None)
    with store.read() as ledger:
        assert [p.subject for p in ledger.records.latest("demand")] == [None, "anna-maria"]
    assert b"a plain text" not in disk(path)
    assert b"anna-maria" not in disk(path)
    store.close()
    assert b"a plain text" not in disk(path)


def test_a_destroyed_key_leaves_nothing_to_read(path):
    store = sealed(path, MASTER)
    add(store, "anna", "bert")
    with store.write() as ledger:
        assert ledger.persons.keys.drop(ledger.persons.keys.pseudonym("anna"))
    with store.read() as ledger:
        bert, anna = ledger.records.latest("demand")
    assert (bert.subject, bert.features) == ("bert", {"note": "a plain text"})
    assert (anna.subject, anna.features) == (None, {})
    add(store, "anna", first=9)
    with store.read() as ledger:
        assert ledger.records.latest("demand")[0].subject == "anna", "a person may come back, under a new key"
    store.close()


def test_another_master_key_opens_nothing_until_keys_are_wrapped_anew(path):
    store = sealed(path, MASTER)
    add(store, "anna")
    store.close()
    stranger = sealed(path, OTHER)
    with pytest.raises(Unavailable, match="which is not configured"), stranger.read() as ledger:
        ledger.records.latest("demand")
    stranger.close()
    both = sealed(path, OTHER, MASTER)
    with both.write() as ledger:
        assert ledger.persons.keys.rewrap() == 3
        assert ledger.persons.keys.masters() == {both._writer.get_execution_options()["sealer"].newest}
    both.close()
    alone = sealed(path, OTHER)
    with alone.read() as ledger:
        assert ledger.records.latest("demand")[0].subject == "anna"
    alone.close()


def test_a_sealed_row_opens_in_its_own_place_only(path):
    store = sealed(path, MASTER)
    add(store, "anna", "anna")
    with store._writing() as connection:
        connection.exec_driver_sql("UPDATE predictions SET body = (SELECT body FROM predictions WHERE seq = 1)")
    with pytest.raises(Unavailable, match="changed bytes"), store.read() as ledger:
        ledger.records.latest("demand")
    store.close()


def test_records_from_before_encryption_are_read_and_sealed(path):
    store = SqliteStore(ready(path))
    add(store, "anna", None)
    store.close()
    store = sealed(path, MASTER)
    add(store, "anna", first=5)
    with store.read() as ledger:
        assert ledger.persons.count("anna") == 2, "by name in old rows, by pseudonym in new ones"
    with store.write() as ledger:
        assert ledger.persons.clear_by_model() == {"demand": 2}
        found = ledger.persons.clear(after=0, limit=10)
        assert len(found) == 2
        assert ledger.persons.seal_more([*found, 3], at=1.0) == 2
        assert (ledger.persons.clear(after=0, limit=10), ledger.persons.clear_by_model()) == ([], {})
    assert store.sweep() == ""
    assert b"a plain text" not in disk(path)
    assert b"anna" not in disk(path)
    store.close()


def test_sealed_bytes_are_fresh_bound_and_marked():
    one, two = seal(MASTER, b"data", bound=b"here"), seal(MASTER, b"data", bound=b"here")
    assert one != two
    assert one[:1] == MARK
    assert unseal(MASTER, one, bound=b"here") == b"data"
    for key, data, bound in ((OTHER, one, b"here"), (MASTER, one, b"there"), (MASTER, one[:-1] + b"?", b"here")):
        with pytest.raises(Unavailable):
            unseal(key, data, bound=bound)


def test_without_the_package_encryption_is_refused_in_words(monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *rest, **more)

    sealing._cipher.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadSettings, match=r"pip install modelkeep\[privacy\]"):
        Sealer([MASTER])


def test_the_spool_is_sealed_and_knows_its_key(tmp_path):
    from modelkeep.serving.spool import Spool

    spool = Spool(tmp_path / "s.spool", limit=10_000, sealer=Sealer([MASTER]))
    place = spool.append(b"a plain text")
    assert spool.read(place) == b"a plain text"
    spool.close()
    assert b"plain" not in (tmp_path / "s.spool").read_bytes()
    again = Spool(tmp_path / "s.spool", limit=10_000, sealer=Sealer([OTHER, MASTER]))
    assert [data for _, data in again.frames()] == [b"a plain text"]
    again.close()
    lost = Spool(tmp_path / "s.spool", limit=10_000, sealer=Sealer([OTHER]))
    with pytest.raises(Unavailable, match="not configured"):
        list(lost.frames())
    lost.close()
