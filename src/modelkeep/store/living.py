"""What the drift signals read: a version's error hour by hour, how late outcomes come, and which keys are new."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from sqlalchemy import Connection, func, select

from modelkeep.profile import LIFE, Life
from modelkeep.store.exact import plain
from modelkeep.store.tables import CHUNK, error_sums, matches, predictions

RECENT = 500
LOOKED = 5000
"""So many of the newest predictions are looked at for new keys."""
OLDER = 2000
"""So many before those say whether keys come back at all."""
KNOWN = 100
"""With fewer predictions before nobody can tell what is new."""


class Lives:
    """The reads of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def life(
        self, model: str, version: int, *, roles: Sequence[str], names: Sequence[str], start: float, end: float
    ) -> Life:
        """See ``seams.Records.life``."""
        c = error_sums.c
        query = (
            select(c.hour, c.body)
            .where(c.model == model, c.version == version, c.role.in_(list(roles)), c.hour >= start, c.hour < end)
            .order_by(c.hour)
        )
        every = ("model", *names)
        empty = (0.0,) * len(LIFE)
        hours: list[float] = []
        table: list[list[tuple[float, ...]]] = []
        for hour, body in self._connection.execute(query):
            held = plain(body)
            row = [held.get(name, empty) for name in every]
            if hours and hours[-1] == hour:
                table[-1] = [
                    tuple(a + b for a, b in zip(one, other, strict=True))
                    for one, other in zip(table[-1], row, strict=True)
                ]
            else:
                hours.append(hour)
                table.append(row)
        sums = np.array(table, dtype=float).reshape(len(hours), len(every), len(LIFE))
        return Life(names=every, hours=np.array(hours, dtype=float), sums=sums)

    def first(self, model: str) -> tuple[float, Mapping[str, float]] | None:
        """The model's first hour with an outcome, and how many pairs each answerer has in it."""
        c = error_sums.c
        hour = self._connection.execute(select(func.min(c.hour)).where(c.model == model)).scalar()
        if hour is None:
            return None
        pairs: dict[str, float] = {}
        for (body,) in self._connection.execute(select(c.body).where(c.model == model, c.hour == hour)):
            for name, numbers in plain(body).items():
                pairs[name] = pairs.get(name, 0.0) + numbers[0]
        return hour, pairs

    def lag(self, model: str, *, share: float) -> float:
        """See ``seams.Records.lag``."""
        waits = self._waits(model)
        return max(float(np.quantile(waits, share)), 0.0) if waits else 0.0

    def _waits(self, model: str) -> list[float]:
        """How long the newest outcomes took."""
        c = matches.c
        query = select(c.told, c.at).where(c.model == model).order_by(c.number.desc()).limit(RECENT)
        return [told - at for told, at in self._connection.execute(query)]

    def newcomers(self, model: str, *, start: float) -> tuple[dict[str, float], int, int]:
        """See ``seams.Records.newcomers``."""
        c = predictions.c
        query = select(c.key, c.at, c.target, c.number).where(c.model == model, c.role != "shadow")
        rows = self._connection.execute(query.order_by(c.number.desc()).limit(LOOKED)).all()
        recent = [row for row in rows if row.at >= start and row.key]
        if not recent:
            return {}, 0, 0
        before = query.where(c.number < min(row.number for row in recent)).order_by(c.number.desc()).limit(OLDER)
        older = [row.key for row in self._connection.execute(before)]
        if len(older) < KNOWN or 2 * len(set(older)) > len(older):
            return {}, 0, 0  # too early to tell, or a key is the name of one question and never comes back
        keys = {row.key for row in recent} - set(older)
        oldest = min(row.target for row in recent)
        fresh = {key: target for key, target in self.first_targets(model, keys).items() if target >= oldest}
        return fresh, len({row.key for row in recent}), sum(row.key in fresh for row in recent)

    def first_targets(self, model: str, keys: Iterable[str]) -> dict[str, float]:
        """See ``seams.Records.first_targets``."""
        c, found = predictions.c, dict[str, float]()
        wanted = list(keys)
        for start in range(0, len(wanted), CHUNK):
            some = wanted[start : start + CHUNK]
            query = select(c.key, func.min(c.target)).where(c.model == model, c.key.in_(some)).group_by(c.key)
            found |= {row.key: row[1] for row in self._connection.execute(query)}
        return found
