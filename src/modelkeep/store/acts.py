"""The shelf of the audit chain. A changed, removed or inserted entry breaks every digest after it."""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import Raw
from msgspec.structs import replace
from sqlalchemy import Connection, insert, select

from modelkeep.nouns import Act
from modelkeep.store.readings import about
from modelkeep.store.tables import acts


class SqlActs:
    """``seams.Acts`` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(
        self,
        *,
        who: str,
        what: str,
        subject: str,
        why: str,
        at: float,
        before: Raw = Raw(b"null"),  # noqa: B008 - immutable
        after: Raw = Raw(b"null"),  # noqa: B008 - immutable
    ) -> Act:
        """See ``seams.Acts.append``."""
        c = acts.c
        last = self._connection.execute(select(c.number, c.digest).order_by(c.number.desc()).limit(1)).first()
        number, previous = (1, "") if last is None else (last.number + 1, last.digest)
        act = Act(
            number=number,
            who=who,
            what=what,
            subject=subject,
            why=why,
            at=at,
            before=before,
            after=after,
            previous=previous,
        )
        body = msgspec.json.encode(act).decode()
        digest = _digest(previous, body=body)
        self._connection.execute(insert(acts).values(number=number, subject=subject, digest=digest, body=body))
        return replace(act, digest=digest)

    def all(self, *, subject: str | None = None, limit: int = 200) -> list[Act]:
        """See ``seams.Acts.all``."""
        c = acts.c
        query = select(c.digest, c.body).order_by(c.number.desc()).limit(limit)
        if subject is not None:
            query = query.where(about(c.subject, subject))
        found = self._connection.execute(query)
        return [replace(msgspec.json.decode(body, type=Act), digest=digest) for digest, body in found]

    def verify(self) -> int | None:
        """See ``seams.Acts.verify``."""
        previous, expected = "", 1
        for number, subject, digest, body in self._connection.execute(select(acts).order_by(acts.c.number)):
            if number != expected or digest != _digest(previous, body=body):
                return expected
            act = msgspec.json.decode(body, type=Act)
            if (act.number, act.subject, act.previous) != (number, subject, previous):
                return expected
            previous, expected = digest, expected + 1
        return None


def _digest(previous: str, *, body: str) -> str:
    return hashlib.sha256(f"{previous}\n{body}".encode()).hexdigest()
