"""What a terminal of 80 columns shows."""

import pytest

from modelkeep.edge.cli import _ordered
from modelkeep.edge.cli.show import facts, table

ROWS = [
    {"id": "retrain-flights-034d7c877b", "state": "running", "at": "2013-08-29T13:00:00.000Z", "seconds": 532800.0,
     "share": 0.0, "message": "flights@1 has lost skill: " + "an error of 33 min " * 7 + "\nSince then.", "who": None},
    {"id": "deliver-since-every_5s-UTC", "state": "done", "at": "2013-08-29T14:00:00.000Z", "seconds": 0.0,
     "share": 0.0, "message": "", "who": None},
]  # fmt: skip
COLUMNS = ("id", "state", "at", "took=seconds", "share", "who", "deeper=a.b", "~message")


@pytest.mark.parametrize("width", [60, 80, 120, 240])
def test_no_line_is_wider_than_the_terminal(width):
    lines = list(table(ROWS, columns=COLUMNS, width=width))
    assert max(len(line.rstrip()) for line in lines) <= width
    assert "flights@1 has lost skill" in " ".join(lines)
    assert "Since then" not in " ".join(lines)


def test_what_says_nothing_is_left_out():
    head, first, *_ = table(ROWS, columns=COLUMNS, width=80)
    assert head.split() == ["id", "state", "at", "took"]
    assert first.split() == ["retrain-flights-034d7c877b", "running", "2013-08-29", "13:00:00Z", "6d4h"]


def test_what_does_not_fit_stands_below_its_row_with_its_name():
    lines = list(table(ROWS, columns=COLUMNS, width=60))
    assert lines[0].split() == ["id", "state", "at"]
    assert lines[2].strip() == "took 6d4h"


def test_facts_are_folded_and_keep_what_is_to_be_copied_whole():
    digest = "afb80064c100be21808e67d46a884e572b8eb57d1e57ba01a44d6d755593b471"
    data = {
        "why": "skill " * 30, "artifact": digest, "since": 1378314000.0, "window": 864000.0, "empty": {"a": None},
        "causes": ["flights is stopped: no server runs on this folder"], "rollout": {"since": 1378314000.0},
    }  # fmt: skip
    lines = list(facts(data, width=80))
    assert max(map(len, lines)) <= 80
    assert any(digest in line for line in lines)
    assert "since     2013-09-04 17:00:00Z" in lines
    assert "window    10d" in lines
    assert "rollout   since 2013-09-04 17:00:00Z" in lines
    assert "  - flights is stopped: no server runs on this folder" in lines
    assert not any(line.startswith("empty") for line in lines)


@pytest.mark.parametrize(
    ("words", "ordered"),
    [
        ("-C data status", "status -C data"),
        ("--folder=data --json alerts list", "alerts list --folder=data --json"),
        ("status -C data", "status -C data"),
        ("--server http://h models", "models --server http://h"),
        ("--wrong models", "--wrong models"),
        ("-C data", "-C data"),
    ],
)
def test_common_options_may_stand_before_the_command(words, ordered):
    assert _ordered(words.split()) == ordered.split()
