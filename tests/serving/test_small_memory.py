"""What keeps a busy server small: groups that fit in memory, and a spool that is trimmed in pieces."""

import struct
import tracemalloc

from housing import NOW, until
from msgspec import structs

from modelkeep.nouns import Block
from modelkeep.serving.recorder import MOST
from modelkeep.serving.spool import Spool


def test_a_long_spool_is_trimmed_in_pieces(tmp_path):
    spool = Spool(tmp_path / "records.spool", limit=1 << 30)
    places = [spool.append(bytes([i]) * (1 << 20)) for i in range(32)]
    tracemalloc.start()
    try:
        spool.trim(places[16])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    assert [spool.read(place)[:1] for place in places[16:]] == [bytes([i]) for i in range(16, 32)]
    spool.close()


def test_what_comes_faster_than_it_is_gathered_is_kept_in_groups_that_fit_in_memory(house):
    house.add("return 0.0")
    n = 100
    block = Block(
        writer=7, first=1, model="m", version=1, role="champion", at=NOW, seconds=0.001, features=[{"x": 1.0}] * n,
        outputs=[1.0] * n, keys=[""] * n, requests=["r"] * n,
    )  # fmt: skip
    for turn in range(50):  # before anybody gathers: the recorder starts below
        house.recorder.take_block(structs.replace(block, first=1 + turn * n))
    assert house.recorder.state.held == 50 * n
    house.recorder.switch(on=False)  # what waits stays in the spool
    house.recorder.start()
    until(lambda: house.recorder.state.spooled == 50 * n)
    spool = Spool(house.folder / "spool" / "records.spool", limit=1 << 30)
    counts = [struct.unpack_from("<I", data)[0] for _, data in spool.frames()]
    spool.close()
    assert sum(counts) == 50 * n
    assert max(counts) <= MOST
    house.recorder.switch(on=True)
    assert house.recorder.flush() == 0
