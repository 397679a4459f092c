"""Readings of real homes: text states, missing values, units, aliases, doubled ids."""

import math

import numpy as np
import pytest
from homes import DAY, records, states

from modelkeep import BadInput, Refused, TrainingRows
from modelkeep.runtimes import examining
from modelkeep.workloads.devices.fleet import fleet_of
from modelkeep.workloads.devices.metrics import converted, metric_name, number_of
from modelkeep.workloads.devices.readings import rows_of


def tall(*rows):
    names = ("device_id", "metric_name", "metric_value", "metric_unit", "timestamp")
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def test_states_of_a_real_home_are_counted_and_never_become_zero():
    found = rows_of(states())
    assert found.rows == 219
    assert len(found.taken) + sum(found.missing.values()) == 219
    said = dict.fromkeys(("unknown", "unavailable"), 0)
    for reason, count in found.missing.items():
        said[reason.partition(":")[0]] += count
    assert said == {"unknown": 27, "unavailable": 52}
    assert not [one for one in found.taken if one.metric == "battery_level" and one.value == 0]
    warm = [one.value for one in found.taken if one.metric == "temperature"]
    assert warm
    assert all(15 < value < 45 for value in warm)  # Fahrenheit became Celsius
    assert {one.value for one in found.taken if one.metric == "voltage"} == {3.035, 3.012}
    assert found.converted == {
        "temperature from °F": 17, "current from mA": 9, "data_transfer_rate from Mbit/s": 6, "voltage from mV": 2,
    }  # fmt: skip
    assert len(found.mains) == 7  # 100 % at each of three snapshots


def test_a_collector_that_writes_one_row_again_and_again_is_refused():
    rows = records("bad_empty_features")
    with pytest.raises(BadInput, match="all 9000 rows are the same"):
        fleet_of({name: [row[name] for row in rows] for name in ("device_id", "entity_id")} | {"timestamp": [0] * 9000})


def test_one_id_in_several_homes_is_named():
    table = tall(("a", "rssi", -60, "dBm", 0.0), ("a", "rssi", -70, "dBm", 60.0), ("b", "rssi", -60, "dBm", 0.0))
    assert rows_of({**table, "home_id": ["x", "y", "x"]}).duplicates == ("a",)
    twice = tall(("a", "rssi", -60, "dBm", 0.0), ("a", "rssi", -70, "dBm", 0.0), ("b", "rssi", -60, "dBm", 0.0))
    assert rows_of(twice).duplicates == ("a",)


@pytest.mark.parametrize(
    ("metric", "value", "unit", "expected"),
    [
        ("temperature", 212.0, "°F", 100.0),
        ("temperature", 300.0, "K", 26.85),
        ("voltage", 3012.0, "mV", 3.012),
        ("energy", 1500.0, "Wh", 1.5),
        ("response_time", 0.25, "s", 250.0),
        ("error_rate", 5.0, "%", 0.05),
        ("battery_level", 0.5, "fraction", 50.0),
        ("data_transfer_rate", 8.0, "Mbit/s", 1000.0),
        ("uptime_hours", 2.0, "days", 48.0),
        ("attribute7", 3.0, "widgets", 3.0),
    ],
)
def test_units_are_converted(metric, value, unit, expected):
    found = converted(value, metric=metric, unit=unit)
    assert math.isclose(found, expected)


def test_what_cannot_be_is_missing_with_its_reason():
    table = tall(
        ("a", "battery", 105, "%", 0.0), ("a", "latency", 5, "furlongs", 0.0), ("a", "battery", "much", "%", 0.0),
        ("a", "battery", None, "%", 0.0), ("", "battery", 5, "%", 0.0), ("a", "battery", 0, "%", 0.0),
    )  # fmt: skip
    found = rows_of(table)
    assert [one.value for one in found.taken] == [0.0]  # a zero that was measured stays one
    assert sum(found.missing.values()) == 5
    assert any("not in 0..100" in reason for reason in found.missing)
    assert any("unknown unit" in reason for reason in found.missing)


def test_names_and_states_are_understood():
    assert [metric_name(name) for name in ("Latency", "RSSI", "delay", "Battery")] == [
        "response_time", "signal_strength", "response_time", "battery_level",
    ]  # fmt: skip
    assert [number_of(state) for state in ("on", "off", "Unavailable", "21.5", True, math.inf)] == [
        1.0, 0.0, None, 21.5, 1.0, None,
    ]  # fmt: skip


def test_both_layouts_give_the_same_fleet():
    wide = {"device_id": ["a", "a", "b"], "timestamp": [0.0, DAY, 0.0], "rssi": [-60.0, -61.0, -50.0]}
    long = tall(("a", "rssi", -60, "dBm", 0.0), ("a", "rssi", -61, "dBm", DAY), ("b", "rssi", -50, "dBm", 0.0))
    one, other = fleet_of(wide), fleet_of(long)
    assert one.names == other.names
    assert np.array_equal(one.metrics["signal_strength"], other.metrics["signal_strength"])


def test_a_label_that_is_a_formula_of_its_inputs_is_refused():
    rows = records("large_training_data")
    inputs = ("response_time", "error_rate", "battery_level", "signal_strength", "usage_frequency", "connection_drops")
    truth = [float(row["error_rate"] > 0.1 or row["battery_level"] < 20 or row["response_time"] > 2000) for row in rows]
    found = TrainingRows(
        columns={name: [row[name] for row in rows] for name in inputs},
        truth=truth,
        keys=[row["device_id"] for row in rows],
        at=[float(place) for place in range(len(rows))],
    )
    with pytest.raises(Refused, match="formula of its inputs"):
        examining.formulas(found)
