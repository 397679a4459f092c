"""A model file is taken in: one copy, its digest, and its format as far as a glance tells."""

import hashlib
import io
import struct
import tracemalloc
import zipfile

import pytest

from modelkeep.errors import BadArtifact
from modelkeep.runtimes import packing
from modelkeep.runtimes.taking import module_for, take


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "aside"
    made.mkdir()
    return made


@pytest.mark.parametrize("ours", [False, True])
def test_what_is_kept_is_whole_under_its_digest(tmp_path, folder, ours):
    source = tmp_path / "model.onnx"
    data = b"\x08\x08\x12" + bytes(3_000_000)
    source.write_bytes(data)
    taken = take(source, folder, ours=ours)
    assert (taken.digest, taken.size, taken.name) == (hashlib.sha256(data).hexdigest(), len(data), "model.onnx")
    assert list(folder.iterdir()) == [taken.path]
    assert taken.path.samefile(source) is ours
    source.unlink()
    assert taken.path.read_bytes() == data
    assert module_for(taken) == "modelkeep.runtimes.onnx_files"


def test_plain_python_is_packed(tmp_path, folder):
    source = tmp_path / "rule.py"
    source.write_text("def judge(row):\n    return 1.0\n")
    taken = take(tmp_path / "rule.py:judge", folder)
    assert taken.path.read_bytes() == packing.pack(source, function="judge", use="model")
    assert module_for(taken) == "modelkeep.runtimes.python_code"


def test_no_more_than_a_piece_is_in_memory(tmp_path, folder):
    source = tmp_path / "model"
    with source.open("wb") as file:
        file.write(b"\x80\x05")
        file.truncate(30_000_000)
    tracemalloc.start()
    try:
        assert module_for(take(source, folder)) == "modelkeep.runtimes.pickled"
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_an_archive_that_says_its_table_of_contents_is_huge_is_left_to_its_trial(tmp_path, folder):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("schema.json", "{}")
    data = bytearray(packed.getvalue())
    size, offset = 20_000_000, 0
    data[-22 + 12 : -22 + 20] = struct.pack("<LL", size, offset)
    source = tmp_path / "model.skops"
    source.write_bytes(b"PK\x03\x04" + bytes(size) + bytes(data[-22:]))
    tracemalloc.start()
    try:
        assert not module_for(take(source, folder))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_what_cannot_be_taken_is_named(tmp_path, folder):
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(BadArtifact, match=r"notes\.txt: 8 bytes of no known model format"):
        module_for(take(tmp_path / "notes.txt", folder))
    with pytest.raises(BadArtifact, match="no file"):
        take(tmp_path / "gone", folder)
    (tmp_path / "empty").touch()
    with pytest.raises(BadArtifact, match="empty: the file is empty"):
        module_for(take(tmp_path / "empty", folder))
