"""What is new is noticed at once; what makes up an excess of error is named; what is new and costs more is found."""

import pytest

from modelkeep.nouns import Match, Prediction
from modelkeep.watch.cases import NEW, cases, causes, strain, told
from modelkeep.watch.novelty import Newcomers, novelty

HOUR, DAY = 3600.0, 86400.0


def pair(at, *, key="a", error=1.0, truth=10.0, town="a", age=30.0, version=2):
    prediction = Prediction(
        id=f"1-{int(at)}", model="m", version=version, role="champion", features={"age": age, "town": town},
        output=truth + error, at=at, target=at, seconds=0.0, key=key,
    )  # fmt: skip
    match = Match(
        number=1, prediction=prediction.id, of=None, model="m", version=version, role="champion", key=key, at=at,
        target=at, output=truth + error, value=truth, told=at, revision=1,
    )  # fmt: skip
    return prediction, match


def reference(build):
    return build.reference({"age": [float(i) for i in range(100)], "town": ["a", "b"] * 50})


def window(build, **more):
    return build.window(reference=reference(build), **more)


def before(days=20, keys=20):
    return [pair(day * DAY + 600 * i, key=f"old {i}") for day in range(days) for i in range(keys)]


def test_new_entities_are_named_with_how_many_and_how_much(build):
    news = [pair(20 * DAY + 600 * i, key=f"new {i}", error=3.0) for i in range(30)]
    same = [pair(20 * DAY + 600 * i, key=f"old {i % 20}") for i in range(20)]
    late = sorted(news + same, key=lambda p: p[0].at)
    held = cases(window(build), before() + late, newcomers=[f"new {i}" for i in range(30)])
    found = causes([c for c in held if c.at >= 20 * DAY], [c for c in held if c.at < 20 * DAY])
    assert found[0].segment == NEW
    assert told(found, keys=50)["cause"] == "new entities (30 of 50 keys, 100% of the excess error)"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"town": "z"}, "unknown town"),
        ({"town": "b"}, "town 'b'"),
        ({"age": 500.0}, "age above 99, its range in training"),
        ({"age": 80.0}, "age 74.25 to 99"),
        ({"key": "old 3"}, "entity 'old 3'"),
    ],
)
def test_the_segment_that_errs_is_named(build, more, said):
    bad = [pair(20 * DAY + 600 * i, **{"key": f"old {i % 20}", "error": 5.0} | more) for i in range(40)]
    good = [pair(20 * DAY + 600 * i + 1, key=f"old {i % 20}") for i in range(80)]
    held = cases(window(build), before() + bad + good)
    found = causes([c for c in held if c.at >= 20 * DAY], [c for c in held if c.at < 20 * DAY])
    assert any(cause.segment.startswith(said) for cause in found), found
    assert found[0].share == pytest.approx(1.0, abs=0.01)


def test_an_input_that_is_the_entity_itself_names_new_entities(build):
    bad = [pair(20 * DAY + 600 * i, key=f"shop {i}", town=f"shop {i}", error=5.0) for i in range(40)]
    held = cases(window(build), before() + bad)
    found = causes([c for c in held if c.at >= 20 * DAY], [c for c in held if c.at < 20 * DAY])
    assert found[0].segment == NEW
    assert all(c.new for c in held if c.at >= 20 * DAY)


def test_a_hard_day_for_everybody_has_no_cause(build):
    hard = [pair(20 * DAY + 600 * i, key=f"old {i % 20}", error=3.0) for i in range(80)]
    held = cases(window(build), before() + hard)
    now, then = [c for c in held if c.at >= 20 * DAY], [c for c in held if c.at < 20 * DAY]
    assert not [c for c in causes(now, then) if c.segment.startswith(("entity", "town", "age", "unknown"))]


def joining(*, days, error, known=1.0, scale=1.0):
    news = [
        pair((20 + day) * DAY + 600 * i, key=f"new {i}", error=error * scale, truth=10.0 * scale)
        for day in range(days)
        for i in range(30)
    ]
    olds = [pair((20 + day) * DAY + 600 * i, key=f"old {i}", error=known) for day in range(days) for i in range(20)]
    return before() + sorted(news + olds, key=lambda p: p[0].at), [f"new {i}" for i in range(30)]


def test_what_is_new_and_costs_more_is_found_in_days(build):
    pairs, strangers = joining(days=4, error=2.5)
    found = strain(cases(window(build), pairs, newcomers=strangers), window(build))
    assert found is not None
    assert found.since == pytest.approx(20 * DAY, abs=DAY)
    assert found.n == 120


@pytest.mark.parametrize(
    "more",
    [
        {"error": 1.0},  # the new ones err no more
        {"error": 3.0, "known": 3.0},  # a hard week for everybody
        {"error": 1.0, "scale": 3.0},  # they are larger, and err in proportion
    ],
)
def test_what_is_new_and_costs_no_more_is_no_strain(build, more):
    pairs, strangers = joining(days=6, **more)
    assert strain(cases(window(build), pairs, newcomers=strangers), window(build)) is None


def test_an_unseen_category_is_known_on_the_first_prediction(build):
    held = reference(build)
    hours = [build.slice(0, n=50, columns={"age": [1.0] * 50, "town": ["a"] * 50}, reference=held)]
    assert novelty(build.window(hours, reference=held)).level == "ok"
    hours.append(build.slice(1, n=1, columns={"age": [1.0], "town": ["z"]}, reference=held))
    reading = novelty(build.window(hours, reference=held))
    assert (reading.level, reading.value) == ("warning", 1.0)
    assert (reading.facts["column"], reading.facts["values"], reading.facts["predictions"]) == ("town", "z", 1)
    assert reading.facts["since"] == build.start + HOUR
    assert "unknown town: z" in reading.detail


@pytest.mark.parametrize(
    ("count", "keys", "level"), [(485, 829, "warning"), (1, 829, "ok"), (4, 10, "ok"), (0, 9, "ok")]
)
def test_many_new_entities_are_told_and_single_ones_counted(build, count, keys, level):
    held = reference(build)
    hours = [build.slice(0, n=50, columns={"age": [1.0] * 50, "town": ["a"] * 50}, reference=held)]
    newcomers = Newcomers(count=count, keys=keys, predictions=count, since=build.start, shown=("x",))
    reading = novelty(build.window(hours, reference=held), newcomers)
    assert (reading.level, reading.value) == (level, float(count))


def test_without_predictions_nothing_is_known_of_novelty(build):
    assert novelty(build.window()).level == "unknown"
