"""Whom the next turn of the loop could only turn away hears so while the request is read, and is counted."""

import json
import re
import threading

import pytest
from benchmark_scripts import script
from served_house import served

from modelkeep.edge import KEY_HEADER
from modelkeep.edge.doorstep import LASTS, Doorstep
from modelkeep.edge.wire import Road

open_loop = script("open_loop")

SPINS = (
    "import time\ndef predict(row):\n    end = time.perf_counter() + 0.001\n"
    "    while time.perf_counter() < end:\n        pass\n    return 2.0 * row['x']\n"
)


def doorstep():
    said = []

    def says(priority):
        said.append(priority)
        return [b"<", f"|{priority}{len(said)}|".encode(), b">"]

    return Doorstep(says), said


def test_a_refusal_names_its_request_wherever_a_name_stands():
    step, _ = doorstep()
    assert step.close([False, True, True], usual="batch", at=1.0) == (False, True, True, True)
    assert step.refuse(1, "r7") == b"<r7|normal1|r7>"


def test_who_names_no_priority_counts_as_the_usual_one():
    step, said = doorstep()
    assert step.close([False, False, True], usual="normal", at=1.0) == (False, False, True, False)
    assert step.close([False, False, True], usual="batch", at=1.0) == (False, False, True, True)
    for rank in (-1, 2, -1):
        step.refuse(rank, "r")
    assert step.open() == {"batch": 3}
    assert step.open() == {}
    assert said == ["batch", "batch"]


def test_the_same_words_do_for_a_moment():
    step, said = doorstep()
    for at in (1.0, 1.0 + LASTS / 2, 1.0 + 1.5 * LASTS):
        step.close([False, True, True], usual="normal", at=at)
        step.refuse(1, "r")
        step.refuse(1, "s")
    assert said == ["normal", "normal"]
    assert step.open() == {"normal": 6}


def test_where_there_is_a_place_for_all_nobody_is_refused():
    step, _ = doorstep()
    assert step.close([False, False, False], usual="normal", at=1.0) is None


@pytest.mark.row("EMG-09", "EMG-12")
def test_a_crowd_is_turned_away_on_the_doorstep_and_every_one_is_counted(tmp_path, monkeypatch):
    early, answers, parsed = [], [], []
    refuse, take, plain = Doorstep.refuse, open_loop.Answer, Road.plain

    def noted(line, status, **more):
        answers.append((status, more["said"]))
        return take(line, status, **more)

    monkeypatch.setattr(Doorstep, "refuse", lambda *given: early.append(given[1]) or refuse(*given))
    monkeypatch.setattr(Road, "plain", lambda *given: parsed.append(given[1]) or plain(*given))
    monkeypatch.setattr(open_loop, "Answer", noted)
    with served(tmp_path, overload__calm=0.5, overload__settle=0.5) as house:
        house.keep("spins", SPINS)
        key = f"{KEY_HEADER}: {house.client.headers[KEY_HEADER]}\r\n".encode()
        port = int(house.url.rpartition(":")[2])
        caller, late = (open_loop.Caller(port, "spins", more=key + more) for more in (b"", b"x-came: late\r\n"))
        second = threading.Timer(0.7, open_loop.push, (late, {"batch": 300.0}, 0.8))
        second.start()
        open_loop.push(caller, {"critical": 50.0, "normal": 2000.0, "batch": 500.0}, 2.0)
        second.join()
        caller.close()
        late.close()
        assert len(parsed) < 50, "a head that is known is not parsed again, whoever was refused first with it"
        shed = [said for status, said in answers if status == 503]
        assert {status for status, _ in answers} == {200, 503}
        assert len(early) > len(shed) / 4
        names = {re.search(rb"x-request-id: (\S+)", said)[1] for _, said in answers}
        assert len(names) == len(answers)
        for said in shed:
            head, _, body = said.partition(b"\r\n\r\n")
            told = json.loads(body)["error"]
            assert told["code"] == "overloaded"
            assert told["request_id"].encode() in head
            assert b"\r\nretry-after: " in head
        counts = house.get("/metrics").text
        told = [line for line in counts.splitlines() if 'status="503"' in line and "/predict" in line]
        assert sum(float(line.rsplit(" ", 1)[1]) for line in told) == len(shed)
        by = re.findall(r'^modelkeep_shed_total\{[^}]*model="spins"[^}]*\} (\S+)', counts, re.MULTILINE)
        assert sum(map(float, by)) == len(shed)
