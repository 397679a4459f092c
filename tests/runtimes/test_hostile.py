"""Files from strangers are refused with the reason, and nothing in them runs."""

import io
import os
import pickle
import stat
import zipfile
from pathlib import Path

import joblib
import lightgbm
import numpy as np
import pytest
import skops.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import FunctionTransformer

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Field, Signature
from modelkeep.runtimes import archives, formats, inspect, pack_features, trees_lightgbm
from modelkeep.runtimes.formats import contents

MATRIX = np.random.default_rng(3).normal(size=(100, 2))
TRUTH = MATRIX[:, 0] * 3
TREES = lightgbm.train({"verbosity": -1, "num_leaves": 5}, lightgbm.Dataset(MATRIX, TRUTH), 4).model_to_string()
SKOPS = skops.io.dumps(Ridge().fit(MATRIX, TRUTH))


class Marker:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def zipped(members: dict[str, bytes], *, how: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.row("DEP-02")
def test_random_bytes_and_an_empty_file_are_refused(tmp_path):
    (tmp_path / "m").write_bytes(np.random.default_rng(1).bytes(1024))
    with pytest.raises(BadArtifact, match="1,024 bytes of no known model format"):
        inspect(tmp_path / "m", trust=True)
    (tmp_path / "m").write_bytes(b"")
    with pytest.raises(BadArtifact, match="empty"):
        inspect(tmp_path / "m", trust=True)
    with pytest.raises(BadArtifact, match="no file"):
        inspect(tmp_path, trust=True)


@pytest.mark.parametrize("packing", ["pickle", "joblib", "zlib"])
def test_a_foreign_pickle_never_runs(tmp_path, packing):
    marker = tmp_path / "ran"
    if packing == "pickle":
        (tmp_path / "m").write_bytes(pickle.dumps(Marker(marker)))
    else:
        joblib.dump(Marker(marker), tmp_path / "m", compress=3 if packing == "zlib" else 0)
    with pytest.raises(BadArtifact, match="explicit trust"):
        inspect(tmp_path / "m", trust=False)
    inspect(tmp_path / "m", trust=True)
    assert not marker.exists()


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("xz", 3)])
def test_a_cut_off_pickle_is_refused(tmp_path, compress):
    joblib.dump(Ridge().fit(MATRIX, TRUTH), tmp_path / "m", compress=compress)
    (tmp_path / "m").write_bytes((tmp_path / "m").read_bytes()[:-20])
    with pytest.raises(BadArtifact, match=r"cut off|broken"):
        inspect(tmp_path / "m", trust=True)


@pytest.mark.parametrize("data", [SKOPS, TREES.encode()])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9, 0.99])
def test_a_cut_off_file_is_refused(tmp_path, data, part):
    (tmp_path / "m").write_bytes(data[: int(len(data) * part)])
    whole_trees = data is not SKOPS and b"end of parameters" in (tmp_path / "m").read_bytes()
    if not whole_trees:
        with pytest.raises(BadArtifact):
            inspect(tmp_path / "m", trust=False)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:\\evil", "C:/evil"])
def test_a_member_that_leaves_the_archive_is_refused(tmp_path, name):
    (tmp_path / "m").write_bytes(zipped({"schema.json": b"{}", name: b"x"}))
    with pytest.raises(BadArtifact, match="outside the archive"):
        inspect(tmp_path / "m", trust=True)


def test_a_link_in_an_archive_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("schema.json")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    (tmp_path / "m").write_bytes(buffer.getvalue())
    with pytest.raises(BadArtifact, match="symbolic link"):
        inspect(tmp_path / "m", trust=True)


def test_a_member_that_occurs_twice_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", "{}")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("schema.json", "{ }")
    (tmp_path / "m").write_bytes(buffer.getvalue())
    with pytest.raises(BadArtifact, match="twice"):
        inspect(tmp_path / "m", trust=True)


def test_a_zip_bomb_is_refused_before_it_unfolds(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "BOMB_FROM", 1 << 20)
    (tmp_path / "m").write_bytes(zipped({"schema.json": bytes(4 << 20)}, how=zipfile.ZIP_DEFLATED))
    with pytest.raises(BadArtifact, match="zip bomb"):
        inspect(tmp_path / "m", trust=True)


def test_a_file_above_the_limit_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MAX_BYTES", 10)
    (tmp_path / "m").write_bytes(SKOPS)
    with pytest.raises(BadArtifact, match="at most 10 are taken"):
        inspect(tmp_path / "m", trust=True)


def test_unknown_types_are_named_and_can_be_vouched_for(keeper, tmp_path):
    transformer = FunctionTransformer(func=os.path.join).fit(MATRIX)
    (tmp_path / "m").write_bytes(skops.io.dumps(transformer))
    with pytest.raises(BadArtifact, match=r"posixpath\.join"):
        inspect(tmp_path / "m", trust=False)
    found = inspect(tmp_path / "m", trust=True)
    assert found.runtime == "skops-trusted"
    signature = Signature(inputs=(Field(name="a", kind="number"),), output=Field(name="y", kind="number"))
    with pytest.raises(BadArtifact, match=r"posixpath\.join"):  # the bytes alone never earn the trust
        keeper.load(contents(tmp_path / "m"), signature, runtime="skops")
    with pytest.raises(BadArtifact, match=r"no predict\(\)"):
        keeper.load(contents(tmp_path / "m"), signature, runtime="skops-trusted")


def test_an_archive_of_something_else_is_refused(tmp_path):
    (tmp_path / "m").write_bytes(zipped({"word/document.xml": b"<a/>"}))
    with pytest.raises(BadArtifact, match="of no known model format"):
        inspect(tmp_path / "m", trust=True)
    (tmp_path / "m").write_bytes(zipped({"schema.json": b"[]"}))
    with pytest.raises(BadArtifact, match="not a readable skops file"):
        inspect(tmp_path / "m", trust=True)


def test_a_flipped_byte_in_an_archive_is_found(tmp_path):
    data = bytearray(SKOPS)
    data[len(data) // 3] ^= 0x40
    (tmp_path / "m").write_bytes(bytes(data))
    with pytest.raises(BadArtifact):
        inspect(tmp_path / "m", trust=False)


@settings(
    max_examples=150, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0, 6000), byte=st.integers(0, 255))
def test_a_changed_tree_file_is_refused_or_loads_and_never_crashes(tmp_path, place, byte):
    data = bytearray(TREES.encode())
    data[place % len(data)] = byte
    signature = Signature(
        inputs=(Field(name="a", kind="number"), Field(name="b", kind="number")), output=Field(name="y", kind="number")
    )
    try:
        trees_lightgbm.inspect(bytes(data), trust=False)
        (tmp_path / "m").write_bytes(bytes(data))
        trees_lightgbm.open_model(tmp_path / "m", signature, coded=False, runtime="lightgbm").answer(
            [{"a": 1.0, "b": 2.0}]
        )
    except (BadArtifact, lightgbm.basic.LightGBMError):
        pass


def test_a_tree_that_points_nowhere_is_refused(tmp_path):
    line = next(line for line in TREES.splitlines() if line.startswith("left_child="))
    (tmp_path / "m").write_text(TREES.replace(line, f"left_child=9 {line.partition(' ')[2]}", 1))
    with pytest.raises(BadArtifact, match=r"is not a tree|begin or end"):
        inspect(tmp_path / "m", trust=False)


def test_python_is_code_and_needs_trust(tmp_path):
    marker = tmp_path / "ran"
    source = tmp_path / "rule.py"
    source.write_text(f"open({str(marker)!r}, 'w')\ndef predict(row):\n    return 1.0\n")
    with pytest.raises(BadArtifact, match="explicit trust"):
        inspect(source, trust=False)
    assert inspect(source, trust=True).runtime == "python"
    (tmp_path / "m").write_bytes(contents(source))
    assert inspect(tmp_path / "m", trust=True).runtime == "python"
    assert not marker.exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def features(row:", "is not Python"),
        ("x = 1", "has no function 'features'"),
        ("def features():\n    return {}", "takes no argument"),
    ],
)
def test_feature_code_that_cannot_work_is_refused(tmp_path, source, said):
    (tmp_path / "features.py").write_text(source)
    with pytest.raises(BadArtifact, match=said):
        pack_features(tmp_path / "features.py")


def test_a_runtime_that_is_not_the_files_is_refused(tmp_path):
    (tmp_path / "m").write_bytes(SKOPS)
    with pytest.raises(BadArtifact, match="is a skops file, not lightgbm"):
        inspect(tmp_path / "m", trust=False, runtime="lightgbm")
