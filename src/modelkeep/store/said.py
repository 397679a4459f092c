"""The shelf of what people say of predictions: feedback, and that somebody has reviewed them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete, func, select

from modelkeep.opinions import Feedback, Review
from modelkeep.store import rows
from modelkeep.store.seams import Records
from modelkeep.store.tables import feedback, insert_rows, reviews, rows_among

_FEEDBACK = select(feedback)
_REVIEWS = select(reviews)
_PAIRS = select(reviews.c.writer, reviews.c.seq)


class SqlSaid:
    """``seams.Said`` over one connection."""

    def __init__(self, connection: Connection, records: Records) -> None:
        self._connection, self._records = connection, records

    # ------------------------------------------------------------------------------------------- feedback

    def add_feedback(self, told: Sequence[Feedback]) -> list[bool]:
        """See ``seams.Said.add_feedback``."""
        known = {row.id for row in rows_among(self._connection, _FEEDBACK, columns=[feedback.c.id], keys=_ids(told))}
        fresh, answers = dict[str, Feedback](), []
        for one in told:
            answers.append(one.id not in known and one.id not in fresh)
            if answers[-1]:
                fresh[one.id] = one
        pairs = {one.id: rows.known_ids(one.prediction, field="prediction_id") for one in fresh.values()}
        about = self._records.whereabouts(one.prediction for one in fresh.values())
        models = {f.id: about[f.prediction].model if f.prediction in about else f.model for f in fresh.values()}
        kept = [(f.id, *pairs[f.id], models[f.id], f.rating, f.at, f.comment, f.by) for f in fresh.values()]
        insert_rows(self._connection, feedback, rows=kept)
        return answers

    def feedback_of(self, prediction: str) -> list[Feedback]:
        """See ``seams.Said.feedback_of``."""
        found = rows.ids(prediction)
        if found is None:
            return []
        c = feedback.c
        query = _FEEDBACK.where(c.writer == found[0], c.seq == found[1]).order_by(c.at, c.id)
        return [_feedback(row) for row in self._connection.execute(query)]

    def ratings(self, model: str | None, *, start: float, end: float) -> dict[int, int]:
        """See ``seams.Said.ratings``."""
        c = feedback.c
        query = select(c.rating, func.count()).where(c.at >= start, c.at < end).group_by(c.rating).order_by(c.rating)
        if model is not None:
            query = query.where(c.model == model)
        return {row[0]: row[1] for row in self._connection.execute(query)}

    def worst(self, model: str | None, *, start: float, end: float, limit: int = 10) -> list[Feedback]:
        """See ``seams.Said.worst``."""
        c = feedback.c
        query = _FEEDBACK.where(c.at >= start, c.at < end).order_by(c.rating, c.at.desc(), c.id).limit(limit)
        if model is not None:
            query = query.where(c.model == model)
        return [_feedback(row) for row in self._connection.execute(query)]

    # -------------------------------------------------------------------------------------------- reviews

    def add_reviews(self, seen: Sequence[Review]) -> None:
        """See ``seams.Said.add_reviews``."""
        kept = [(*rows.known_ids(r.prediction, field="prediction_id"), r.model, r.by, r.at, r.note) for r in seen]
        insert_rows(self._connection, reviews, rows=kept)

    def reviews_of(self, prediction: str) -> list[Review]:
        """See ``seams.Said.reviews_of``."""
        found = rows.ids(prediction)
        if found is None:
            return []
        c = reviews.c
        query = _REVIEWS.where(c.writer == found[0], c.seq == found[1]).order_by(c.number)
        return [_review(row) for row in self._connection.execute(query)]

    def reviewed(self, predictions: Iterable[str]) -> set[str]:
        """See ``seams.Said.reviewed``."""
        c = reviews.c
        pairs = [pair for pair in map(rows.ids, predictions) if pair is not None]
        found = rows_among(self._connection, _PAIRS, columns=[c.writer, c.seq], keys=pairs)
        return {rows.name(row[0], row[1]) for row in found}

    def forget(self, predictions: Iterable[str]) -> tuple[int, int]:
        """See ``seams.Said.forget``."""
        pairs = [pair for pair in map(rows.ids, predictions) if pair is not None]
        return self._gone(feedback, pairs), self._gone(reviews, pairs)

    def _gone(self, table: Table, pairs: Iterable[tuple[int, int]]) -> int:
        c = table.c
        return sum(
            self._connection.execute(delete(table).where(c.writer == writer, c.seq == seq)).rowcount
            for writer, seq in pairs
        )


def _ids(told: Sequence[Feedback]) -> list[tuple[Any, ...]]:
    return [(one.id,) for one in told]


def _feedback(row: Any) -> Feedback:
    return Feedback(
        id=row.id,
        prediction=rows.name(row.writer, row.seq),
        model=row.model,
        rating=row.rating,
        at=row.at,
        comment=row.comment,
        by=row.by,
    )


def _review(row: Any) -> Review:
    return Review(prediction=rows.name(row.writer, row.seq), model=row.model, by=row.by, at=row.at, note=row.note)
