"""Whose turn it is to write on PostgreSQL, where many processes write one store.

The shelves read what is there and write what follows from it (the next number, an hour's sums, whom an outcome meets),
so nobody else may change the same things in between. SQLite has one writer; here advisory locks of the transaction say
who waits for whom. They are always taken in this order, so that no two can wait for each other:

1. ``WORK``: versions, policies, rollouts, readings, alerts, jobs, acts, people.
2. ``RECORDS``: predictions, outcomes, matches and their sums. Whoever tells outcomes has it alone, since an outcome may
   meet any prediction; those who only add predictions share it.
3. One lock for each writer of the predictions that are added: what is sent twice is not looked for while it comes in.
4. One lock for each model of theirs, taken when the rows are sent already: what is counted and summed over a model has
   one writer at a time.

So the rows of one model come in side by side, and a higher number may be visible before a lower one. Whoever goes by
numbers would then pass over the lower one for ever. Therefore each adder notes, before it draws a number, the last one
that was drawn (a shared lock has both in its name: the note goes with the transaction, however that ends), and readers
go no further than the lowest note. They look before they take their snapshot: what is added later has higher numbers
than any that was drawn by then, so the look stays true for the whole of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

from sqlalchemy import Connection

Scope = Literal["everything", "work", "records", "predictions"]
"""What a writing transaction writes: nobody else writes that while it lasts, whatever the process.

``everything`` is always right. ``work`` is everything but records; ``records`` are predictions, outcomes and what is
summed over them; ``predictions`` only adds predictions (once in a transaction), which others may do beside it for other
models.
"""
_FAMILY = 0x6D6B  # "mk": the first half of every lock's name, so that other programs' locks are others
_WORK, _RECORDS, MIGRATION, PARTS = 1, 2, 3, 4
_MOST = 24
"""A group of more models and writers has the records alone: the server has room for so many locks."""
LAST = 2**63 - 1
"""Beyond every number."""
_BITS = 43
"""A note's name: so many bits of a number below 20 of its model's name. Models that share them only wait longer."""
_DRAWN = "(SELECT last_value - (NOT is_called)::int FROM predictions_number_seq)"
_LOOK = (
    f"SELECT {_DRAWN}, ARRAY(SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' "
    "AND objsubid = 1 AND mode = 'ShareLock' AND granted AND pid <> pg_backend_pid() "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)
"""The number drawn last, and then the notes: in this order nobody slips between the two."""
CHANNEL = "modelkeep_rollouts"
_SCOPE, _SEEN = "modelkeep scope", "modelkeep numbers"
_LIMIT = "set_config('idle_in_transaction_session_timeout', '30s', true)"
"""A process that stands still in a transaction (frozen, its machine gone) would keep everybody waiting."""


def begin(connection: Connection, scope: Scope) -> None:
    """Wait for the turn to write what ``scope`` names; it ends with the transaction."""
    connection.info[_SCOPE] = scope
    connection.info.pop(_SEEN, None)
    if scope == "predictions":
        return  # the turn is waited for when it is known what is added, and all else is done
    names = {"everything": (_WORK, _RECORDS), "work": (_WORK,), "records": (_RECORDS,)}[scope]
    locks = "".join(f", pg_advisory_xact_lock({_FAMILY}, {name})" for name in names)
    connection.exec_driver_sql(f"SELECT {_LIMIT}{locks}")


def alone(connection: Connection, name: int) -> None:
    """Wait for a lock of its own: ``MIGRATION`` or ``PARTS``."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_FAMILY}, {name})")


def records(connection: Connection) -> None:
    """Wait to have all records alone, also where only predictions are added; nothing to wait for on SQLite.

    To be called before ``adding``: whoever shares the records cannot have them alone.
    """
    if connection.dialect.name == "postgresql":
        alone(connection, _RECORDS)


def adding(connection: Connection, *, models: Iterable[str], writers: Iterable[int]) -> None:
    """Begin to add predictions; nothing to wait for on SQLite, or where the transaction has the records already."""
    if not _sharing(connection):
        return
    names, noted = sorted({_named(f"writer {w}") for w in writers}), sorted({_short(model) for model in models})
    if len(names) + len(noted) > _MOST:
        connection.info[_SCOPE] = "records"
        connection.exec_driver_sql(f"SELECT {_LIMIT}, pg_advisory_xact_lock({_FAMILY}, {_RECORDS})")
        return
    locks = "".join(f", pg_advisory_xact_lock({name})" for name in names)
    notes = "".join(f", pg_advisory_xact_lock_shared({short << _BITS} | {_DRAWN})" for short in noted)
    shared = f"pg_advisory_xact_lock_shared({_FAMILY}, {_RECORDS})"
    connection.exec_driver_sql(f"SELECT {_LIMIT}, {shared}{locks}{notes}")


def counting(connection: Connection, *, models: Iterable[str]) -> None:
    """Wait for the turn to count what was added of some models."""
    if _sharing(connection):
        names = sorted(_named(f"model {model}") for model in models)
        connection.exec_driver_sql("SELECT " + ", ".join(f"pg_advisory_xact_lock({name})" for name in names))


def look(driver: Any) -> dict[int | None, int]:
    """How far numbers are in order, by the short names of models, and for all others by None."""
    ((drawn, notes),) = driver.execute(_LOOK).fetchall()
    found: dict[int | None, int] = {None: drawn}
    for note in notes:
        short, number = divmod(note, 1 << _BITS)
        found[short] = min(number, found.get(short, drawn))
    return found


def settled(connection: Connection, model: str) -> int:
    """The number up to which every prediction of a model that will ever be is visible: who goes by numbers stops there.

    ``LAST`` where nobody adds meanwhile.
    """
    if connection.dialect.name != "postgresql" or connection.info.get(_SCOPE) in {"everything", "records"}:
        return LAST
    seen = connection.info.get(_SEEN)
    if seen is None:  # each statement of a writer has a snapshot of its own
        seen = look(connection.connection.driver_connection)
    return seen.get(_short(model), seen[None])


def looked(connection: Connection) -> None:
    """Look how far numbers are in order, for the transaction that begins next on a connection and only reads."""
    driver: Any = connection.connection.driver_connection
    driver.autocommit = True
    try:
        connection.info[_SEEN] = look(driver)
    finally:
        if not driver.closed:
            driver.autocommit = False
    connection.info[_SCOPE] = None


def tell(connection: Connection) -> None:
    """Tell every process, once this transaction is kept, that something is to be looked at: see ``seams.Store.hear``.

    A rollout, what people said on being recorded, whether anything is collected.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}")


def _sharing(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql" and connection.info.get(_SCOPE) == "predictions"


def _short(model: str) -> int:
    return (_named(f"model {model}") & (1 << 64) - 1) >> 44


def _named(text: str) -> int:
    """A lock's name of 64 bits; two texts with one name only wait for each other."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
