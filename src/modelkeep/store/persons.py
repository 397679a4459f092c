"""The shelf of people: their consents, what is recorded of them, who looked at it, and what was erased.

People stand here under pseudonyms (``sealing.pseudonym``); who they are is known to whoever asks, not to these tables.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, delete, func, insert, or_, select, update

from modelkeep.nouns import Outcome, Prediction
from modelkeep.store import rows, tables, traces, turns
from modelkeep.store.people import Access, Consent, Entity, Erased
from modelkeep.store.sealing import MARK, NUMBER, Keys, sealed
from modelkeep.store.tables import (
    CHUNK,
    accesses,
    consents,
    erasures,
    matches,
    outcomes,
    predictions,
    rows_among,
    tuples_among,
)
from modelkeep.store.tallying import Tallies
from modelkeep.store.told import Revision


class SqlPersons:
    """``seams.Persons`` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.keys = Keys(connection)

    # ------------------------------------------------------------------------------------------- consents

    def say(self, subject: str, *, granted: bool, at: float, by: str) -> None:
        """See ``seams.Persons.say``."""
        name = self.keys.pseudonym(subject, at=at)
        self._connection.execute(insert(consents).values(subject=name, granted=int(granted), at=at, by=by))
        turns.tell(self._connection)

    def said(self, subject: str) -> list[Consent]:
        """See ``seams.Persons.said``."""
        name, c = self.keys.pseudonym(subject), consents.c
        query = select(c.granted, c.at, c.by).where(c.subject == name, c.by != ERASED).order_by(c.number)
        return [Consent(granted=bool(granted), at=at, by=by) for granted, at, by in self._connection.execute(query)]

    def granted(self) -> frozenset[str]:
        """See ``seams.Persons.granted``."""
        c = consents.c
        newest = select(func.max(c.number)).group_by(c.subject)
        query = select(c.subject).where(c.number.in_(newest), c.granted == 1)
        return frozenset(self._connection.execute(query).scalars())

    def tally(self) -> tuple[int, int]:
        """See ``seams.Persons.tally``."""
        c = consents.c
        newest = select(func.max(c.number)).group_by(c.subject)
        query = select(c.granted, func.count()).where(c.number.in_(newest), c.by != ERASED).group_by(c.granted)
        found = {bool(granted): n for granted, n in self._connection.execute(query)}
        return found.get(True, 0), found.get(False, 0)

    def revision(self) -> int:
        """See ``seams.Persons.revision``."""
        return self._connection.execute(select(func.max(consents.c.number))).scalar() or 0

    def forget_consents(self, subject: str, *, at: float) -> int:
        """See ``seams.Persons.forget_consents``."""
        name, c = self.keys.pseudonym(subject, at=at), consents.c
        mine = self._connection.execute(select(c.number, c.by).where(c.subject == name)).all()
        # A new row each time: by it every process learns that what it remembers in memory must go.
        self._connection.execute(insert(consents).values(subject=name, granted=0, at=at, by=ERASED))
        self._deleted(consents, [c.number.in_(some) for some in _chunks([row.number for row in mine])])
        turns.tell(self._connection)
        return sum(row.by != ERASED for row in mine)

    def erased(self) -> int:
        """See ``seams.Persons.erased``."""
        return (
            self._connection.execute(select(func.max(consents.c.number)).where(consents.c.by == ERASED)).scalar() or 0
        )

    # -------------------------------------------------------------------------------------------- records

    def count(self, subject: str, entities: Sequence[Entity] = ()) -> int:
        """See ``seams.Persons.count``."""
        query = select(func.count()).select_from(predictions).where(self._of(subject, entities))
        return self._connection.execute(query).scalar() or 0

    def held(
        self, subject: str, entities: Sequence[Entity] = (), *, after: int = 0, limit: int = 1000
    ) -> list[tuple[int, Prediction]]:
        """See ``seams.Persons.held``."""
        c = predictions.c
        query = rows.PREDICTIONS.where(self._of(subject, entities), c.number > after).order_by(c.number).limit(limit)
        return [(row[NUMBER], rows.prediction(row)) for row in self.keys.all_opened(self._connection.execute(query))]

    def newest(self, model: str, *, limit: int) -> list[Prediction]:
        """See ``seams.Persons.newest``."""
        c = predictions.c
        # Among the newest only: where nobody is named, the whole table would be walked to learn it.
        since = (self._connection.execute(select(func.max(c.number)).where(c.model == model)).scalar() or 0) - _RECENT
        query = rows.PREDICTIONS.where(c.model == model, c.number > since, c.subject.is_not(None))
        query = query.order_by(c.number.desc()).limit(limit)
        return [rows.prediction(row) for row in self.keys.all_opened(self._connection.execute(query))]

    def told(self, entities: Sequence[Entity]) -> list[Outcome]:
        """See ``seams.Persons.told``."""
        c, found = outcomes.c, list[Outcome]()
        for model, key in entities:
            query = select(outcomes).where(c.model == model, c.key == key).order_by(c.number)
            found += [Revision._make(row).outcome() for row in self._connection.execute(query)]
        return found

    def own_keys(self, subject: str) -> list[Entity]:
        """See ``seams.Persons.own_keys``."""
        c = predictions.c
        query = select(c.model).distinct().where(c.subject.in_(self._names(subject)), c.key == subject)
        return [(model, subject) for model in self._connection.execute(query).scalars()]

    def models(self, subject: str, entities: Sequence[Entity] = ()) -> list[tuple[str, int, float, float]]:
        """See ``seams.Persons.models``."""
        c = predictions.c
        query = select(c.model, func.count(), func.min(c.at), func.max(c.at))
        query = query.where(self._of(subject, entities)).group_by(c.model).order_by(c.model)
        return [(model, n, first, last) for model, n, first, last in self._connection.execute(query)]

    def erase(self, subject: str, entities: Sequence[Entity] = (), *, limit: int = 2000) -> Erased:
        """See ``seams.Persons.erase``."""
        c = predictions.c
        wanted = (c.number, c.writer, c.seq, c.model, c.key, c.target)
        query = select(*wanted).where(self._of(subject, entities)).order_by(c.number).limit(limit)
        found = self._connection.execute(query).all()
        if not found:
            return self._erase_entities(entities)
        pairs = [(row.writer, row.seq) for row in found]
        self._uncount(found, pairs)
        gone = Erased(
            predictions=self._deleted(
                predictions, [c.number.in_(some) for some in _chunks([row.number for row in found])]
            ),
            matches=self._by_ids(matches, pairs),
            outcomes=self._by_ids(outcomes, pairs),
            feedback=self._by_ids(tables.feedback, pairs),
            reviews=self._by_ids(tables.reviews, pairs),
        )
        alone = self._lonely([(row.model, row.key, row.target) for row in found])
        return gone.plus(Erased(outcomes=alone))

    def _uncount(self, found: Sequence[Any], pairs: Sequence[tuple[int, int]]) -> None:
        """Count predictions that are no longer kept, and those of them that had an outcome."""
        m, tallies = matches.c, Tallies(self._connection)
        labelled = Counter(
            row.model for row in rows_among(self._connection, _LABELLED, columns=[m.writer, m.seq], keys=pairs)
        )
        for model, n in Counter(row.model for row in found).items():
            tallies.gone(model, predictions=n, labelled=labelled[model])

    def _erase_entities(self, entities: Sequence[Entity]) -> Erased:
        """What is told of, and remembered for, keys that are the person."""
        gone = Erased()
        for model, key in entities:
            mine = [and_(table.c.model == model, table.c.key == key) for table in (matches, outcomes, tables.memory)]
            gone = gone.plus(
                Erased(
                    matches=self._deleted(matches, mine[:1]),
                    outcomes=self._deleted(outcomes, mine[1:2]),
                    memory=self._deleted(tables.memory, mine[2:]),
                )
            )
        return gone

    def _lonely(self, places: Iterable[tuple[str, str, float]]) -> int:
        """Take away outcomes told by key whose every prediction is gone: they told of nobody else."""
        p, o, gone = predictions.c, outcomes.c, 0
        for model, key, target in dict.fromkeys(places):
            near = and_(o.model == model, o.key == key, o.target.between(target - o.tolerance, target + o.tolerance))
            for number, at, within in self._connection.execute(
                select(o.number, o.target, o.tolerance).where(near)
            ).all():
                other = select(p.number).where(
                    p.model == model, p.key == key, p.target.between(at - within, at + within)
                )
                if self._connection.execute(other.limit(1)).first() is None:
                    gone += self._deleted(outcomes, [o.number == number])
        return gone

    def _names(self, subject: str) -> list[str]:
        """How the person may stand in a row: by name, or by pseudonym where rows are sealed."""
        name = self.keys.pseudonym(subject)
        return [subject, name] if name else [subject]

    def _of(self, subject: str, entities: Sequence[Entity]) -> Any:
        c = predictions.c
        keyed = [and_(c.model == model, c.key == key) for model, key in entities]
        return or_(c.subject.in_(self._names(subject)), *keyed)

    def _by_ids(self, table: Any, pairs: Sequence[tuple[int, int]]) -> int:
        c = table.c
        found = [or_(*(and_(c.writer == writer, c.seq == seq) for writer, seq in some)) for some in _chunks(pairs, 200)]
        return self._deleted(table, found)

    def _deleted(self, table: Any, conditions: Iterable[Any]) -> int:
        return sum(self._connection.execute(delete(table).where(condition)).rowcount for condition in conditions)

    def blacken(self, needles: Sequence[str]) -> int:
        """See ``seams.Persons.blacken``."""
        gone = 0
        for table in (tables.readings, tables.newest, tables.alerts, tables.jobs):
            body, key = table.c.body, list(table.primary_key.columns)
            for needle in needles:
                query = select(*key, body).where(body.contains(needle, autoescape=True))
                for row in self._connection.execute(query).all():
                    said, n = re.subn(traces.alone(needle), _BLACK, row.body)
                    if n:
                        mine = and_(*(column == value for column, value in zip(key, row, strict=False)))
                        self._connection.execute(update(table).where(mine).values(body=said))
                        gone += n
        return gone

    def seal_more(self, numbers: Sequence[int], *, at: float) -> int:
        """See ``seams.Persons.seal_more``."""
        c = predictions.c
        found = tuples_among(self._connection, rows.PREDICTIONS, columns=[c.number], keys=[(n,) for n in numbers])
        plain = [row for row in found if not sealed(row)]
        if not plain:
            return 0
        closed = self.keys.closed([rows.prediction(row) for row in plain], at=at)
        mine = update(predictions).where(c.number == bindparam("x_number"))
        self._connection.execute(
            mine.values(body=bindparam("x_body"), subject=bindparam("x_subject")),
            [
                {"x_number": row[NUMBER], "x_body": shut[-2], "x_subject": shut[-1]}
                for row, shut in zip(plain, closed, strict=True)
            ],
        )
        return len(plain)

    def clear(self, *, after: int, limit: int) -> list[int]:
        """See ``seams.Persons.clear``."""
        c = predictions.c
        query = select(c.number).where(c.number > after, _CLEAR).order_by(c.number).limit(limit)
        return list(self._connection.execute(query).scalars())

    def clear_by_model(self) -> dict[str, int]:
        """See ``seams.Persons.clear_by_model``."""
        c = predictions.c
        found = self._connection.execute(select(c.model, func.count()).where(_CLEAR).group_by(c.model))
        return {row[0]: row[1] for row in found}

    def clear_summaries(self) -> int:
        """See ``seams.Persons.clear_summaries``."""
        query = select(func.count()).where(func.substr(tables.profiles.c.body, 1, 1) != MARK)
        return self._connection.execute(query).scalar() or 0

    def seal_summaries(self) -> int:
        """See ``seams.Persons.seal_summaries``."""
        table, gone = tables.profiles, 0
        names = list(table.primary_key.columns)
        for row in self._connection.execute(select(*names, table.c.body)).all():
            if row.body[:1] != MARK:
                mine = and_(*(column == value for column, value in zip(names, row, strict=False)))
                body = self.keys.shut(row.body, at=row.hour)
                gone += self._connection.execute(update(table).where(mine).values(body=body)).rowcount
        return gone

    # ----------------------------------------------------------------------------- who looked; what was erased

    def saw(self, access: Access) -> None:
        """See ``seams.Persons.saw``."""
        row = {name: getattr(access, name) for name in ("at", "who", "act", "subject", "records", "detail")}
        self._connection.execute(insert(accesses).values(**row))

    def accesses(self, subject: str = "", *, since: float = 0.0, limit: int = 200) -> list[Access]:
        """See ``seams.Persons.accesses``."""
        c = accesses.c
        query: Select[Any] = select(c.at, c.who, c.act, c.subject, c.records, c.detail).where(c.at >= since)
        if subject:
            query = query.where(c.subject == self.keys.pseudonym(subject))
        found = self._connection.execute(query.order_by(c.number.desc()).limit(limit))
        return [Access(**row._mapping) for row in found]  # noqa: SLF001 - SQLAlchemy's own name for a row as a mapping

    def first_access(self) -> float | None:
        """See ``seams.Persons.first_access``."""
        return self._connection.execute(select(func.min(accesses.c.at))).scalar()

    def purge_accesses(self, before: float) -> int:
        """See ``seams.Persons.purge_accesses``."""
        return self._deleted(accesses, [accesses.c.at < before])

    def keep_receipt(self, id: str, *, subject: str, at: float, receipt: str) -> None:
        """See ``seams.Persons.keep_receipt``."""
        if self._connection.execute(select(erasures.c.id).where(erasures.c.id == id)).first() is None:
            self._connection.execute(insert(erasures).values(id=id, subject=subject, at=at, receipt=receipt))

    def complete(self, id: str, *, receipt: str) -> None:
        """See ``seams.Persons.complete``."""
        self._connection.execute(update(erasures).where(erasures.c.id == id).values(receipt=receipt))

    def receipt(self, id: str) -> str | None:
        """See ``seams.Persons.receipt``."""
        return self._connection.execute(select(erasures.c.receipt).where(erasures.c.id == id)).scalar()

    def receipts(self, *, limit: int = 200) -> list[tuple[str, str]]:
        """See ``seams.Persons.receipts``."""
        c = erasures.c
        query = select(c.id, c.receipt).order_by(c.at.desc()).limit(limit)
        return [(row.id, row.receipt) for row in self._connection.execute(query)]


_RECENT = 200_000
_CLEAR = func.substr(predictions.c.body, 1, 1) != MARK
_LABELLED = select(matches.c.model)
ERASED = "erased"
"""Who withdrew the consent of a person that was erased."""


_BLACK = "(erased)"


def _chunks(values: Sequence[Any], size: int = CHUNK) -> Iterable[Sequence[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))
