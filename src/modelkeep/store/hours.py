"""What is kept by the hour: profiles, and the exact error sums of the predictions whose outcome is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, Table, and_, bindparam, delete, select

from modelkeep import profile as profiles_of
from modelkeep.nouns import Output
from modelkeep.profile import REFERENCES, Profile, Slice
from modelkeep.quantities import HOUR
from modelkeep.store.exact import Exact, pack, unpack
from modelkeep.store.folding import Folded
from modelkeep.store.rows import UNKNOWN, Asked, all_refs, unpack_refs, value_of, values_of
from modelkeep.store.sealing import Keys
from modelkeep.store.tables import error_sums, profiles, replace_rows, rows_among, upsert

_Place = tuple[str, int, str, float]
_NAMES = {len(names): names for names in REFERENCES.values()} | {3: REFERENCES["number"][:3]}
"""The baselines' names by how many answers a prediction holds; before there was ``seasonal`` it held three numbers."""


_PROFILES = select(*profiles.columns)


class Shift(NamedTuple):
    """A prediction whose outcome changed: from ``old`` to ``new``, each JSON or None for none."""

    asked: Asked
    old: str | None
    new: str | None


class Hours:
    """The hourly rows of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._keys = Keys(connection)

    def fold(self, folded: Sequence[Folded]) -> None:
        """Add profiles to the hours that they are of."""
        waiting: dict[_Place, Profile] = {}
        for one in folded:
            place = (one.model, one.version, one.role, hour_of(one.hour))
            waiting[place] = waiting[place] + one.profile if place in waiting else one.profile
        c = profiles.c
        found = rows_among(self._connection, _PROFILES, columns=[c.model, c.version, c.role, c.hour], keys=waiting)
        for *at, body in found:
            place = (at[0], at[1], at[2], at[3])
            waiting[place] = profiles_of.decode(self._keys.open(body)) + waiting[place]
        rows = [(*place, self._keys.shut(profiles_of.encode(whole), at=place[3])) for place, whole in waiting.items()]
        replace_rows(self._connection, profiles, rows=rows)

    def shift(self, shifts: Iterable[Shift]) -> None:
        """Correct the error sums for outcomes that came, changed or went."""
        hours: dict[_Place, dict[str, Exact]] = {}
        for asked, old, new in shifts:
            place = (asked.model, asked.version, asked.role, hour_of(asked.at))
            sums = hours.get(place)
            if sums is None:
                sums = hours[place] = self._sums(place)
            for answer_name, answer in answers(asked):
                exact = sums.setdefault(answer_name, Exact())
                for text, sign in ((old, -1), (new, 1)):
                    truth = None if text is None else value_of(text)
                    if truth is not None:
                        exact.pair(answer, truth, sign=sign)
        self._keep(hours)

    def _sums(self, place: _Place) -> dict[str, Exact]:
        kept = self._connection.execute(select(error_sums.c.body).where(_at(error_sums, place))).scalar()
        return {} if kept is None else unpack(kept)

    def _keep(self, hours: dict[_Place, dict[str, Exact]]) -> None:
        full, bare = [], []
        for place, sums in hours.items():
            some = {name: exact for name, exact in sums.items() if exact.n}
            if some:
                full.append({**_named(place), "body": pack(some)})
            else:
                bare.append({f"x_{name}": value for name, value in _named(place).items()})
        if full:
            self._connection.execute(upsert(error_sums), full)
        if bare:
            keys = (error_sums.c[name] == bindparam(f"x_{name}") for name in ("model", "version", "role", "hour"))
            self._connection.execute(delete(error_sums).where(*keys), bare)

    def slices(self, model: str, *, version: int, role: str, start: float, end: float) -> list[Slice]:
        """Hourly profiles with their error sums, in time order."""
        kept = self._connection.execute(_between(profiles, model, version=version, role=role, start=start, end=end))
        found: dict[float, Profile] = {row.hour: profiles_of.decode(self._keys.open(row.body)) for row in kept}
        errors = self._connection.execute(_between(error_sums, model, version=version, role=role, start=start, end=end))
        for row in errors:
            sums = {name: exact.sums() for name, exact in unpack(row.body).items()}
            base = found.get(row.hour) or profiles_of.empty()
            found[row.hour] = Profile(
                n=base.n,
                failures=base.failures,
                latency=base.latency,
                columns=base.columns,
                errors=sums,
                edges=base.edges,
            )
        return [Slice(start=hour, profile=found[hour]) for hour in sorted(found)]

    def used(self, since: float) -> dict[str, int]:
        """How many predictions of each model the hours from ``since`` on hold."""
        found: dict[str, int] = {}
        rows = self._connection.execute(
            select(profiles.c.model, profiles.c.body).where(profiles.c.hour >= hour_of(since))
        )
        for model, body in rows:
            found[model] = found.get(model, 0) + int(profiles_of.size(self._keys.open(body)))
        return found

    def arms(self, model: str, *, start: float, end: float) -> list[tuple[int, str]]:
        """The (version, role) pairs with a profile in those hours."""
        c = profiles.c
        query = select(c.version, c.role).distinct().where(c.model == model, c.hour >= hour_of(start), c.hour < end)
        return sorted((row.version, row.role) for row in self._connection.execute(query))


def of_rows(rows: Iterable[Sequence[Any]]) -> dict[str, Exact]:
    """The exact sums of rows that begin with output, value and references.

    Each column is decoded in one go: row by row takes five times as long.
    """
    some = [row for row in rows if row[0] != UNKNOWN and row[1] != UNKNOWN]
    found: dict[str, Exact] = {}
    if not some:
        return found
    truths = values_of([row[1] for row in some])
    _add(found, "model", answers=values_of([row[0] for row in some]), truths=truths)
    told = [(row[2], truth) for row, truth in zip(some, truths, strict=True) if row[2]]
    pairs = list(zip(all_refs([refs for refs, _ in told]), (truth for _, truth in told), strict=True))
    for length in {len(refs) for refs, _ in pairs}:
        mine = [pair for pair in pairs if len(pair[0]) == length]
        beside = [truth for _, truth in mine]
        for name, said in zip(_NAMES.get(length, ()), zip(*(refs for refs, _ in mine), strict=True), strict=False):
            _add(found, name, answers=said, truths=beside)
    return found


def _add(found: dict[str, Exact], name: str, *, answers: Sequence[Output | None], truths: Sequence[Output]) -> None:
    """Add the pairs of one answerer, without those in which it knew nothing."""
    exact = Exact()
    if {*map(type, answers), *map(type, truths)} <= {float, int}:
        said, true = np.array(answers, dtype=float), np.array(truths, dtype=float)
        unknown = np.isnan(said)
        exact.numbers(*((said[~unknown], true[~unknown]) if unknown.any() else (said, true)))
    else:
        numbers: list[tuple[float, float]] = []
        for answer, truth in zip(answers, truths, strict=True):
            if answer is None or _nan(answer):
                continue
            if isinstance(answer, bool | str) or isinstance(truth, bool | str):
                exact.pair(answer, truth)
            else:
                numbers.append((float(answer), float(truth)))
        if numbers:
            exact.numbers(*np.array(numbers).T)
    if exact.n:
        found.setdefault(name, Exact()).merge(exact)


def answers(asked: Asked) -> list[tuple[str, Output]]:
    """Who answered what for one prediction: the model, and each automatic baseline that knew something."""
    return named_answers(asked.output, asked.refs)


def named_answers(output: str, refs: bytes | None) -> list[tuple[str, Output]]:
    """``answers`` from the two columns. Empty for a prediction that failed."""
    answer = value_of(output)
    if answer is None:
        return []
    references = unpack_refs(refs)
    names = _NAMES.get(len(references), ())
    known = ((name, said) for name, said in zip(names, references, strict=False) if said is not None)
    return [("model", answer), *((name, said) for name, said in known if not _nan(said))]


def _nan(value: Output) -> bool:
    return isinstance(value, float) and math.isnan(value)


def hour_of(at: float) -> float:
    """The moment on the hour at or before ``at``."""
    return math.floor(at / HOUR) * HOUR


def _named(place: _Place) -> dict[str, str | int | float]:
    return dict(zip(("model", "version", "role", "hour"), place, strict=True))


def _at(table: Table, place: _Place) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in _named(place).items()))


def _between(
    table: Table, model: str, *, version: int, role: str, start: float, end: float
) -> Select[tuple[float, bytes]]:
    c = table.c
    mine = (c.model == model, c.version == version, c.role == role)
    return select(c.hour, c.body).where(*mine, c.hour >= start, c.hour < end)
