"""How outcomes meet predictions, whichever comes first, and in whatever order they are told.

The rule depends on what was told, not on the order in which it came. An outcome is told at an *address*: a prediction's
id, which stands for that prediction and its shadows, or a model, a key and a moment, which stand for the predictions of
that key whose target is nearest to the moment (the earlier of two that are equally near), within the tolerance. Of the
revisions told at one address the one known last counts. Of the addresses that stand for one prediction, again the one
known last counts that is not withdrawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, and_, bindparam, delete, func, select, update

from modelkeep.nouns import Outcome, Prediction
from modelkeep.store import rows
from modelkeep.store.hours import Hours, Shift
from modelkeep.store.rows import ASKED, Asked
from modelkeep.store.sealing import Keys
from modelkeep.store.seams import Told, ToldState
from modelkeep.store.tables import insert_rows, matches, outcomes, predictions, rows_among
from modelkeep.store.tallying import Tallies, Tally
from modelkeep.store.told import Address, Outcomes, Revision, address, head, same

_Id = tuple[int, int]
_ASKED = select(*ASKED)
_IDS = select(predictions.c.writer, predictions.c.seq)
_MATCHED = select(
    *(matches.c[name] for name in ("writer", "seq", "outcome", "value", "told", "revision")), outcomes.c.last
).join(outcomes, outcomes.c.number == matches.c.outcome)


class _Joined(NamedTuple):
    """The outcome that a prediction is joined with; ``order`` as in ``Revision``."""

    outcome: int
    value: str
    told: float
    revision: int
    order: tuple[float, int]


def _joined(revision: Revision) -> _Joined:
    return _Joined(revision.number, revision.value, revision.at, revision.revision, revision.order)


class Joining:
    """Keeps ``matches`` true while predictions and outcomes come in, within one transaction."""

    def __init__(self, connection: Connection, *, hours: Hours, tallies: Tallies) -> None:
        self._connection = connection
        self._hours = hours
        self._tallies = tallies
        self._outcomes = Outcomes(connection)

    # ------------------------------------------------------------------------------------ predictions arrive

    def meet(self, fresh: Mapping[_Id, tuple[Any, ...]], *, tallies: Mapping[str, Tally]) -> None:
        """Join new predictions with what was told of them before they came; ``tallies`` of all their models.

        They are rows of their table without a number, by id: mostly nothing was told, and nothing more is made of them.
        """
        chains = self._told_of(fresh, tallies)
        if not chains:
            return
        asked = [Asked._make(row[: len(ASKED)]) for row in fresh.values()]
        by_id, by_of, by_key = _indexed(asked)
        best: dict[_Id, _Joined] = {}
        again: dict[_Id, Asked] = {}
        for place, chain in chains.items():
            top = head(chain)
            if top is None:
                continue
            if len(place) == 2:
                stand = by_id.get(place, []) + by_of.get(place, [])
            else:
                stand = self._nearer(by_key.get(place[:2], []), top=top, chain=chain, again=again)
            for one in stand:
                if not top.withdrawn and (one.id not in best or best[one.id].order < top.order):
                    best[one.id] = _joined(top)
        for one in again.values():
            found = self._standing(one)
            if found is not None:
                best[one.id] = found
        everyone = {**{one.id: one for one in asked}, **again}
        self._apply({pair: everyone[pair] for pair in {*best, *again}}, before=self._matched([*again]), after=best)

    def _told_of(
        self, fresh: Mapping[_Id, tuple[Any, ...]], tallies: Mapping[str, Tally]
    ) -> dict[Address, list[Revision]]:
        found: dict[Address, list[Revision]] = {}
        shadows: list[_Id] = [(row[2], row[3]) for row in fresh.values() if row[2] is not None]
        for pairs in (list(fresh), shadows):
            ours, given = rows.apart_given(pairs)
            for writer, (low, high) in rows.spans(ours).items():
                found |= self._outcomes.told_by_id(writer, low=low, high=high)
            if given:
                found |= self._outcomes.chains(given)
        for model, tally in tallies.items():
            if tally.tolerance is not None:
                mine = [Asked._make(row[: len(ASKED)]) for row in fresh.values() if row[4] == model]
                first, last = min(a.target for a in mine), max(a.target for a in mine)
                found |= self._outcomes.told_by_key(
                    model, keys={a.key for a in mine}, low=first - tally.tolerance, high=last + tally.tolerance
                )
        return found

    def _nearer(
        self, mine: Sequence[Asked], *, top: Revision, chain: Sequence[Revision], again: dict[_Id, Asked]
    ) -> list[Asked]:
        """Which new predictions of a key its outcome stands for; those it no longer stands for go to ``again``."""
        target, within = top.target or 0.0, top.tolerance
        near = [a for a in mine if abs(a.target - target) <= within]
        if not near or not within:
            return near
        nearest = self.nearest(top.model or "", key=top.key, target=target, within=within)
        chosen = [a for a in near if a.target == nearest]
        if chosen:
            p, m = predictions.c, matches.c
            query = (
                select(*ASKED)
                .join(matches, and_(m.writer == p.writer, m.seq == p.seq))
                .where(p.model == top.model, p.key == top.key, p.target.between(target - within, target + within))
                .where(p.target != nearest, m.outcome.in_([r.number for r in chain]))
            )
            again |= {one.id: one for one in self._read(query)}
        return chosen

    # --------------------------------------------------------------------------------------- outcomes arrive

    def tell(self, told: Sequence[Outcome], tolerance: Mapping[str, float]) -> list[Told]:
        """See ``seams.Records.tell``."""
        places = [address(outcome) for outcome in told]
        within: dict[Address, float] = {
            place: float(tolerance.get(place[0], 0.0) if outcome.tolerance is None else outcome.tolerance)
            for outcome, place in zip(told, places, strict=True)
            if len(place) == 3
        }
        chains = self._outcomes.chains(dict.fromkeys(places))
        stand = self._stand(dict.fromkeys(places), within)
        left = self._left(chains, within)
        everyone = {one.id: one for many in stand.values() for one in many} | left
        batch = _Batch(chains, stand, matched=self._matched([*everyone]), first=self._outcomes.next_number())
        batch.again |= {*left}
        answers = [batch.take(o, place=p, within=within.get(p, 0.0)) for o, p in zip(told, places, strict=True)]
        self._outcomes.keep(batch.fresh)
        self._outcomes.confirm(batch.confirmed)
        widest: dict[str, float] = {}
        for place, seconds in within.items():
            widest[str(place[0])] = max(seconds, widest.get(str(place[0]), 0.0))
        self._tallies.widen(widest)
        after = dict(batch.joined)
        for pair in batch.again:
            found = self._standing(everyone[pair])
            after.pop(pair, None)
            if found is not None:
                after[pair] = found
        self._apply(everyone, before=batch.before, after=after)
        return answers

    def _stand(self, places: Iterable[Address], within: Mapping[Address, float]) -> dict[Address, list[Asked]]:
        """The predictions that each address stands for."""
        p = predictions.c
        found: dict[Address, list[Asked]] = {place: [] for place in places}
        pairs = [place for place in found if len(place) == 2]
        exact = [place for place in found if len(place) == 3 and not within[place]]
        for one in self._among([p.writer, p.seq], pairs):
            found[one.id].append(one)
        for one in self._among([p.of_writer, p.of_seq], pairs):
            if one.of is not None:
                found[one.of].append(one)
        for one in self._among([p.model, p.key, p.target], exact):
            found[one.model, one.key, one.target].append(one)
        for place in found:
            if len(place) == 3 and within[place]:
                found[place] = self._nearest_of(place, within=within[place])
        return found

    def _left(self, chains: Mapping[Address, list[Revision]], within: Mapping[Address, float]) -> dict[_Id, Asked]:
        """The predictions of chains whose tolerance differs now: they are looked at anew."""
        found: dict[_Id, Asked] = {}
        for place, chain in chains.items():
            top = head(chain)
            if len(place) == 3 and top is not None and top.tolerance != within[place]:
                found |= {one.id: one for one in self._nearest_of(place, within=top.tolerance)}
        return found

    # ------------------------------------------------------------------------------------- one prediction anew

    def _standing(self, one: Asked) -> _Joined | None:
        """The outcome that counts for a prediction, from everything that was told."""
        tops = (head(chain) for chain in self._chains_of(one).values())
        found = [top for top in tops if top is not None and not top.withdrawn]
        return _joined(max(found, key=lambda top: top.order)) if found else None

    def _chains_of(self, one: Asked) -> dict[Address, list[Revision]]:
        pairs: list[Address] = [one.id] if one.of is None else [one.id, one.of]
        chains = self._outcomes.chains(pairs)
        tolerance = self._tallies.of([one.model])[one.model].tolerance
        if tolerance is None:
            return chains
        low, high = one.target - tolerance, one.target + tolerance
        for place, chain in self._outcomes.told_by_key(one.model, keys=[one.key], low=low, high=high).items():
            top = head(chain)
            if top is not None and one.target == self.nearest(
                one.model, key=one.key, target=top.target or 0.0, within=top.tolerance
            ):
                chains[place] = chain
        return chains

    def revisions(self, id: _Id) -> list[Outcome]:
        """Everything that was told of one prediction, in the order of becoming known."""
        p = predictions.c
        found = list(self._read(select(*ASKED).where(p.writer == id[0], p.seq == id[1])))
        chains = self._chains_of(found[0]) if found else self._outcomes.chains([id])
        every = [revision for chain in chains.values() for revision in chain]
        return [revision.outcome() for revision in sorted(every, key=lambda r: (r.at, r.number))]

    def nearest(self, model: str, *, key: str, target: float, within: float) -> float | None:
        """The target of a key's prediction that is nearest to a moment: the earlier of two that are equally near."""
        c = predictions.c
        mine = (c.model == model, c.key == key)
        before = select(func.max(c.target)).where(*mine, c.target.between(target - within, target))
        after = select(func.min(c.target)).where(*mine, c.target.between(target, target + within))
        found = [self._connection.execute(query).scalar() for query in (before, after)]
        return min((t for t in found if t is not None), key=lambda t: abs(t - target), default=None)

    def _nearest_of(self, place: tuple[str, str, float], *, within: float) -> list[Asked]:
        model, key, target = place
        nearest = self.nearest(model, key=key, target=target, within=within)
        if nearest is None:
            return []
        c = predictions.c
        return list(self._read(select(*ASKED).where(c.model == model, c.key == key, c.target == nearest)))

    # ----------------------------------------------------------------------------------------------- rows

    def _among(self, columns: Sequence[Column[Any]], keys: Sequence[Address]) -> Iterable[Asked]:
        return map(Asked._make, rows_among(self._connection, _ASKED, columns=columns, keys=keys))

    def _read(self, query: Any) -> Iterable[Asked]:
        return map(Asked._make, self._connection.execute(query))

    def kept(self, ids: Iterable[_Id]) -> set[_Id]:
        """Which of some predictions are kept, looked up one by one: ids that were given lie anywhere."""
        c = predictions.c
        return {(row[0], row[1]) for row in rows_among(self._connection, _IDS, columns=[c.writer, c.seq], keys=ids)}

    def bodies(self, ids: Iterable[_Id]) -> dict[_Id, Prediction]:
        """Whole predictions by id."""
        c = predictions.c
        kept = rows_among(self._connection, rows.PREDICTIONS, columns=[c.writer, c.seq], keys=ids)
        return {(row[0], row[1]): rows.prediction(row) for row in Keys(self._connection).all_opened(kept)}

    def _matched(self, ids: Sequence[_Id]) -> dict[_Id, _Joined]:
        m, found = matches.c, dict[_Id, _Joined]()
        for row in rows_among(self._connection, _MATCHED, columns=[m.writer, m.seq], keys=ids):
            writer, seq, number, value, told, revision, last = row
            found[writer, seq] = _Joined(number, value, told, revision, (last, number))
        return found

    def _apply(
        self, everyone: Mapping[_Id, Asked], *, before: Mapping[_Id, _Joined], after: Mapping[_Id, _Joined]
    ) -> None:
        """Write the matches that changed, and the sums and counts that follow from them."""
        came, went, changed, shifts = [], [], [], []
        labelled: Counter[str] = Counter()
        for pair, one in everyone.items():
            old, new = before.get(pair), after.get(pair)
            if old is None and new is None:
                continue
            if new is None:
                went.append({"x_writer": pair[0], "x_seq": pair[1]})
                labelled[one.model] -= 1
            elif old is None:
                came.append((*one, new.outcome, new.value, new.told, new.revision))
                labelled[one.model] += 1
            elif old[:4] != new[:4]:
                changed.append({"x_writer": pair[0], "x_seq": pair[1], **dict(zip(_CHANGED, new[:4], strict=True))})
            old_value, new_value = old and old.value, new and new.value
            if old_value != new_value:
                shifts.append(Shift(one, old_value, new_value))
        mine = and_(matches.c.writer == bindparam("x_writer"), matches.c.seq == bindparam("x_seq"))
        insert_rows(self._connection, matches, rows=came)
        if went:
            self._connection.execute(delete(matches).where(mine), went)
        if changed:
            self._connection.execute(update(matches).where(mine), changed)
        self._hours.shift(shifts)
        self._tallies.labelled(labelled)


def _indexed(
    asked: Sequence[Asked],
) -> tuple[dict[_Id, list[Asked]], dict[_Id, list[Asked]], dict[tuple[str, str], list[Asked]]]:
    """New predictions by their id, by the id that they shadow, and by model and key."""
    by_id: dict[_Id, list[Asked]] = {}
    by_of: dict[_Id, list[Asked]] = {}
    by_key: dict[tuple[str, str], list[Asked]] = {}
    for one in asked:
        by_id.setdefault(one.id, []).append(one)
        by_key.setdefault((one.model, one.key), []).append(one)
        if one.of is not None:
            by_of.setdefault(one.of, []).append(one)
    return by_id, by_of, by_key


_CHANGED = ("outcome", "value", "told", "revision")


class _Batch:
    """Outcomes that are told together, taken one after the other in memory."""

    def __init__(
        self,
        chains: dict[Address, list[Revision]],
        stand: Mapping[Address, Sequence[Asked]],
        *,
        matched: Mapping[_Id, _Joined],
        first: int,
    ) -> None:
        self._chains = chains
        self._stand = stand
        self._first = first
        self.before = matched
        self.joined = dict(matched)
        self.again: set[_Id] = set()
        self.fresh: list[Revision] = []
        self.confirmed: dict[int, float] = {}

    def take(self, outcome: Outcome, *, place: Address, within: float) -> Told:
        """What becomes of one outcome."""
        chain = self._chains.setdefault(place, [])
        top, value = head(chain), rows.value_text(outcome.value)
        if top is not None and same(top.value, value) and top.tolerance == within:
            self._confirm(chain, top=top, at=outcome.at)
            return self._told("repeated", place, revision=top.revision)
        if top is not None and outcome.at < top.last:
            if any(r.at == outcome.at and same(r.value, value) for r in chain):
                return self._told("repeated", place, revision=top.revision)
            late = self._append(chain, outcome, place=place, within=within)
            return self._told("outdated", place, revision=late.revision)
        state = self._state(place, top=top, value=value)
        fresh = self._append(chain, outcome, place=place, within=within)
        self._offer(chain, top=fresh)
        return self._told(state, place, revision=fresh.revision)

    def _told(self, state: ToldState, place: Address, *, revision: int) -> Told:
        names = tuple(rows.name(*one.id) for one in self._stand[place])
        return Told(state=state, predictions=names, revision=revision)

    def _state(self, place: Address, *, top: Revision | None, value: str) -> ToldState:
        if value == "null":
            return "withdrawn"
        stand = self._stand[place]
        if not stand:
            return "orphan"
        known = [self.joined[one.id].value for one in stand if one.id in self.joined]
        if any(not same(old, value) for old in known) or (top is not None and not same(top.value, value) and known):
            return "corrected"
        return "repeated" if len(known) == len(stand) else "joined"

    def _append(self, chain: list[Revision], outcome: Outcome, *, place: Address, within: float) -> Revision:
        writer, seq = place if len(place) == 2 else (None, None)
        model, key, target = place if len(place) == 3 else (None, "", None)
        fresh = Revision(
            number=self._first + len(self.fresh),
            writer=writer,
            seq=seq,
            model=model,
            key=key,
            target=target,
            tolerance=within,
            revision=len(chain) + 1,
            at=outcome.at,
            last=outcome.at,
            value=rows.value_text(outcome.value),
            source=outcome.source,
        )
        chain.append(fresh)
        self.fresh.append(fresh)
        return fresh

    def _confirm(self, chain: list[Revision], *, top: Revision, at: float) -> None:
        if at <= top.last:
            return
        newer = top._replace(last=at)
        chain[chain.index(top)] = newer
        place = top.number - self._first
        if place >= 0:
            self.fresh[place] = newer
        else:
            self.confirmed[top.number] = at
        self._offer(chain, top=newer)

    def _offer(self, chain: Sequence[Revision], *, top: Revision) -> None:
        """Let a new head of a chain take its predictions."""
        numbers = {revision.number for revision in chain}
        for one in self._stand[top.address]:
            old = self.joined.get(one.id)
            if top.withdrawn:
                if old is not None and old.outcome in numbers:
                    self.again.add(one.id)
                    del self.joined[one.id]
            elif old is None or old.outcome in numbers or top.order > old.order:
                self.joined[one.id] = _joined(top)
