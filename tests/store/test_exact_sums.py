import math

from hypothesis import given
from hypothesis import strategies as st

from modelkeep.store.exact import Exact, Totals, grow, pack, unpack

floats = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


@given(st.lists(floats, max_size=30))
def test_the_total_is_rounded_once(values: list[float]) -> None:
    parts: list[float] = []
    for value in values:
        grow(parts, value)
    assert math.fsum(parts) == math.fsum(values)


@given(st.lists(floats, max_size=20), st.randoms(use_true_random=False))
def test_what_is_taken_away_leaves_nothing(values: list[float], random: object) -> None:
    parts: list[float] = []
    moves = [*values, *(-value for value in values)]
    random.shuffle(moves)  # type: ignore[attr-defined]
    for move in moves:
        grow(parts, move)
    assert parts == []


pairs = st.lists(st.tuples(floats, floats), max_size=10)


@given(pairs, pairs)
def test_packing_and_merging_keep_every_bit(
    first: list[tuple[float, float]], second: list[tuple[float, float]]
) -> None:
    one, two, both = Exact(), Exact(), Exact()
    for exact, some in ((one, first), (two, second), (both, first + second)):
        for answer, truth in some:
            exact.pair(answer, truth)
    kept = unpack(pack({"model": one}))["model"]
    every, model = Totals(), Totals()
    for body in (pack({"model": one, "mean": two}), pack({"model": two})):
        every.every(body)
        model.model(body)
    assert every.sums() == {"model": both.sums(), "mean": two.sums()}
    assert model.sums() == {"model": both.sums()}
    kept.merge(two)
    assert kept.sums() == both.sums()
    for answer, truth in first + second:
        both.pair(answer, truth, sign=-1)
    assert both.sums() == Exact().sums()
