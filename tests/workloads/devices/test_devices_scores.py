"""Health scores, the rule, and anomalies of a stream."""

import numpy as np
import pytest

from modelkeep.workloads.devices import risk, scores
from modelkeep.workloads.devices.streams import Stream

SOUND = {
    "response_time": 90.0, "error_rate": 0.005, "battery_level": 95.0, "signal_strength": -45.0, "usage_frequency": 0.9,
}  # fmt: skip


def test_a_score_is_the_weighed_sum_of_its_factors():
    assert scores.health(SOUND).overall_score == 100.0
    found = scores.health({**SOUND, "error_rate": 0.15, "signal_strength": -75.0})
    assert found.factor_scores["error_rate"] == 40.0
    assert found.overall_score == pytest.approx(25 + 0.3 * 40 + 20 + 0.15 * 40 + 10)
    assert sum(found.weights.values()) == pytest.approx(1.0)
    assert found.health_status == "fair"


def test_a_missing_metric_is_null_with_its_reason_and_the_others_share_its_weight():
    found = scores.health({**SOUND, "battery_level": None})
    assert found.factor_scores["battery_level"] is None
    assert found.reasons["battery_level"]
    assert found.overall_score == 100.0
    assert found.weights["error_rate"] == pytest.approx(0.3 / 0.8)
    nothing = scores.health({})
    assert (nothing.overall_score, nothing.health_status) == (None, "unknown")
    assert nothing.reason


def test_trends_add_and_take_points():
    worse = scores.health(SOUND, recent={"error_rate": [0.004, 0.0045, 0.005]})
    assert (worse.trend_adjustment, worse.overall_score) == (-10.0, 90.0)
    drained = scores.health(SOUND, recent={"battery_level": [100.0, 98.0, 94.0]})
    assert drained.trend_adjustment == -5.0
    charged = scores.health(SOUND, recent={"battery_level": [50.0, 95.0]})
    assert charged.trend_adjustment == 0.0
    assert scores.health(SOUND, recent={"signal_strength": [-55.0, -45.0]}).trend_adjustment == 5.0


def test_risk_levels_and_the_rule():
    assert [risk.risk_level(chance) for chance in (0.8, 0.6, 0.4, 0.2, 0.1, None)] == [
        "critical", "high", "medium", "low", "minimal", "unknown",
    ]  # fmt: skip
    everything = {
        "error_rate": 0.2, "battery_level": 10.0, "response_time": 1500.0, "signal_strength": -80.0,
        "connection_drops": 9.0,
    }  # fmt: skip
    assert risk.rule_chance(everything) == 1.0
    assert risk.rule_chance({"error_rate": None}) is None
    assert len(risk.recommendations(everything, chance=0.7)) == 6


def test_a_stream_is_told_its_anomaly_once_and_never_from_the_future():
    draw = np.random.default_rng(2)
    at = 300.0 * np.arange(4000)
    values = 20 + 3 * np.sin(2 * np.pi * at / 86400) + draw.normal(0, 0.3, 4000)
    values[3000:3020] += 12
    stream, again = Stream(spared=600), Stream(spared=600)
    said = [stream.update(value, at=when) for value, when in zip(values.tolist(), at.tolist(), strict=True)]
    found = [place for place, one in enumerate(said) if one.anomaly]
    assert found
    assert set(found) <= set(range(3000, 3020))
    assert [again.update(v, at=w) for v, w in zip(values[:3001].tolist(), at[:3001].tolist(), strict=True)] == (
        said[:3001]
    )
    assert stream.update(None, at=at[-1] + 300).score == 0.0
