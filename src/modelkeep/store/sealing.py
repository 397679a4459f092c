"""Encryption at rest: AES-256-GCM under a key for each person, each of them wrapped by the installation's master key.

``keys`` holds one row a key. Whoever deletes a person's row makes everything sealed under it unreadable, wherever a
copy lies. Without a master key nothing is encrypted, and the table holds only what pseudonyms and receipts need.

Source: NIST SP 800-38D (GCM; a fresh 96-bit nonce for each message), SP 800-57 (data keys wrapped by a key that is
changed by wrapping them anew).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import sqlite

from modelkeep.errors import BadSettings, Unavailable
from modelkeep.nouns import Prediction
from modelkeep.store import rows
from modelkeep.store.tables import CHUNK, keys

MARK = b"\xc1"
"""The first byte of what is sealed: the one that MessagePack never begins with."""
ROWS = "(rows)"
"""The key of what is about nobody in particular."""
SUBJECTS = "(subjects)"
"""The key that makes pseudonyms."""
DATASETS = "(datasets)"
"""The key that seals the datasets of workloads."""
RECEIPTS = "(receipts)"
"""The key that signs receipts."""
SIZE = 32
"""Bytes of a key."""
_ADDED = sqlite.insert(keys).on_conflict_do_nothing(index_elements=[keys.c.name])
_NONCE = 12
_HEAD = 5
_BODY = len(rows.ASKED)
NUMBER = _BODY + 1
"""Where ``rows.PREDICTIONS`` has the number of a row."""
_NAME = _BODY + 2
_CACHED = 50_000


class Sealed(Struct, frozen=True, kw_only=True):
    """One wrapped key of the table ``keys``: under which master (empty = in the clear), and its bytes."""

    name: str
    master: str
    sealed: bytes


@functools.lru_cache(maxsize=50_000)
def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise BadSettings(
            "encryption at rest needs a package that is not installed", remedy="pip install modelkeep[privacy]"
        ) from None
    return AESGCM(key)


def seal(key: bytes, data: bytes, *, bound: bytes = b"") -> bytes:
    """``data`` encrypted under ``key``; it opens only with the same ``bound`` (what it belongs to)."""
    nonce = secrets.token_bytes(_NONCE)
    found: bytes = MARK + nonce + _cipher(key).encrypt(nonce, data, bound)
    return found


def unseal(key: bytes, data: bytes, *, bound: bytes = b"") -> bytes:
    """The inverse of ``seal``. Raises Unavailable when the key is another, or the bytes were changed."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an optional extra

    try:
        found: bytes = _cipher(key).decrypt(data[1 : 1 + _NONCE], data[1 + _NONCE :], bound)
    except (InvalidTag, ValueError):
        raise Unavailable("what is sealed cannot be opened: another key, or changed bytes") from None
    return found


def fingerprint(master: bytes) -> str:
    """What tells master keys apart and says nothing about them."""
    return hashlib.sha256(b"modelkeep master " + master).hexdigest()[:16]


class Sealer:
    """The master keys of a process, and the data keys that it has unwrapped; any thread may use it.

    ``masters`` are 32 bytes each; the first wraps what is new, the others only open. Without ``encrypts``, or without
    any, nothing new is encrypted.
    """

    def __init__(self, masters: Sequence[bytes] = (), *, encrypts: bool = True) -> None:
        self._masters = {fingerprint(master): master for master in masters}
        self.newest = fingerprint(masters[0]) if masters and encrypts else ""
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        if masters:
            _cipher(masters[0])  # says at once when the package is missing

    @property
    def encrypts(self) -> bool:
        """True when what is kept is encrypted."""
        return bool(self.newest)

    def wrap(self, name: str, key: bytes) -> Sealed:
        """A data key as the table keeps it."""
        if not self.newest:
            return Sealed(name=name, master="", sealed=key)
        return Sealed(
            name=name,
            master=self.newest,
            sealed=seal(self._masters[self.newest], key, bound=name.encode()),
        )

    def unwrap(self, kept: Sealed) -> bytes:
        """The inverse of ``wrap``. Raises Unavailable naming the master key that is missing."""
        if not kept.master:
            return kept.sealed
        known = self._known.get(kept.sealed)
        if known is not None:
            return known
        master = self._masters.get(kept.master)
        if master is None:
            raise Unavailable(
                f"the data are sealed under master key {kept.master}, which is not configured",
                remedy="set privacy.key to it, or privacy.previous while keys are rotated",
            )
        key = unseal(master, kept.sealed, bound=kept.name.encode())
        self._known[kept.sealed] = key
        while len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return key

    def frame(self, data: bytes) -> bytes:
        """What lies in a spool: sealed under a key of the master's own, because the store may be away."""
        if not self.newest:
            return data
        return MARK + bytes.fromhex(self.newest) + seal(self._spool(self.newest), data)

    def unframe(self, data: bytes) -> bytes:
        """The inverse of ``frame``; what was spooled before encryption comes back as it is. Raises Unavailable."""
        if data[:1] != MARK or not self._masters:
            return data
        name = data[1:9].hex()
        if name not in self._masters:
            raise Unavailable(f"the spool is sealed under master key {name}, which is not configured")
        return unseal(self._spool(name), data[9:])

    def _spool(self, name: str) -> bytes:
        return hmac.digest(self._masters[name], b"modelkeep spool", "sha256")


PLAIN = Sealer()
"""Encrypts nothing."""


OPTION = "sealer"
"""The execution option of an engine that holds its ``Sealer``, so that every transaction finds it."""


class Keys:
    """The data keys as one transaction sees them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.sealer: Sealer = connection.get_execution_options().get(OPTION, PLAIN)
        self._seen: dict[str, bytes | None] = {}

    def get(self, name: str) -> bytes | None:
        """A data key, or None when there is none (any more). Raises Unavailable."""
        if name not in self._seen:
            self._look([name])
        return self._seen[name]

    def made(self, names: Iterable[str], *, at: float) -> dict[str, bytes]:
        """Data keys, made where there are none yet."""
        wanted = dict.fromkeys(names)
        if all(self._seen.get(name) is not None for name in wanted):
            return {name: self._seen[name] or b"" for name in wanted}
        self._look([name for name in wanted if self._seen.get(name) is None])
        missing = [name for name in wanted if self._seen[name] is None]
        fresh = {name: secrets.token_bytes(SIZE) for name in missing}
        if fresh:
            kept = (self.sealer.wrap(name, key) for name, key in fresh.items())
            rows = [{"name": one.name, "master": one.master, "sealed": one.sealed, "at": at} for one in kept]
            self._connection.execute(_ADDED, rows)
            self._look(missing)  # another process may have been faster
        return {name: key for name in wanted if (key := self._seen[name]) is not None}

    def pseudonym(self, subject: str, *, at: float | None = None) -> str:
        """What stands for a person; empty while this installation has no key for that and ``at`` makes none."""
        key = self.get(SUBJECTS) if at is None else self.made([SUBJECTS], at=at)[SUBJECTS]
        return "" if key is None else pseudonym(key, subject)

    def closed(self, found: Sequence[Prediction], *, at: float | None = None) -> list[tuple[Any, ...]]:
        """The rows of some predictions as they are kept: sealed where this store encrypts, their persons pseudonyms."""
        if not self.sealer.encrypts or not found:
            return rows.prediction_rows(found)
        at = found[0].at if at is None else at
        maker = self.made([SUBJECTS, ROWS], at=at)[SUBJECTS]
        names = {p.subject: pseudonym(maker, p.subject) for p in found if p.subject is not None}
        known = self.made([ROWS, *names.values()], at=at)
        return [_closed(p, name, key=known[name or ROWS]) for p in found for name in [names.get(p.subject or "")]]

    def opened(self, row: Sequence[Any]) -> Sequence[Any]:
        """A row that ``rows.prediction`` can read; empty of what it held when the key that it was sealed under is gone.

        Raises Unavailable when its bytes were changed.
        """
        body = row[_BODY]
        if body is None or body[:1] != MARK:
            return row
        key, plain = self.get(row[_NAME] or ROWS), rows.NOTHING
        if key is not None and body[1:_HEAD] == _mark(key):
            plain = unseal(key, MARK + body[_HEAD:], bound=rows.name(row[0], row[1]).encode())
        return (*row[:_BODY], plain, row[NUMBER], None)

    def all_opened(self, found: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
        """Many of them, with one look at their keys."""
        some = list(found)
        sealed = {row[_NAME] or ROWS for row in some if row[_BODY] is not None and row[_BODY][:1] == MARK}
        self._look([name for name in sealed if name not in self._seen])
        return [self.opened(row) for row in some]

    def shut(self, data: bytes, *, at: float) -> bytes:
        """What is about nobody in particular, as it is kept: sealed where this store encrypts."""
        return seal(self.made([ROWS], at=at)[ROWS], data) if self.sealer.encrypts else data

    def open(self, data: bytes) -> bytes:
        """The inverse of ``shut``. Raises Unavailable when its key is gone."""
        if data[:1] != MARK:
            return data
        key = self.get(ROWS)
        if key is None:
            raise Unavailable("the key of the sealed data is gone", remedy="restore the store from a backup")
        return unseal(key, data)

    def names(self, prefix: str) -> list[str]:
        """The names of keys that begin so."""
        query = select(keys.c.name).where(keys.c.name.startswith(prefix, autoescape=True)).order_by(keys.c.name)
        return list(self._connection.execute(query).scalars())

    def drop(self, name: str) -> bool:
        """Destroy a data key: what is sealed under it can be read by nobody any more. False when there was none."""
        self._seen.pop(name, None)
        return self._connection.execute(delete(keys).where(keys.c.name == name)).rowcount > 0

    def rewrap(self, *, limit: int = 1000) -> int:
        """Wrap up to ``limit`` keys of other masters under the newest; how many were."""
        c, newest = keys.c, self.sealer.newest
        query = select(c.name, c.master, c.sealed).where(c.master != newest).order_by(c.name).limit(limit)
        old = [
            Sealed(name=name, master=master, sealed=sealed) for name, master, sealed in self._connection.execute(query)
        ]
        for one in old:
            new = self.sealer.wrap(one.name, self.sealer.unwrap(one))
            self._connection.execute(
                update(keys).where(c.name == one.name).values(master=new.master, sealed=new.sealed)
            )
        return len(old)

    def masters(self) -> set[str]:
        """The fingerprints of the masters under which keys are wrapped; empty text for those in the clear."""
        return set(self._connection.execute(select(keys.c.master).distinct()).scalars())

    def _look(self, names: Sequence[str]) -> None:
        c = keys.c
        for start in range(0, len(names), CHUNK):
            some = names[start : start + CHUNK]
            found = self._connection.execute(select(c.name, c.master, c.sealed).where(c.name.in_(some))).all()
            kept = {name: Sealed(name=name, master=master, sealed=sealed) for name, master, sealed in found}
            for name in some:
                self._seen[name] = self.sealer.unwrap(kept[name]) if name in kept else None


def _closed(p: Prediction, name: str | None, *, key: bytes) -> tuple[Any, ...]:
    row = rows.prediction_row(p, hidden=True)
    return (*row[:_BODY], MARK + _mark(key) + seal(key, row[_BODY], bound=p.id.encode())[1:], name)


@functools.lru_cache(maxsize=50_000)
def _mark(key: bytes) -> bytes:
    """What tells under which of a person's keys a row is sealed: one that was destroyed, or the one since."""
    return hashlib.sha256(b"modelkeep data " + key).digest()[: _HEAD - 1]


def sealed(row: Sequence[Any]) -> bool:
    """Whether a row, as ``rows.PREDICTIONS`` reads it, is sealed."""
    return bool(row[_BODY][:1] == MARK)


def pseudonym(key: bytes, subject: str) -> str:
    """What stands for a person where the name must not: the same for the same person of this installation.

    >>> pseudonym(b"k" * 32, "user42") == pseudonym(b"k" * 32, "user42"), len(pseudonym(b"k" * 32, "x"))
    (True, 32)
    """
    return hashlib.blake2b(subject.encode(), digest_size=16, key=key).hexdigest()
