"""Counts per model that must be read at once, however many records there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from modelkeep.store.tables import replace_rows, rows_among, tallies

_TALLIES = select(tallies)
_COUNT = (
    "INSERT INTO tallies (model, predictions, labelled, newest) "
    "SELECT model, n, 0, newest FROM unnest(%s::text[], %s::int8[], %s::float8[]) AS fresh (model, n, newest) "
    "ON CONFLICT (model) DO UPDATE SET predictions = tallies.predictions + excluded.predictions, "
    "newest = greatest(tallies.newest, excluded.newest) "
    "RETURNING model, predictions, labelled, newest, tolerance"
)


class Tally(NamedTuple):
    """One model's counts.

    Predictions, those with an outcome, when the newest was asked, and the widest tolerance of the outcomes that were
    told by key (None before the first).
    """

    predictions: int = 0
    labelled: int = 0
    newest: float | None = None
    tolerance: float | None = None


class Tallies:
    """The tallies of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, models: Iterable[str]) -> dict[str, Tally]:
        """The tallies of some models."""
        names = set(models)
        if not names:
            return {}
        found = rows_among(self._connection, _TALLIES, columns=[tallies.c.model], keys=[(name,) for name in names])
        kept = {model: Tally(*rest) for model, *rest in found}
        return {name: kept.get(name, Tally()) for name in names}

    def asked(self, came: Sequence[tuple[Any, ...]]) -> Mapping[str, Tally]:
        """Count new predictions (rows of their table without a number); the tallies of their models."""
        models = {row[4] for row in came}
        if len(models) == 1:
            moments = {model: [row[8] for row in came] for model in models}
        else:
            moments = {model: [] for model in models}
            for row in came:
                moments[row[4]].append(row[8])
        if self._connection.dialect.name == "postgresql":
            return self._counted({model: (len(found), max(found)) for model, found in sorted(moments.items())})
        kept = self.of(moments)
        for model, tally in kept.items():
            newest = max(moments[model])
            at = newest if tally.newest is None else max(tally.newest, newest)
            kept[model] = tally._replace(predictions=tally.predictions + len(moments[model]), newest=at)
        self._keep(kept)
        return kept

    def _counted(self, fresh: Mapping[str, tuple[int, float]]) -> dict[str, Tally]:
        """The same in one walk to the server and back: of each model how many came, and when the newest was asked."""
        numbers, newest = [n for n, _ in fresh.values()], [at for _, at in fresh.values()]
        found = self._connection.exec_driver_sql(_COUNT, ([*fresh], numbers, newest))
        return {model: Tally(*rest) for model, *rest in found}

    def labelled(self, change: Mapping[str, int]) -> None:
        """Count matches that came and went."""
        some = {model: count for model, count in change.items() if count}
        if some:
            kept = self.of(some)
            self._keep({m: t._replace(labelled=t.labelled + some[m]) for m, t in kept.items()})

    def models(self) -> list[str]:
        """Every model that has a tally."""
        return list(self._connection.execute(select(tallies.c.model).order_by(tallies.c.model)).scalars())

    def gone(self, model: str, *, predictions: int, labelled: int) -> None:
        """Count predictions that are no longer kept, with their outcomes."""
        kept = self.of([model])[model]
        fewer = kept._replace(predictions=kept.predictions - predictions, labelled=kept.labelled - labelled)
        self._keep({model: fewer})

    def widen(self, tolerance: Mapping[str, float]) -> None:
        """Remember the widest tolerance of the outcomes told by key."""
        kept = self.of(tolerance)
        wider = {m: t for m, t in kept.items() if t.tolerance is None or t.tolerance < tolerance[m]}
        self._keep({m: t._replace(tolerance=tolerance[m]) for m, t in wider.items()})

    def _keep(self, kept: Mapping[str, Tally]) -> None:
        replace_rows(self._connection, tallies, rows=[(model, *tally) for model, tally in kept.items()])
