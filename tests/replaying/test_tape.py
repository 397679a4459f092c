"""A tape asks rows in order, and version 1 learns only from what had been told."""

import pytest
from worlds import DAY, START

from modelkeep import BadInput, TrainingRows
from modelkeep.quantities import HOUR
from modelkeep.replaying.tape import Tape, step_for


def rows(at, *, late):
    return TrainingRows(
        columns={"x": [float(i) for i in range(len(at))]},
        truth=[float(i) for i in range(len(at))],
        keys=["a"] * len(at),
        at=list(at),
        told=[moment + late for moment in at],
    )


def test_version_1_learns_only_from_what_was_told_before_the_start():
    tape = Tape(rows([START + i * HOUR for i in range(100)], late=10 * HOUR))
    learnt = tape.learnt(START + 50 * HOUR)
    assert learnt.at[-1] == START + 40 * HOUR
    assert max(learnt.told) <= START + 50 * HOUR


def test_rows_are_asked_in_order_once_and_in_groups_no_wider_than_asked():
    at = [START + i * 600.0 for i in range(200)]
    tape = Tape(rows(at[::-1], late=HOUR))
    ticks = list(tape.ticks(START + HOUR, START + 5 * HOUR, width=HOUR))
    places = [place for tick in ticks for place in range(tick.first, tick.end)]
    assert places == list(range(6, 30))
    assert all(tape.at[tick.end - 1] - tape.at[tick.first] <= HOUR for tick in ticks)


def test_the_step_follows_the_density_of_the_rows():
    dense = [START + i * 1800.0 for i in range(48 * 30)]
    daily = [START + i * DAY for i in range(400)]
    assert step_for(START, START + 30 * DAY, at=dense) == HOUR
    assert step_for(START, START + 400 * DAY, at=daily) == DAY
    assert (400 * DAY * 10) / step_for(START, START + 4000 * DAY, at=daily) <= 1500


def test_a_table_of_one_moment_cannot_be_replayed():
    with pytest.raises(BadInput, match="one moment"):
        Tape(rows([START] * 40, late=0.0)).beginning(None)


def test_a_start_outside_the_rows_is_refused():
    tape = Tape(rows([START + i * HOUR for i in range(100)], late=0.0))
    with pytest.raises(BadInput, match="cannot begin"):
        tape.beginning(START - DAY)
