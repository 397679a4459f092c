"""Whose turn it is to write on PostgreSQL, where many processes write one store.

The shelves read what is there and write what follows from it (the next number, an hour's sums, whom an outcome meets),
so nobody else may change the same things in between. SQLite has one writer; here advisory locks of the transaction say
who waits for whom. They are always taken in this order, so that no two can wait for each other:

1. ``WORK``: versions, policies, rollouts, readings, alerts, jobs, acts, people.
2. ``RECORDS``: predictions, outcomes, matches and their sums. Whoever tells outcomes has it alone, since an outcome may
   meet any prediction; those who only add predictions share it.
3. One lock for each model and each writer of the predictions that are added, so that the predictions of one model
   become visible in the order of their numbers, while others are added beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

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
CHANNEL = "modelkeep_rollouts"
_SCOPE = "modelkeep scope"
_LIMIT = "set_config('idle_in_transaction_session_timeout', '30s', true)"
"""A process that stands still in a transaction (frozen, its machine gone) would keep everybody waiting."""


def begin(connection: Connection, scope: Scope) -> None:
    """Wait for the turn to write what ``scope`` names; it ends with the transaction."""
    connection.info[_SCOPE] = scope
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
    """Wait for the turn to add predictions; nothing to wait for on SQLite, or where the transaction has it already."""
    if connection.dialect.name != "postgresql" or connection.info.get(_SCOPE) != "predictions":
        return
    names = sorted({*(_named(f"model {model}") for model in models), *(_named(f"writer {w}") for w in writers)})
    shared = f", pg_advisory_xact_lock_shared({_FAMILY}, {_RECORDS})"
    locks = shared + "".join(f", pg_advisory_xact_lock({name})" for name in names)
    if len(names) > _MOST:
        locks = f", pg_advisory_xact_lock({_FAMILY}, {_RECORDS})"
    connection.exec_driver_sql(f"SELECT {_LIMIT}{locks}")


def tell(connection: Connection) -> None:
    """Tell every process, once this transaction is kept, that a rollout has changed: see ``seams.Store.hear``."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}")


def _named(text: str) -> int:
    """A lock's name of 64 bits; two texts with one name only wait for each other."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
