"""The feature cache: an hour, a thousand rows, compressed, and only where feature code runs."""

import pytest

from modelkeep.errors import ModelFailed
from modelkeep.nouns import Field, Signature, Version
from modelkeep.runtimes import packing
from modelkeep.runtimes.confining import confined
from modelkeep.runtimes.confining.confined import Bounds
from modelkeep.runtimes.remembering import COUNTS, FeatureCache

WIDE = {f"feature_{i}": float(i % 3) for i in range(40)}


def cached(clock, **options):
    asked = []

    def prepare(rows):
        asked.extend(rows)
        return [{**WIDE, "x": row["x"]} for row in rows]

    cache = FeatureCache(now=lambda: clock[0], **options)
    return cache, asked, lambda *xs: cache.prepared([{"x": float(x)} for x in xs], prepare)


@pytest.mark.row("TUN-07")
def test_a_row_is_prepared_once_an_hour_and_the_thousand_and_first_pushes_out_the_oldest():
    clock = [0.0]
    cache, asked, ask = cached(clock)
    assert ask(1) == ask(1) == [{**WIDE, "x": 1.0}]
    assert len(asked) == 1
    clock[0] = 3599.0
    ask(1)
    assert len(asked) == 1
    clock[0] = 3601.0
    ask(1)
    assert len(asked) == 2
    ask(*range(2, 1001))
    assert (len(cache), len(asked)) == (1000, 2 + 999)
    ask(1)
    assert len(asked) == 1001
    ask(1001)
    assert len(cache) == 1000
    ask(2)
    assert len(asked) == 1003
    ask(1)
    assert len(asked) == 1003


@pytest.mark.row("TUN-07")
def test_it_is_smaller_on_disk_with_compression_and_comes_back(tmp_path):
    clock, sizes = [0.0], {}
    for compress in (True, False):
        cache, _, ask = cached(clock, compress=compress)
        ask(*range(100))
        sizes[compress] = cache.write(tmp_path / f"{compress}.features")
        assert (tmp_path / f"{compress}.features").stat().st_size == sizes[compress]
        again, asked, ask = cached(clock, compress=compress)
        assert again.read(tmp_path / f"{compress}.features") == 100
        assert ask(7) == [{**WIDE, "x": 7.0}]
        assert not asked
    assert sizes[True] < 0.5 * sizes[False]


def test_known_and_new_rows_of_a_batch_come_back_in_order():
    _, asked, ask = cached([0.0])
    ask(2)
    assert [row["x"] for row in ask(1, 2, 3)] == [1.0, 2.0, 3.0]
    assert [row["x"] for row in asked] == [2.0, 1.0, 3.0]


def test_what_fails_is_not_remembered():
    cache = FeatureCache(now=lambda: 0.0)
    with pytest.raises(ModelFailed):
        cache.prepared([{"x": 1}], lambda _: (_ for _ in ()).throw(ModelFailed("no")))
    assert len(cache) == 0


def test_in_a_process_of_its_own_hits_are_counted_here(tmp_path):
    source = tmp_path / "code.py"
    source.write_text(
        "def features(row):\n    return {'x': row['x'] * 10}\ndef predict(row):\n    return row['x'] + 1\n"
    )
    paths = {"model": tmp_path / "m.zip", "code": tmp_path / "c.zip"}
    paths["model"].write_bytes(packing.pack(source, function="predict", use="model"))
    paths["code"].write_bytes(packing.pack_features(source))
    number = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))
    version = Version(
        model="m", number=1, artifact="model", features="code", size=1, runtime="python", signature=number, created=0.0
    )
    loaded = confined.load(version, paths.__getitem__, bounds=Bounds(limit=5.0, memory=1 << 29, remember=True))
    try:
        before = COUNTS.lookups, COUNTS.hits
        assert [loaded.predict([{"x": 7.0}]).values for _ in range(3)] == [[71.0]] * 3
        assert (COUNTS.lookups - before[0], COUNTS.hits - before[1]) == (3, 2)
    finally:
        loaded.close()
