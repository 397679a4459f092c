import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.errors import ModelkeepError, StoreUnavailable
from modelkeep.serving.spool import Marks, Spool


@given(payloads=st.lists(st.binary(max_size=200), max_size=20), cut=st.integers(min_value=0, max_value=400))
def test_whatever_is_torn_off_the_whole_frames_before_it_are_read(tmp_path_factory, payloads, cut):
    path = tmp_path_factory.mktemp("spool") / "records.spool"
    spool = Spool(path, limit=1 << 20)
    ends = [spool.append(data) for data in payloads]
    spool.sync()
    spool.close()
    size = max(path.stat().st_size - cut, 0)
    os.truncate(path, size)
    again = Spool(path, limit=1 << 20)
    whole = [data for place, data in zip(ends, payloads, strict=True) if place.offset + 8 + place.length <= size]
    assert [data for _, data in again.frames()] == whole
    again.append(b"next")
    assert [data for _, data in again.frames()] == [*whole, b"next"]
    again.close()


def test_damage_is_put_aside_and_what_is_before_it_is_read(tmp_path):
    path = tmp_path / "records.spool"
    spool = Spool(path, limit=1 << 20)
    places = [spool.append(data) for data in (b"first", b"second", b"third")]
    os.pwrite(os.open(path, os.O_WRONLY), b"X", places[1].offset + 9)
    with pytest.raises(ModelkeepError, match="damaged at byte 13"):
        spool.read(places[1])
    spool.close()
    again = Spool(path, limit=1 << 20)
    assert [data for _, data in again.frames()] == [b"first"]
    assert b"third" in (tmp_path / "records.damaged-1").read_bytes()


def test_a_length_that_reaches_beyond_the_file_ends_the_reading(tmp_path):
    path = tmp_path / "records.spool"
    path.write_bytes(struct.pack("<II", 1 << 31, 0) + b"abc")
    assert list(Spool(path, limit=1 << 20).frames()) == []


def test_the_bound_is_kept_and_the_file_is_as_before(tmp_path):
    spool = Spool(tmp_path / "records.spool", limit=100)
    kept = spool.append(b"x" * 50)
    with pytest.raises(StoreUnavailable, match="bound of 100 bytes"):
        spool.append(b"y" * 50)
    assert [place for place, _ in spool.frames()] == [kept]
    spool.clear()
    assert spool.append(b"y" * 50).offset == 58
    assert spool.size == 58


def test_trimming_drops_the_front_and_places_stay_right(tmp_path):
    path = tmp_path / "records.spool"
    spool = Spool(path, limit=1 << 20)
    places = [spool.append(bytes([i]) * 100) for i in range(10)]
    assert spool.dead(places[8]) == 0.8
    spool.trim(places[8])
    assert spool.size == 216
    last = spool.append(b"last")
    assert spool.read(places[8]) == b"\x08" * 100
    assert spool.read(last) == b"last"
    spool.close()
    assert [data[:1] for _, data in Spool(path, limit=1 << 20).frames()] == [b"\x08", b"\x09", b"l"]


def test_what_was_taken_and_not_saved_is_known_to_the_next_process(tmp_path):
    marks = Marks(tmp_path / "marks")
    assert marks.gap == 0
    marks.note(100, 93)
    marks.close()
    again = Marks(tmp_path / "marks")
    assert again.gap == 7
    again.close()
    assert Marks(tmp_path / "marks").gap == 0
