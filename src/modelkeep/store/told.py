"""The rows of outcomes: where each is addressed, its revisions, and which of them counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection, bindparam, func, select, update

from modelkeep.errors import BadInput
from modelkeep.nouns import Outcome, Output
from modelkeep.store import rows
from modelkeep.store.tables import CHUNK, archived, insert_rows, outcomes, tuples_among

Address: TypeAlias = tuple[int, int] | tuple[str, str, float]
"""Where an outcome was told: a prediction's id, or a model, a key and the moment that it is about."""

_REVISIONS = select(outcomes)
_SPAN = _REVISIONS.where(
    outcomes.c.writer == bindparam("x_writer"), outcomes.c.seq.between(bindparam("x_low"), bindparam("x_high"))
)


class Revision(NamedTuple):
    """One row of ``outcomes``: what was told at one address, once.

    ``at`` is when it became known, ``last`` when it was last told again with the same value.
    """

    number: int
    writer: int | None
    seq: int | None
    model: str | None
    key: str
    target: float | None
    tolerance: float
    revision: int
    at: float
    last: float
    value: str
    source: str

    @property
    def address(self) -> Address:
        """Where it was told."""
        if self.writer is not None and self.seq is not None:
            return self.writer, self.seq
        assert self.model is not None  # noqa: S101 - a row has one address or the other
        assert self.target is not None  # noqa: S101 - the same
        return self.model, self.key, self.target

    @property
    def withdrawn(self) -> bool:
        """True when it takes the outcome back."""
        return self.value == "null"

    @property
    def order(self) -> tuple[float, int]:
        """The revision with the largest counts: the one known last, and of two known at once the one told last."""
        return self.last, self.number

    def outcome(self) -> Outcome:
        """The outcome as it was told."""
        by_id = None if self.writer is None or self.seq is None else rows.name(self.writer, self.seq)
        return Outcome(
            value=rows.value_of(self.value),
            at=self.at,
            prediction=by_id,
            model=self.model,
            key=self.key,
            target=self.target,
            source=self.source,
        )


def head(chain: Sequence[Revision]) -> Revision | None:
    """The revision of one address that counts."""
    return max(chain, key=lambda revision: revision.order, default=None)


def address(outcome: Outcome) -> Address:
    """Where an outcome is addressed. Raises BadInput when it is nowhere, or its value is no value."""
    value = outcome.value
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput.of("value", expected="a finite number", got=repr(value))
    if outcome.prediction is not None:
        return rows.known_ids(outcome.prediction, field="prediction")
    if outcome.model is None:
        raise BadInput.of("prediction", expected="a prediction id, or a model with key and target", got="neither")
    if outcome.target is None or not math.isfinite(outcome.target):
        raise BadInput.of("target", expected="the moment that the outcome is about", got=repr(outcome.target))
    return outcome.model, outcome.key, outcome.target


def same(one: str, other: str) -> bool:
    """Whether two values (JSON) are the same: 5 and 5.0 are, 1 and true are not."""
    if one == other:
        return True
    a, b = rows.value_of(one), rows.value_of(other)
    return not _worded(a) and not _worded(b) and a == b


class Outcomes:
    """The outcome rows of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def next_number(self) -> int:
        """The number of the next row; nobody else writes in this transaction."""
        hot, cold = select(func.max(outcomes.c.number)), select(func.max(archived.c.outcome_last))
        return max(self._connection.execute(query).scalar() or 0 for query in (hot, cold)) + 1

    def chains(self, addresses: Iterable[Address]) -> dict[Address, list[Revision]]:
        """Every revision told at each of some addresses, oldest first."""
        c = outcomes.c
        ids = [a for a in addresses if len(a) == 2]
        keys = [a for a in addresses if len(a) == 3]
        found: dict[Address, list[Revision]] = {}
        by_id = tuples_among(self._connection, _REVISIONS, columns=[c.writer, c.seq], keys=ids)
        by_key = tuples_among(self._connection, _REVISIONS, columns=[c.model, c.key, c.target], keys=keys)
        self._gather(found, chain(by_id, by_key))
        return found

    def told_by_id(self, writer: int, *, low: int, high: int) -> dict[Address, list[Revision]]:
        """What was told of the ids ``writer-low`` to ``writer-high``."""
        found: dict[Address, list[Revision]] = {}
        self._gather(found, self._connection.execute(_SPAN, {"x_writer": writer, "x_low": low, "x_high": high}))
        return found

    def told_by_key(self, model: str, *, keys: Iterable[str], low: float, high: float) -> dict[Address, list[Revision]]:
        """What was told of some keys for moments from ``low`` to ``high``."""
        c, found = outcomes.c, dict[Address, list[Revision]]()
        wanted = list(keys)
        for start in range(0, len(wanted), CHUNK):
            some = wanted[start : start + CHUNK]
            query = select(outcomes).where(c.model == model, c.key.in_(some), c.target.between(low, high))
            self._gather(found, self._connection.execute(query))
        return found

    def keep(self, fresh: Sequence[Revision]) -> None:
        """Insert rows."""
        insert_rows(self._connection, outcomes, rows=fresh)

    def confirm(self, again: Mapping[int, float]) -> None:
        """Note that rows were told again with the same value, by number and when."""
        if again:
            query = update(outcomes).where(outcomes.c.number == bindparam("x_number")).values(last=bindparam("x_last"))
            self._connection.execute(query, [{"x_number": n, "x_last": last} for n, last in again.items()])

    @staticmethod
    def _gather(found: dict[Address, list[Revision]], kept: Iterable[Any]) -> None:
        for row in sorted(kept):  # by number, which comes first
            revision = Revision._make(row)
            found.setdefault(revision.address, []).append(revision)


def _worded(value: Output | None) -> bool:
    return value is None or isinstance(value, bool | str)
