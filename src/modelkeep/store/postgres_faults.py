"""Where an error of PostgreSQL becomes one of ours, with its cause in words and never a password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from modelkeep.errors import BadInput, BadSettings, ModelkeepError, StoreUnavailable

_AGAIN = "it is tried again by itself; see what else is at work on the server"
_CAUSES: dict[str, tuple[str, str]] = {
    "53100": ("is full: no space is left on its disk", "free space on the server's disk; nothing needs a restart"),
    "53200": ("is out of memory", "give the server more memory, or ask for less"),
    "53300": ("has no connection left", "raise its max_connections, or lower store.pool_size and store.max_overflow"),
    "55P03": ("is locked: another writer has held it for {busy:g} s", "it works again when that writer is done"),
    "40P01": ("was wanted by two at once, and this one gave way", _AGAIN),
    "40001": ("was changed by another at the same time", _AGAIN),
    "57014": ("took too long and was stopped", _AGAIN),
    "57P01": ("went away: the server was shut down or ended the connection", "bring it back; nothing was lost"),
    "57P02": ("went away: the server stopped after a fault", "bring it back; nothing was lost"),
    "57P03": ("cannot answer yet: the server is starting or stopping", "wait until it is up"),
    "25P03": ("ended a transaction that stood still for too long", _AGAIN),
    "25006": ("may not be written", "a standby, or a reader, cannot write: name the primary server"),
    "28P01": ("refuses the login", "check the user and the password of `store`"),
    "28000": ("refuses the login", "check the user, and what pg_hba.conf allows"),
    "3D000": ("does not exist", "make the database: createdb"),
    "42501": ("does not allow this", "give the user of `store` the rights on the database and its schema"),
    "42P01": ("has no schema, or an older one", "run `modelkeep migrate`"),
    "42703": ("has an older schema", "run `modelkeep migrate`"),
    "58030": ("cannot be read or written", "check the server's disk; its log names the fault"),
    "XX001": ("is damaged", "stop the server and restore the newest backup"),
    "XX002": ("is damaged", "stop the server and restore the newest backup"),
}
_REACH = ("cannot be reached", "start the server, or check host, port and user of `store`; nothing was lost")


@contextmanager
def translated(name: str, *, busy: float, secret: str = "") -> Iterator[None]:
    """Turn whatever psycopg or SQLAlchemy raises in the block into an error of ours that names the cause."""
    try:
        yield
    except PoolTimeout as fault:
        raise StoreUnavailable(
            f"every connection to the store {name} is in use", remedy="raise store.pool_size or store.max_overflow"
        ) from fault
    except (SQLAlchemyError, psycopg.Error) as fault:
        raise explained(name, fault=fault, busy=busy, secret=secret) from None


def explained(name: str, *, fault: Exception, busy: float, secret: str = "") -> ModelkeepError:
    """The error of ours that says what ``fault`` means."""
    found = _explained(name, fault=fault, busy=busy, secret=secret)
    if isinstance(found, StoreUnavailable):
        found.broken = passing(fault)
    return found


def passing(fault: Exception) -> bool:
    """Whether it may be over in a moment: the connection broke, the server restarts."""
    cause = _cause(fault)
    state = str(getattr(cause, "sqlstate", None) or "")
    if state or not isinstance(cause, psycopg.OperationalError):
        return state in {"57P01", "57P02", "57P03"} or state.startswith("08")
    sign = next((sign for sign in _SIGNS if sign in str(cause)), "")
    return not sign or _SIGNS[sign] is _CAUSES["57P03"]


def _cause(fault: Exception) -> BaseException:
    return fault.orig if isinstance(fault, DBAPIError) and fault.orig is not None else fault


def _explained(name: str, *, fault: Exception, busy: float, secret: str) -> ModelkeepError:
    cause = _cause(fault)
    text = " ".join(str(cause).split())
    text = (text.replace(secret, "********") if secret else text)[:500]
    state = str(getattr(cause, "sqlstate", None) or "")
    if isinstance(cause, psycopg.DataError):
        return BadInput(f"PostgreSQL cannot keep this: {text}", remedy="send text without the character NUL")
    if state in _CAUSES:
        words, remedy = _CAUSES[state]
        return StoreUnavailable(f"the store {name} {words.format(busy=busy)}: {text}", remedy=remedy)
    if state.startswith("08") or (not state and isinstance(cause, psycopg.OperationalError)):
        words, remedy = next((found for sign, found in _SIGNS.items() if sign in text), _REACH)
        return StoreUnavailable(f"the store {name} {words}: {text}", remedy=remedy)
    return StoreUnavailable(f"the store {name} failed: {text}", remedy="see the cause; nothing was changed")


_SIGNS: dict[str, tuple[str, str]] = {
    "password authentication failed": _CAUSES["28P01"],
    "no password supplied": _CAUSES["28P01"],
    "no pg_hba.conf entry": _CAUSES["28000"],
    "does not exist": _CAUSES["3D000"],
    "starting up": _CAUSES["57P03"],
    "shutting down": _CAUSES["57P03"],
    "in recovery mode": _CAUSES["57P03"],
    "too many clients": _CAUSES["53300"],
    "remaining connection slots": _CAUSES["53300"],
}
"""A login that fails has no state yet, only words."""


def unusable(text: str, *, key: str) -> BadSettings:
    """What is said of an address that is none; it may hold a password and is not repeated."""
    return BadSettings(
        f"{key} is not an address of PostgreSQL: {text}", remedy="write postgresql://user@host:5432/name"
    )
