"""The store is locked or its disk is full under traffic: nobody notices but readiness, and nothing is lost."""

import os
import shutil
import sqlite3
import subprocess
import time

import pytest
from live_server import kept, traffic
from waiting import until

SETTINGS = "[store]\nbusy = '300ms'\n[watch]\nevery = '1s'\n"
SYNC = "[recorder]\ndurability = 'sync'\n"
RATE = 200.0


def away(live, *causes):
    """Wait until readiness says that the store is away, and why."""

    def said():
        ready = live.get("/health/ready")
        assert ready.status in {200, 503}
        return ready.status == 503 and ready

    told = until(said, what="readiness says that records wait").json
    assert told["status"] == "not_ready"
    assert any(cause in text for cause in causes for text in told["causes"]), told
    return told["causes"]


def back(live):
    until(lambda: live.get("/health/ready").status == 200, within=15, what="ready again, without a restart")


def all_kept(folder, sent):
    """Every prediction that was answered is in the store, once."""
    ids = sent.ids()
    until(lambda: ids.keys() <= set(kept(folder)), within=15, what="every answer is in the store")
    stored = kept(folder)
    assert len(stored) == len(set(stored))
    return len(ids)


@pytest.mark.parametrize("settings", [SETTINGS, pytest.param(SETTINGS + SYNC, marks=pytest.mark.prove)])
def test_a_locked_store_stops_no_answer_and_loses_none(folder, up, settings):
    live = up(folder, settings=settings)
    first = live.predict().json["prediction_id"]
    with traffic(live, rate=RATE) as sent:
        until(lambda: len(sent.replies) > 50)
        with sqlite3.connect(folder / "modelkeep.db", isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            before = len(sent.replies)
            (cause, *_) = away(live, "is locked")
            until(lambda: len(sent.replies) > before + 300)
            told = live.post("/v1/outcomes", {"prediction_id": first, "actual": 7.0})
            assert (told.status, told.json["outcomes"][0]["state"]) == (200, "held")
            assert live.get("/v1/status").status == 200
            other.execute("ROLLBACK")
        other.close()
        back(live)
    assert set(sent.statuses()) == {200}
    assert sent.broken == []
    answered = all_kept(folder, sent)
    until(lambda: live.get(f"/v1/predictions/{first}").json["outcomes"], what="the held outcome is joined")
    slowest = max(reply.came - reply.asked for reply in sent.replies)
    print(f"locked: {answered} answered, all kept, slowest {slowest * 1000:.0f} ms; {cause}")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MB of a test's own."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small disk can be made by root only")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", place], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"this machine mounts no small disk: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place):
    """Take every last byte of a disk."""
    with (place / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            while True:
                try:
                    if file.write(b"x" * size) < size:
                        break
                except OSError:
                    break


def test_a_full_disk_stops_no_answer_and_loses_none(template, small_disk, up):
    folder = small_disk / "data"
    shutil.copytree(template, folder)
    live = up(folder, settings=SETTINGS)
    first = {"prediction_id": live.predict().json["prediction_id"], "actual": 7.0}
    fill(small_disk)
    began = time.monotonic()
    with traffic(live, rate=RATE) as sent:
        causes = away(live, "is full", "No space left")
        until(lambda: len(sent.replies) > 600, within=20)
        told = live.post("/v1/outcomes", first)
        assert (told.status, told.error["code"]) == (503, "store_unavailable"), (
            "what cannot be kept is not acknowledged"
        )
        sending = live.ask("PUT", "/v1/files", b"z" * 100_000)
        assert (sending.status, sending.error["code"]) == (503, "store_unavailable")
        (small_disk / "filler").unlink()
        gone = time.monotonic() - began
        back(live)
    assert set(sent.statuses()) == {200}
    assert sent.broken == []
    answered = all_kept(folder, sent)
    assert live.post("/v1/outcomes", first).json["outcomes"][0]["state"] == "joined"
    assert b"\nmodelkeep_records_dropped_total 0.0\n" in live.get("/metrics").content
    print(f"full for {gone:.1f} s: {answered} answered, all kept; {causes}")
