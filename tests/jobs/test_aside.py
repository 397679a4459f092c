"""Folders aside: gone with their act, locked while it lasts, and removed afterwards whoever was killed."""

import os

from modelkeep.jobs.aside import aside, forget


def test_one_that_is_in_use_stays_and_what_was_left_goes(rooms):
    work = rooms.folder / "work"
    with aside(rooms) as folder:
        (folder / "copy").write_bytes(b"x")
        left = work / "aside-left"
        left.mkdir()
        (left / "copy").write_bytes(b"x")
        assert forget(rooms) == 1
        assert list(work.iterdir()) == [folder]
    assert not any(work.iterdir())
    assert forget(rooms) == 0


def test_one_that_was_killed_before_it_had_its_name_goes_after_a_day(rooms):
    new = rooms.folder / "work" / "new-aside-x"
    new.mkdir(parents=True)
    now = rooms.clock.now()
    os.utime(new, (now, now))
    assert forget(rooms) == 0
    os.utime(new, (now - 90_000, now - 90_000))
    assert forget(rooms) == 1
    assert not new.exists()
