import math
from pathlib import Path

import pytest

from modelkeep.nouns import Policy
from modelkeep.profile import Sums
from modelkeep.watch import MEASURES

TEXT = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()


def windows(build):
    columns = {"age": [1.0, 2.0] * 10, "town": ["a", "b"] * 10, "delay": [1.0, 2.0] * 10}
    reference = build.reference(columns)
    numbers = {
        "model": Sums(n=20, absolute=20.0, square=30.0, truth=5.0, truth_square=90.0, relative_n=3, relative=1.0)
    }
    classes = {"model": Sums.of("yes", "no")}
    for errors, version in ((numbers, build.version(mae=1.0)), (classes, build.version(signature=build.classes))):
        for n in (0, 5, 20, 500):
            hours = [
                build.slice(h, n=n, seconds=[0.1] * n, errors=errors, columns=columns, reference=reference)
                for h in range(0, 168, 6)
            ]
            yield build.window(hours, version=version, reference=reference, policy=Policy(model="m"))
    yield build.window()


def readings(build):
    return [reading for window in windows(build) for measure in MEASURES for reading in measure(window)]


def test_every_reading_of_every_measure_is_documented(build):
    names = {reading.name for reading in readings(build)}
    assert len(names) >= 20
    for name in names:
        assert f"`{name}`" in TEXT, f"docs/watching.md does not describe {name}"


@pytest.mark.parametrize("name", ["records_held", "records_dropped", "store", "artifact"])
def test_the_servers_readings_are_documented(name):
    assert f"`{name}`" in TEXT


def test_every_reading_is_honest_and_says_a_sentence(build):
    for reading in readings(build):
        assert reading.subject == "m@2"
        assert reading.detail, reading.name
        assert (reading.value is None) == (reading.level == "unknown"), reading
        assert reading.value is None or math.isfinite(reading.value)
        assert reading.interval is None or reading.interval[0] <= reading.value <= reading.interval[1], reading
        assert "  " not in reading.detail
        assert "\n" not in reading.detail
