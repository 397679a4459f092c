"""What must not be learned from is found: formulas, the future, rows that are all the same; and rows kept for later."""

import os
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from modelkeep import Policy, Recipe, check_no_future
from modelkeep.errors import BadArtifact, Refused
from modelkeep.nouns import Retrain
from modelkeep.runtimes import examining, future, kept, read_table
from modelkeep.runtimes.formulas import formula
from modelkeep.runtimes.training import Trained, TrainingRows

DATA = Path(os.environ.get("PUBLIC_DATA", Path(__file__).parents[3] / "shared" / "data"))
GENERATOR = np.random.default_rng(5)
N = 400
ERROR, BATTERY, RESPONSE = GENERATOR.random(N) * 0.2, GENERATOR.random(N) * 100, 1 + GENERATOR.random(N) * 3000
OTHERS = {f"x{i}": GENERATOR.normal(size=N).tolist() for i in range(8)}
COLUMNS = {
    "error_rate": ERROR.tolist(), "battery": BATTERY.tolist(), "response_time": RESPONSE.tolist(),
    "kind": GENERATOR.choice(["lamp", "lock"], N).tolist(), **OTHERS,
}  # fmt: skip
FAILS = ((ERROR > 0.1) | (BATTERY < 20) | (RESPONSE > 2000)).tolist()


def rows(truth, columns=COLUMNS, **fields):
    n = len(truth)
    return TrainingRows(columns=columns, truth=list(truth), keys=["a"] * n, at=[float(i) for i in range(n)], **fields)


FORMULAS = {
    "three thresholds": (FAILS, "a rule of battery, error_rate, response_time reproduces it"),
    "one threshold": ((BATTERY > 60).tolist(), "a rule of battery reproduces it"),
    "a category": ([kind == "lock" for kind in COLUMNS["kind"]], "a rule of kind reproduces it"),
    "a sum": ((2 * BATTERY - RESPONSE + 3).tolist(), "a weighted sum of battery, response_time reproduces it"),
    "a product": ((BATTERY * ERROR).tolist(), "a product of powers of error_rate, battery reproduces it"),
    "a ratio": ((BATTERY / RESPONSE + 5).tolist(), "battery / response_time reproduces it"),
}


@pytest.mark.parametrize(("truth", "said"), FORMULAS.values(), ids=FORMULAS)
def test_a_label_that_is_a_formula_of_its_inputs_is_refused_naming_them(truth, said):
    assert formula(COLUMNS, truth).startswith(said)
    with pytest.raises(Refused, match="formula of its inputs"):
        examining.formulas(rows(truth))


HONEST = {
    "noise": GENERATOR.normal(size=N).tolist(),
    "noisy thresholds": [bool(f) != (GENERATOR.random() < 0.03) for f in FAILS],
    "a sum with noise": (BATTERY + GENERATOR.normal(size=N)).tolist(),
    "rare": [i % 50 == 0 for i in range(N)],
    "few values": GENERATOR.integers(0, 3, N).astype(float).tolist(),
}


@pytest.mark.parametrize("truth", HONEST.values(), ids=HONEST)
def test_a_label_with_anything_of_its_own_is_learned_from(truth):
    assert formula(COLUMNS, truth) == ""
    examining.formulas(rows(truth))


def test_an_input_that_is_the_answer_is_refused():
    truth = GENERATOR.normal(size=N).tolist()
    with pytest.raises(Refused, match="input 'told' is a straight line of the label"):
        examining.formulas(rows(truth, {**COLUMNS, "told": [3 - 2 * value for value in truth]}))


def table(n=300):
    return {
        "when": [f"2024-01-{1 + i // 24:02d}T{i % 24:02d}:00:00" for i in range(n)],
        "shop": [f"s{i % 3}" for i in range(n)],
        "sold": GENERATOR.normal(10, 2, n).tolist(),
    }


def prepared(found, *, feature):
    moments = future.moments_of(found["when"], "when")
    sold = found["sold"]
    columns = {"feature": [feature(sold, i) for i in range(len(sold))], "shop": found["shop"]}
    return TrainingRows(columns=columns, truth=sold, keys=found["shop"], at=moments)


def past(found):
    return prepared(found, feature=lambda sold, i: sum(sold[:i]) / max(i, 1))


def tomorrow(found):
    return prepared(found, feature=lambda sold, i: sold[i + 1] if i + 1 < len(sold) else None)


def average(found):
    return prepared(found, feature=lambda sold, _: sum(sold) / len(sold))


def recipe(prepare):
    return Recipe(model="m", summary="", columns=(), prepare=f"{__name__}:{prepare}", policy=Policy(model="m"))


def test_a_feature_that_knows_the_future_is_refused_by_name_with_an_example():
    found = table()
    assert check_no_future(recipe("past"), found).startswith("648 rows prepared again")
    for name in ("tomorrow", "average"):
        with pytest.raises(Refused, match=r"feature 'feature' knows the future in .* rows \(of 's\d' at 2024-01"):
            check_no_future(recipe(name), found)


def test_a_table_without_moments_is_not_compared_and_says_so():
    assert "no column of the table holds moments" in future.check(past, {"shop": ["a"], "sold": [1.0]})
    assert future.time_column({"label": ["2024-01-01"], "asked": [1.6e9, 1.7e9]}) == "asked"


def test_a_large_table_is_compared_on_whole_entities(monkeypatch):
    monkeypatch.setattr(future, "MOST", 120)
    found = table()
    assert future.check(past, found).startswith("218 rows")
    with pytest.raises(Refused, match="knows the future"):
        future.check(average, found)


def test_a_large_table_whose_oldest_rows_are_too_few_days_is_compared_on_entities(monkeypatch):
    monkeypatch.setattr(future, "MOST", 120)

    def patient(found):
        if len({at[:10] for at in found["when"]}) < 10:
            raise Refused("too few days")
        return past(found)

    assert "are the same" in future.check(patient, table())


def test_a_split_that_is_random_by_word_or_by_looks_is_refused():
    truth = GENERATOR.normal(size=N).tolist()
    learned = rows(truth)
    with pytest.raises(Refused, match="drawn at random"):
        examining.result(Trained(path=Path("m"), split="random"), learned, policy=Retrain())
    spread = {"t": [float(i) for i in range(2, N, 5)]}
    with pytest.raises(Refused, match="declares no split"):
        examining.result(Trained(path=Path("m"), sample=spread, time="t"), learned, policy=Retrain())
    newest = {"t": [float(i) for i in range(320, N)]}
    examining.result(Trained(path=Path("m"), sample=newest, time="t"), learned, policy=Retrain())
    with pytest.raises(Refused, match="the metric"):
        examining.result(Trained(path=Path("m"), metrics={"mae": float("nan")}), learned, policy=Retrain())
    with pytest.raises(Refused, match="1 groups; need at least 5"):
        examining.result(Trained(path=Path("m"), split="group"), learned, policy=Retrain())


def test_rows_that_teach_nothing_are_refused():
    with pytest.raises(Refused, match="in all 400 rows"):
        examining.rows(rows([1.0] * N), Retrain())
    with pytest.raises(Refused, match="the label is nan in row 8"):
        examining.rows(rows([*range(7), float("nan"), *range(N - 8)]), Retrain())
    with pytest.raises(Refused, match="all 400 rows of the prepared table are the same"):
        examining.rows(rows(range(N), {"x": [1.0] * N}), Retrain())


def test_a_real_file_of_empty_features_is_one_distinct_row():
    file = DATA / "origins" / "homeiq" / "bad_empty_features.json"
    if not file.is_file():
        pytest.skip(f"{file.name} is not here (PUBLIC_DATA)")
    with pytest.raises(Refused, match=r"all 9,000 rows of the table are the same"):
        examining.distinct(read_table(file, nested=True), what="the table")


def test_kept_rows_come_back_and_the_newest_of_a_key_and_moment_counts(tmp_path, monkeypatch):
    old = TrainingRows(
        columns={"x": [1.0, 2.0, 3.0], "gone": [1, 1, 1]}, truth=[10.0, 20.0, 30.0], keys=["a", "b", ""], at=[1, 2, 3],
        targets=[5.0, 6.0, 7.0], told=[8.0, 8.0, 8.0],
    )  # fmt: skip
    kept.write(tmp_path / "rows", old)
    assert kept.read(tmp_path / "rows") == old
    assert kept.write(tmp_path / "again", old) or (tmp_path / "again").read_bytes() == (tmp_path / "rows").read_bytes()
    new = TrainingRows(columns={"x": [9.0, 8.0]}, truth=[11.0, 40.0], keys=["a", "c"], at=[4, 3.5], targets=[5.0, 6.0])
    both = kept.together(old, new)
    assert both.truth == [20.0, 30.0, 40.0, 11.0]
    assert both.columns == {"x": [2.0, 3.0, 8.0, 9.0], "gone": [1, 1, None, None]}
    assert both.keys == ["b", "", "c", "a"]
    assert both.groups == ["b", "", "c", "a"]
    monkeypatch.setattr(kept, "MOST_ROWS", 2)
    assert kept.together(old, new).truth == [40.0, 11.0]
    assert kept.newest(structs.replace(old, at=[3, 1, 2])).truth == [30.0, 10.0]
    (tmp_path / "rows").write_bytes(b"something else")
    with pytest.raises(BadArtifact, match="holds no training rows"):
        kept.read(tmp_path / "rows")
