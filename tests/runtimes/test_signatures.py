"""A signature inferred from a sample fits the sample, and refuses what is no number, category or truth."""

import math

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.errors import BadFeatures, BadInput
from modelkeep.runtimes import example, infer_signature, read_table
from modelkeep.runtimes.signatures import missing, rows_of

finite = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**63), 2**63 - 1)  # larger ones cannot be recorded as they are, and are refused
KINDS = [st.booleans(), whole, finite, st.one_of(finite, whole), st.text(max_size=5)]


@st.composite
def samples(draw):
    size = draw(st.integers(1, 20))
    found = {}
    for number in range(draw(st.integers(1, 4))):
        values = st.lists(st.one_of(draw(st.sampled_from(KINDS))), min_size=size, max_size=size)
        column = draw(values)
        if draw(st.booleans()) and size > 1:
            column[draw(st.integers(0, size - 1))] = draw(st.sampled_from([None, math.nan]))
        found[f"c{number}"] = column
    return found


def known(columns):
    return all(any(not missing(v) for v in values) for values in columns.values())


@given(samples().filter(known))
def test_every_row_of_the_sample_fits(columns):
    signature = infer_signature(columns, output="y")
    signature.check(rows_of(columns, list(columns)))
    signature.check([example(signature)])


@given(samples().filter(known), st.sampled_from([math.nan, math.inf, -math.inf, 10**400, [], b"x"]))
def test_what_is_no_value_never_fits(columns, value):
    signature = infer_signature(columns, output="y")
    row = rows_of(columns, list(columns))[0]
    for name in columns:
        with pytest.raises(BadFeatures) as refused:
            signature.check([{**row, name: value}])
        assert [problem.field for problem in refused.value.problems] == [name]


@pytest.mark.row("QUA-11")
def test_missing_extra_and_wrong_type_are_each_named():
    signature = infer_signature({"age": [20.5, 60.0], "city": ["Bern", "Ulm"], "rich": [True, False]}, output="y")
    with pytest.raises(BadFeatures) as refused:
        signature.check([{"age": "old", "rich": True, "shoe": 42}])
    said = [(p.field, p.expected, p.got) for p in refused.value.problems]
    assert said == [
        ("age", "number 0.75..79.75", "str 'old'"),
        ("city", "category", "nothing"),
        ("shoe", "no such field", "42"),
    ]


def test_ranges_are_widened_by_half_their_width():
    signature = infer_signature(
        {"a": [10.0, 20.0], "n": [4, 8], "from_zero": [1, 23], "signed": [-2, 2], "same": [7, 7], "still": [2.0, 2.0]},
        output="y",
        units={"a": "cm"},
    )
    assert [field.expected() for field in signature.inputs] == [
        "number 5..25 cm", "integer 2..10", "integer 0..34", "integer -4..4", "integer 0..", "number",
    ]  # fmt: skip


def test_kinds():
    signature = infer_signature(
        {
            "flag": [True, None],
            "whole": [1, 2],
            "mixed": [1, 2.5],
            "few": ["b", "a"],
            "many": [str(i) for i in range(101)],
            "y": ["no", "yes"],
        },
        output="y",
    )
    assert [(field.kind, field.nullable) for field in signature.inputs] == [
        ("boolean", True), ("integer", False), ("number", False), ("category", False), ("text", False),
    ]  # fmt: skip
    assert signature.inputs[3].categories == ("a", "b")
    assert signature.classifies
    assert signature.output.categories == ("no", "yes")
    assert not infer_signature({"a": [1], "y": [0]}, output="y").classifies
    assert infer_signature({"a": [1], "y": [0]}, output="y", classifies=True).output.categories == ("0",)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": [None, math.nan]}, "has no value"),
        ({"a": [1, "x"]}, "mixes integer and text"),
        ({"a": [True, 1]}, "mixes boolean and integer"),
        ({"a": [1.0, math.inf]}, "infinite"),
        ({"a": [1, 10**400]}, "infinite"),
        ({"y": [1]}, "no input column"),
    ],
)
def test_a_sample_that_tells_nothing_is_refused(columns, said):
    with pytest.raises(BadInput, match=said):
        infer_signature(columns, output="y")


CSV = "at,age,city,rich\n2020-01-02 03:04:05,1.5,Bern,true\n2020-01-03 00:00:00,,Ulm,false\n"


@pytest.mark.parametrize("name", ["s.csv", "s[1]*.csv", "s.parquet", "s.json"])
def test_a_table_is_read_from_each_format(tmp_path, name):
    import duckdb

    path = tmp_path / name
    (tmp_path / "in.csv").write_text(CSV)
    if name.endswith(".csv"):
        path.write_text(CSV)
    else:
        with duckdb.connect() as connection:
            connection.execute(f"COPY (FROM read_csv('{tmp_path}/in.csv')) TO '{path}'")
    found = read_table(path)
    assert list(found) == ["at", "age", "city", "rich"]
    assert str(found["at"][0]).replace(" ", "T") == "2020-01-02T03:04:05"
    assert found["age"] == [1.5, None]
    assert found["rich"] == [True, False]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xlsx", "x", "cannot read a table"),
        ("none.csv", None, "no file"),
        ("a.csv", "a,b\n", "has no row"),
        ("a.parquet", "not parquet", "cannot read a.parquet"),
        ("a.json", '[{"a": {"b": 1}}]', "holds a dict"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match=said):
        read_table(tmp_path / name)


def test_only_true_and_false_are_truths_in_a_text_file(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("churned,paid,letter,empty\nyes,True,T,\nno,FALSE,F,\nyes,,T,\n")
    found = read_table(path)
    assert found["churned"] == ["yes", "no", "yes"]
    assert found["paid"] == [True, False, None]
    assert found["letter"] == ["T", "F", "T"]
    assert found["empty"] == [None] * 3


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_moment_with_a_zone_is_told_in_utc(tmp_path, ending):
    path = tmp_path / "rows.csv"
    path.write_text('at,"a ""b"""\n2026-01-01T10:00:00Z,1\n2026-07-01T11:30:00.250+02:00,2\n')
    if ending == "parquet":
        duckdb.sql(f"copy (select * from '{path}') to '{path.with_suffix('.parquet')}'")
        path = path.with_suffix(".parquet")
    found = read_table(path)
    assert found == {"at": ["2026-01-01T10:00:00.000Z", "2026-07-01T09:30:00.250Z"], 'a "b"': [1, 2]}
