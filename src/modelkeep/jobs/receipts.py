"""Receipts of erasures: what went from which place, signed with a key of the installation.

The signature is HMAC-SHA-256 over the statement's own bytes (RFC 2104): whoever has the store can check it, and nobody
can change a receipt without the key.
"""

from __future__ import annotations

import hmac

from msgspec import Raw, Struct, json

from modelkeep.jobs.persons import Learned
from modelkeep.store.sealing import RECEIPTS
from modelkeep.store.seams import Ledger


class Statement(Struct, frozen=True, kw_only=True):
    """What a receipt says.

    ``person`` is the pseudonym; ``counts`` are rows (or places in a text) by place; ``models`` the versions that were
    trained while rows of the person were there, to be trained anew; ``searched`` how many files were looked through for
    the name afterwards, ``remains`` those that still hold it, and how often.
    """

    id: str
    person: str
    begun: float
    ended: float
    by: str
    counts: dict[str, int]
    models: tuple[Learned, ...]
    searched: int
    remains: dict[str, int]


class Receipt(Struct, frozen=True, kw_only=True):
    """A statement with its signature (hex)."""

    statement: Raw
    signature: str


def signed(ledger: Ledger, statement: Statement) -> Receipt:
    """The receipt of a statement."""
    body = json.encode(statement)
    key = ledger.persons.keys.made([RECEIPTS], at=statement.ended)[RECEIPTS]
    return Receipt(statement=Raw(body), signature=hmac.digest(key, body, "sha256").hex())


def genuine(ledger: Ledger, receipt: Receipt) -> bool:
    """Whether this installation signed a receipt as it is."""
    key = ledger.persons.keys.get(RECEIPTS)
    if key is None:
        return False
    body = json.encode(json.decode(bytes(receipt.statement), type=Statement))
    return hmac.compare_digest(hmac.digest(key, body, "sha256").hex(), receipt.signature)
