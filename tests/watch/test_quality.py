import numpy as np
import pytest

from modelkeep.watch import quality

DRAW = np.random.default_rng(5)


def rows(n, *, missing=0.0, high=0.0, new=0.0, draw=DRAW):
    age = [
        None if draw.random() < missing else 150.0 if draw.random() < high else float(a) for a in draw.normal(40, 10, n)
    ]
    town = ["z" if draw.random() < new else str(t) for t in draw.choice(["a", "b", "c"], n)]
    return {"age": age, "town": town}


@pytest.fixture(scope="module")
def sample():
    return rows(2000, missing=0.02)


def look(build, sample, hours, *, n=50, version=None, **amiss):
    reference = build.reference(sample)
    slices = [build.slice(168 - hours + h, n=n, columns=rows(n, **amiss), reference=reference) for h in range(hours)]
    return quality(build.window(slices, reference=reference, version=version))


def test_the_same_data_are_ok(build, sample):
    found = look(build, sample, 24, missing=0.02)
    assert {r.name: r.level for r in found if r.name != "types"} == dict.fromkeys(
        ("missing", "out_of_range", "new_categories"), "ok"
    )


@pytest.mark.parametrize(
    ("name", "amiss", "column"),
    [
        ("missing", {"missing": 0.15}, "age"),
        ("out_of_range", {"high": 0.1, "missing": 0.02}, "age"),
        ("new_categories", {"new": 0.1, "missing": 0.02}, "town"),
    ],
)
def test_what_is_amiss_is_named_with_its_column(build, sample, read, name, amiss, column):
    found = look(build, sample, 24, **amiss)
    reading = read(found, name)
    assert reading.level == "warning"
    assert reading.facts["column"] == column
    assert column in reading.detail
    assert reading.interval[0] <= reading.value <= reading.interval[1]
    assert [r.name for r in found if r.level == "warning" and r.name != "types"] == [name]


def test_a_rise_that_chance_explains_is_ok(build, sample, read):
    reference = build.reference(sample)
    columns = rows(20, missing=0.0)
    columns["age"][0] = columns["age"][1] = None
    found = quality(build.window([build.slice(167, n=20, columns=columns, reference=reference)], reference=reference))
    assert read(found, "missing").value == 0.1
    assert read(found, "missing").level == "ok"


def test_unchanged_data_are_warned_of_almost_never(build, sample):
    draw = np.random.default_rng(11)
    reference = build.reference(sample)
    warned = 0
    for _ in range(200):
        slices = [
            build.slice(160 + h, n=30, columns=rows(30, missing=0.02, draw=draw), reference=reference) for h in range(3)
        ]
        found = quality(build.window(slices, reference=reference))
        warned += any(r.level == "warning" for r in found if r.name != "types")
    assert warned <= 2


def test_hours_that_err_together_count_less_than_independent_rows(build, sample, read):
    reference = build.reference(sample)
    slices = [
        build.slice(150 + h, n=50, columns=rows(50, missing=0.9 if h == 3 else 0.0), reference=reference)
        for h in range(12)
    ]
    reading = read(quality(build.window(slices, reference=reference)), "missing")
    assert reading.value > 0.05
    assert reading.level == "ok"


def test_without_reference_or_rows_it_is_unknown(build, sample):
    alone = quality(build.window([build.slice(167, n=50, columns=rows(50))]))
    assert [r.level for r in alone] == ["unknown", "unknown", "unknown", "ok"]
    none = quality(build.window([build.slice(167, n=5, columns=rows(5))]))
    assert {r.level for r in none} == {"unknown"}


def test_values_of_a_wrong_type_are_found(build, sample, read):
    reference = build.reference(sample)
    broken = rows(50)
    broken["age"] = ["forty"] * 10 + broken["age"][10:]
    found = quality(build.window([build.slice(167, n=50, columns=broken, reference=reference)], reference=reference))
    assert read(found, "types").level == "warning"
    assert read(found, "types").facts["share of age"] == pytest.approx(0.2)
    absent = quality(build.window([build.slice(167, n=50, columns={"age": rows(50)["age"]}, reference=reference)]))
    assert read(absent, "types").facts["share of town"] == 1.0
