"""Outcomes and predictions in any order, against the rule written down naively."""

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import HOUR, prediction

from modelkeep.nouns import Outcome, Prediction
from modelkeep.profile import Sums
from modelkeep.store.seams import Store

# One contract runs in a class for each store, and each example makes its own names in the test's one store.
_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
_numbers = itertools.count(1)
_KEYS = ("a", "a", "b")


class _Tell(NamedTuple):
    outcome: Outcome
    tolerance: float


@st.composite
def _predictions(draw: st.DrawFn) -> list[Prediction]:
    count = draw(st.integers(1, 8))
    found = []
    for n in range(count):
        of = draw(st.sampled_from([None, None, *(f"0-{m}" for m in range(n))]))
        found.append(
            prediction(
                n,
                id=f"0-{n}",
                of=of,
                version=1 if of is None else 2,
                role=draw(st.sampled_from(["champion", "canary", "fallback"])) if of is None else "shadow",
                key=draw(st.sampled_from(_KEYS)),
                target=float(draw(st.integers(0, 6))),
                at=draw(st.sampled_from([0.0, 10.0, HOUR - 0.5, HOUR, HOUR + 7.0, 2 * HOUR])),
                output=draw(st.sampled_from([None, 0.1, -3, 7.25, 1e16])),
                references=draw(st.sampled_from([(), (1.5, None, 0.3), (2, 2, 2)])),
            )
        )
    return found


_values = st.sampled_from([None, 0, 0.3, 2, 2.0, 1e16])
_ats = st.integers(0, 5).map(float)
_by_id = st.builds(lambda n, v, at: Outcome(value=v, at=at, prediction=f"0-{n}"), st.integers(0, 8), _values, _ats)
_by_key = st.builds(
    lambda k, t, v, at: Outcome(value=v, at=at, model="m", key=k, target=float(t)),
    st.sampled_from(_KEYS),
    st.integers(0, 6),
    _values,
    _ats,
)
_tells = st.builds(_Tell, st.one_of(_by_id, _by_key, _by_key), st.sampled_from([0.0, 1.0, 2.0, 3.0]))


def _renamed(thing: Prediction | Outcome, model: str, writer: int) -> Any:
    """The same record for a model and a writer that the store has not seen."""
    from msgspec.structs import replace

    def renamed(text: str | None) -> str | None:
        return None if text is None else f"{writer}-{text.partition('-')[2]}"

    if isinstance(thing, Prediction):
        return replace(thing, id=renamed(thing.id), of=renamed(thing.of), model=model)
    return replace(thing, prediction=renamed(thing.prediction), model=model if thing.model else None)


# --------------------------------------------------------------------------------------------- the rule, naively


def _same(one: Any, other: Any) -> bool:
    return one == other and (one is None) == (other is None)


def _heads(tells: Sequence[_Tell]) -> dict[Any, tuple[tuple[float, int], _Tell]]:
    """The telling that counts at each address, with its order."""
    heads: dict[Any, tuple[tuple[float, int], _Tell]] = {}
    for order, tell in enumerate(tells):
        o = tell.outcome
        place = o.prediction or (o.model, o.key, o.target)
        within = 0.0 if o.prediction else tell.tolerance
        old = heads.get(place)
        if old is not None:
            (last, number), known = old
            if _same(known.outcome.value, o.value) and (bool(o.prediction) or known.tolerance == within):
                heads[place] = (max(last, o.at), number), known
                continue
            if o.at < last:
                continue
        heads[place] = (o.at, order), tell
    return heads


def _expected(predictions: Sequence[Prediction], tells: Sequence[_Tell]) -> dict[str, Any]:
    """The outcome of each prediction that has one."""
    best: dict[str, tuple[tuple[float, int], Any]] = {}
    for place, (order, (o, within)) in _heads(tells).items():
        if isinstance(place, str):
            mine = [p for p in predictions if place in {p.id, p.of}]
        else:
            near = [p for p in predictions if (p.model, p.key) == place[:2] and abs(p.target - place[2]) <= within]
            nearest = min((p.target for p in near), key=lambda t: (abs(t - place[2]), t), default=None)
            mine = [p for p in near if p.target == nearest]
        for p in mine:
            if o.value is not None and (p.id not in best or best[p.id][0] < order):
                best[p.id] = order, o.value
    return {name: value for name, (_, value) in best.items()}


def _summed(predictions: Sequence[Prediction], values: dict[str, Any]) -> dict[str, Sums]:
    names = ("model", "persistence", "same_period", "ewma")
    pairs: dict[str, list[Sums]] = {"model": []}
    for p in predictions:
        if p.id in values and p.output is not None:
            for name, answer in zip(names, (p.output, *p.references), strict=False):
                if answer is not None:
                    pairs.setdefault(name, []).append(Sums.of(answer, values[p.id]))
    fields = ("error", "absolute", "square", "relative", "truth", "truth_square")
    return {
        name: Sums(
            n=len(many),
            relative_n=sum(s.relative_n for s in many),
            **{field: math.fsum(getattr(s, field) for s in many) for field in fields},
        )
        for name, many in pairs.items()
    }


class JoiningContract:
    @settings(deadline=None, max_examples=30, suppress_health_check=_SHARED)
    @given(
        predictions=_predictions(),
        tells=st.lists(_tells, min_size=1, max_size=12),
        seed=st.randoms(use_true_random=False),
        size=st.integers(1, 4),
    )
    def test_any_order_gives_what_the_rule_says(
        self,
        store: Store,
        predictions: list[Prediction],
        tells: list[_Tell],
        seed: random.Random,
        size: int,
    ) -> None:
        number = next(_numbers)
        model = f"m{number}"
        asked = [_renamed(p, model, number) for p in predictions]
        told = [_Tell(_renamed(t.outcome, model, number), t.tolerance) for t in tells]
        groups: list[list[Any]] = [asked[i : i + size] for i in range(0, len(asked), size)]
        groups += [[t] for t in told]
        groups += groups[:1]  # a group that is sent twice
        seed.shuffle(groups)
        arrived = [t for group in groups for t in group if isinstance(t, _Tell)]
        for group in groups:
            with store.write() as ledger:
                if isinstance(group[0], _Tell):
                    ledger.records.tell([group[0].outcome], {model: group[0].tolerance})
                else:
                    ledger.records.add(group, [])
        self._check(store, model, asked, arrived)

    @settings(deadline=None, max_examples=15, suppress_health_check=_SHARED)
    @given(
        predictions=_predictions(),
        tells=st.lists(_tells, max_size=10),
        tolerance=st.sampled_from([0.0, 1.0]),
        first=st.booleans(),
    )
    def test_one_call_with_many_outcomes_is_the_same(
        self, store: Store, predictions: list[Prediction], tells: list[_Tell], tolerance: float, first: bool
    ) -> None:
        number = next(_numbers)
        model = f"m{number}"
        asked = [_renamed(p, model, number) for p in predictions]
        told = [_Tell(_renamed(t.outcome, model, number), tolerance) for t in tells]
        half = len(told) // 2
        with store.write() as ledger:
            if first:
                ledger.records.add(asked, [])
            ledger.records.tell([t.outcome for t in told[:half]], {model: tolerance})
            ledger.records.tell([t.outcome for t in told[half:]], {model: tolerance})
            if not first:
                ledger.records.add(asked, [])
        self._check(store, model, asked, told)

    def _check(self, store: Store, model: str, asked: list[Prediction], told: list[_Tell]) -> None:
        values = _expected(asked, told)
        with store.read() as ledger:
            records = ledger.records
            assert {m.prediction: m.value for m in records.matches(model)} == values
            assert records.counts(model)[:2] == (len(asked), len(values))
            shown = [p for p in asked if p.role != "shadow"]
            assert records.sums(model, start=0.0, end=3 * HOUR) == _summed(shown, values)
            for role in ("shadow", "canary"):
                mine = [p for p in asked if p.role == role]
                assert records.sums(model, start=0.0, end=3 * HOUR, role=role) == _summed(mine, values)
            rows = records.sums(model, start=0.25, end=3 * HOUR)["model"]
            assert rows.n == _summed([p for p in shown if p.at >= 0.25], values)["model"].n
