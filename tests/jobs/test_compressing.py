"""A version in a smaller file answers exactly as before, or is refused."""

import lightgbm
import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestRegressor

from modelkeep.errors import Conflict, Refused
from modelkeep.jobs import compressing
from modelkeep.nouns import Field, Signature, Version
from modelkeep.runtimes import compacting, load
from modelkeep.runtimes.formats import inspect

DRAW = np.random.default_rng(2)
X = DRAW.normal(size=(400, 3))
Y = X[:, 0] * 2 + np.sin(X[:, 1]) + DRAW.normal(size=400) * 0.1
SIGNATURE = Signature(
    inputs=tuple(Field(name=name, kind="number", low=-9, high=9) for name in "abc"),
    output=Field(name="y", kind="number"),
)


def forest(path) -> bytes:
    path.write_bytes(skops.io.dumps(RandomForestRegressor(20, random_state=0).fit(X, Y)))
    return path.read_bytes()


def trees(path) -> bytes:
    booster = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(X, Y, feature_name=list("abc")), 30)
    path.write_text(booster.model_to_string())
    return path.read_bytes()


@pytest.mark.parametrize(("make", "runtime"), [(forest, "skops"), (trees, "lightgbm")])
def test_a_smaller_file_is_the_same_model(tmp_path, make, runtime):
    old = make(tmp_path / "old")
    new = compacting.compacted(old, runtime)
    assert len(new) < 0.7 * len(old)
    (tmp_path / "new").write_bytes(new)
    assert inspect(tmp_path / "new", trust=False).runtime == runtime
    loaded = [
        load(
            Version(model="m", number=1, artifact=name, size=1, runtime=runtime, signature=SIGNATURE, created=0.0),
            tmp_path.joinpath,
        )
        for name in ("old", "new")
    ]
    rows = [dict(zip("abc", map(float, row), strict=True)) for row in X]
    assert loaded[0].predict(rows) == loaded[1].predict(rows)
    if runtime == "lightgbm":
        assert loaded[0].explain(rows[0]) == loaded[1].explain(rows[0])


@pytest.fixture
def registered(rooms):
    """Rooms that have a forest as ``demand/1`` 1."""
    digest = rooms.files.put(skops.io.dumps(RandomForestRegressor(20, random_state=0).fit(X, Y)))
    size = rooms.files.path(digest).stat().st_size
    version = Version(
        model="demand/1", number=1, artifact=digest, size=size, runtime="skops", signature=SIGNATURE, created=0.0
    )
    with rooms.store.write() as ledger:
        ledger.versions.add(version)
    return rooms


@pytest.mark.row("REG-16")
def test_sizes_and_load_times_are_told_and_the_smaller_version_is_a_candidate(registered):
    done = compressing.compress(registered, "demand/1", number=1, who="ann", why="disk")
    assert done.after < 0.5 * done.before
    assert done.rows == 1000
    assert done.load_after > 0
    with registered.store.read() as ledger:
        new = ledger.versions.get("demand/1", 2)
        act = ledger.acts.all(limit=1)[0]
    assert (new.size, new.note) == (done.after, "demand/1@1 in a smaller file")
    assert (act.what, act.subject, act.who) == ("compress", "demand/1@2", "ann")
    with pytest.raises(Conflict, match=r"demand/1@2"):
        compressing.compress(registered, "demand/1", number=1)
    with pytest.raises(Refused, match="bytes instead of"):
        compressing.compress(registered, "demand/1", number=2)


def test_another_answer_is_refused_and_nothing_is_kept(registered):
    other = skops.io.dumps(RandomForestRegressor(3, random_state=1).fit(X, Y))
    with pytest.raises(Refused, match="answers otherwise for input"):
        compressing.compress(registered, "demand/1", number=1, pack=lambda _data, _runtime: other)
    with registered.store.read() as ledger:
        assert len(ledger.versions.all("demand/1")) == 1
