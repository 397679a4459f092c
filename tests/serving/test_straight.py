"""The straight way answers, records and counts as a burst does; whatever is unusual does not take it."""

import pytest
from housing import NOW, NUMBER
from msgspec import defstruct, structs

from modelkeep.errors import ModelFailed, StoreUnavailable
from modelkeep.nouns import Field, Outputs, Policy, Privacy, Rollout, Signature
from modelkeep.nouns.blocks import Row
from modelkeep.nouns.decisions import Caching
from modelkeep.serving.bursts import LATE, Burst

Numbers = defstruct("Numbers", [("c0", float)], bases=(Row,), rename={"c0": "x"})
Others = defstruct("Others", [("c0", float)], bases=(Row,), rename={"c0": "z"})
CHAMPION = Rollout(model="m", champion=1)


def doubled(numbers, n):
    assert len(numbers) == n
    return Outputs(values=[2.0 * number for number in numbers])


def prepared(house, *, rollout=CHAMPION, flat=doubled, signature=NUMBER, policy=None, **route):
    """The gateway with a model ``m`` that answers numbers at once."""
    for number in (1, 2):
        house.add("return row['x'] * 2.0", number=number, signature=signature)
    house.put(rollout)
    known = house.gateway.routes["m"]
    loaded = {number: structs.replace(one, flat=flat) for number, one in known.loaded.items()}
    policy = policy or known.policy
    house.gateway.swap({"m": structs.replace(known, loaded=loaded, policy=policy, **route)})
    return house.gateway


def rows(*xs):
    return [Numbers(x) for x in xs]


def test_it_answers_records_and_counts_as_a_burst_does(house):
    gateway = prepared(house)
    burst = Burst(model="m", rows=[{"x": 1.0}, {"x": 4.0}], keys=["a", ""], requests=["r1", "r2"])
    one, other = (
        gateway.burst(burst),
        gateway.straight["m"].answer(rows(1.0, 4.0), keys=["a", ""], requests=["r1", "r2"]),
    )
    first, second = one.blocks[0], other.blocks[0]
    same = structs.replace(second, first=first.first, seconds=first.seconds, features=first.features)
    assert same == first
    assert second.first == first.first + 2
    assert second.seconds > 0
    assert other.outputs == one.outputs
    assert not other.waits
    assert gateway.counters.predictions["m", 1, "champion"] == 4
    assert gateway.counters.vitals["m", 1].n == 2
    house.flush()
    kept = house.recorded(f"{second.writer}-{second.first}")
    assert (kept.features, kept.output, kept.key, kept.request, kept.at) == ({"x": 1.0}, 2.0, "a", "r1", NOW)


def test_a_row_that_the_model_fails_on_is_answered_elsewhere_and_recorded_by_nobody(house):
    def failing(numbers, n):
        raise ModelFailed("no")

    gateway = prepared(house, flat=failing)
    assert gateway.straight["m"].answer(rows(1.0), keys=[""], requests=["r"]) is None
    assert gateway.admission.inline is None
    assert house.recorder.state.held == 0
    assert not gateway.counters.predictions


def test_rows_that_were_read_by_another_signature_are_not_asked(house):
    way = prepared(house).straight["m"]
    assert way.answer([Others(1.0)], keys=[""], requests=["r"]) is None
    assert way.answer([{"x": 1.0}], keys=[""], requests=["r"]) is None
    assert way.answer(rows(1.0), keys=[""], requests=["r"]) is not None
    assert way.answer([Others(1.0)], keys=[""], requests=["r"]) is None


@pytest.mark.parametrize(
    "unusual",
    [
        {"rollout": structs.replace(CHAMPION, disabled="by hand")},
        {"rollout": structs.replace(CHAMPION, challenger=2, mode="canary", share=0.1)},
        {"rollout": structs.replace(CHAMPION, challenger=2, mode="shadow")},
        {"policy": Policy(model="m", privacy=Privacy(keep=("y",)))},
        {"policy": Policy(model="m", cache=Caching(on=True))},
        {"guarded": True},
        {"flat": None},
        {"signature": Signature(inputs=(Field(name="x", kind="number", nullable=True),), output=NUMBER.output)},
    ],
    ids=lambda unusual: str(next(iter(unusual.items())))[:40],
)
def test_what_is_unusual_has_none(house, unusual):
    assert not prepared(house, **unusual).straight


def test_who_takes_far_too_long_twice_running_is_asked_in_the_loop_no_more(house, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("modelkeep.serving.straight.perf_counter", lambda: now[0])
    taking = [2 * LATE, 0.0, 2 * LATE, 2 * LATE]

    def slow(numbers, n):
        now[0] += taking.pop(0)
        return doubled(numbers, n)

    gateway = prepared(house, flat=slow)
    way = gateway.straight["m"]
    for left in (True, True, True, False):  # one that is quick lies between the first two
        assert way.answer(rows(1.0), keys=[""], requests=["r"]) is not None
        assert ("m" in gateway.straight) is left
    assert gateway.slow("m")


def test_in_sync_it_waits_for_the_disk_and_refuses_what_cannot_be_kept(build):
    house = build(durability="sync", held=1)
    way = prepared(house).straight["m"]
    (wait,) = way.answer(rows(1.0), keys=[""], requests=["r"]).waits
    assert wait.result(10) is None
    with pytest.raises(StoreUnavailable):
        way.answer(rows(*range(20)), keys=[""] * 20, requests=["r"] * 20)
