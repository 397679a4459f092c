"""How much is kept: rows, bytes, fields, and the oldest of them."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from modelkeep.store import rows
from modelkeep.store.sealing import Keys
from modelkeep.store.seams import Extent
from modelkeep.store.tables import predictions, tallies

EXACT = 100_000
"""Up to so many rows every byte is counted; of more, the newest so many say how large a row is."""
LOOKED = 1000
"""So many of the newest predictions of each model tell which fields are recorded."""
BESIDE = 60
"""Bytes of the numbers and texts of a row that are not in its body, about."""


def extent(connection: Connection) -> Extent:
    """See ``seams.Records.extent``."""
    c = predictions.c
    models = connection.execute(select(tallies.c.model).where(tallies.c.predictions > 0)).scalars().all()
    stored = sum(connection.execute(select(func.count()).where(c.model == model)).scalar() or 0 for model in models)
    newest = select(c.body, c.key, c.output).order_by(c.number.desc()).limit(EXACT).subquery()
    size = func.coalesce(func.length(newest.c.body), 0) + func.length(newest.c.key) + func.length(newest.c.output)
    n, taken = connection.execute(select(func.count(), func.coalesce(func.sum(size), 0)).select_from(newest)).one()
    weight = int(taken) + BESIDE * n
    oldest = [connection.execute(select(func.min(c.at)).where(c.model == model)).scalar() for model in models]
    fields: set[str] = set()
    keys = Keys(connection)
    for model in models:
        query = rows.PREDICTIONS.where(c.model == model).order_by(c.number.desc()).limit(LOOKED)
        for row in keys.all_opened(connection.execute(query)):
            fields |= rows.prediction(row).features.keys()
    return Extent(
        stored=stored,
        size=weight if stored <= n else round(weight / max(n, 1) * stored),
        exact=stored <= n,
        fields=tuple(sorted(fields)),
        oldest=min((at for at in oldest if at is not None), default=None),
    )
