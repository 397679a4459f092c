"""What the owner of a drilling fleet may set: thresholds, weights and windows, with one documented default each.

Every one is read from an environment variable of the operations guide (``ML_ALERT_THRESHOLD``, ...); what is not set
has the default below. Nothing else in the workload holds a limit of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from modelkeep import BadSettings

NAMES: Mapping[str, str] = {
    "enabled": "ML_ENABLED",
    "cache_ttl": "ML_FEATURE_CACHE_TTL",
    "alert_threshold": "ML_ALERT_THRESHOLD",
    "confidence": "ML_CONFIDENCE_THRESHOLD",
    "window_days": "FEATURE_WINDOW_SIZE",
    "current_weight": "CURRENT_STABILITY_WEIGHT",
    "battery_weight": "BATTERY_PERFORMANCE_WEIGHT",
    "gps_weight": "GPS_RELIABILITY_WEIGHT",
    "cooldown_hours": "ALERT_COOLDOWN_HOURS",
    "most_alerts": "ALERT_MAX_PER_DEVICE",
    "critical": "CRITICAL_HEALTH_THRESHOLD",
    "high": "HIGH_ALERT_THRESHOLD",
    "standby_amp": "DRILLING_STANDBY_AMP",
    "spin_amp": "DRILLING_SPIN_AMP",
    "drill_amp": "DRILLING_DRILL_AMP",
    "gap": "DRILLING_SESSION_GAP_S",
}
"""The environment variable of each limit."""


class Limits(Struct, frozen=True, kw_only=True):
    """The limits of the workload.

    ``cache_ttl`` seconds a device's features are kept; ``alert_threshold`` the health (0-100) below which a device is
    of interest (medium), ``high`` and ``critical`` the two below it; ``confidence`` the least confidence of an alert;
    ``window_days`` of telemetry make the features (hourly aggregates), and as much history makes a score fully
    confident. The three weights add up to 1. A device is told of at most ``most_alerts`` times in ``cooldown_hours``.
    Operating states by current in A: above ``standby_amp`` standby, above ``spin_amp`` spinning, above ``drill_amp``
    drilling, else off. A pause of more than ``gap`` seconds ends a session.
    """

    enabled: bool = True
    cache_ttl: float = 3600.0
    alert_threshold: float = 70.0
    high: float = 50.0
    critical: float = 30.0
    confidence: float = 0.6
    window_days: float = 30.0
    current_weight: float = 0.4
    battery_weight: float = 0.4
    gps_weight: float = 0.2
    cooldown_hours: float = 24.0
    most_alerts: int = 5
    standby_amp: float = 0.5
    spin_amp: float = 2.0
    drill_amp: float = 4.5
    gap: float = 30.0

    def __post_init__(self) -> None:
        if abs(self.current_weight + self.battery_weight + self.gps_weight - 1) > 1e-9:
            raise BadSettings("the weights of the health score do not add up to 1", remedy="set all three *_WEIGHT")
        if not self.standby_amp < self.spin_amp < self.drill_amp:
            raise BadSettings("the current thresholds do not rise", remedy="set DRILLING_*_AMP in rising order")
        if not self.critical < self.high < self.alert_threshold:
            raise BadSettings("the alert thresholds do not rise", remedy="critical < high < ML_ALERT_THRESHOLD")


def from_environment(environment: Mapping[str, str] = os.environ) -> Limits:
    """The limits as the environment sets them.

    >>> from_environment({"ML_ALERT_THRESHOLD": "65"}).alert_threshold
    65.0

    Raises BadSettings naming the variable, the value and what is expected.
    """
    said = {field: environment[name].strip() for field, name in NAMES.items() if environment.get(name, "").strip()}
    try:
        return msgspec.convert(said, Limits, strict=False)
    except msgspec.ValidationError as wrong:
        names = ", ".join(f"{NAMES[field]}={value}" for field, value in said.items())
        raise BadSettings(f"the drilling limits {names}: {wrong}", remedy="see docs/workloads/drilling.md") from None
