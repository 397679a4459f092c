"""Failures, anomalies, health and maintenance of devices that report metrics (docs/workloads/devices.md)."""

from modelkeep import Field, Recipe, Schedule, Workload
from modelkeep.workloads.devices import (
    health_acts,
    keeping,
    panel,
    planning,
    prediction_acts,
    reading_acts,
    training_acts,
    watching,
)
from modelkeep.workloads.devices.sources import SOURCES

_REPLAY = ("event_time", "entity", "label", "label_time")

WORKLOAD = Workload(
    name="devices",
    summary="Device failures, anomalies, health scores and maintenance",
    sources=SOURCES,
    operations=(
        *reading_acts.OPERATIONS,
        *prediction_acts.OPERATIONS,
        *training_acts.OPERATIONS,
        *health_acts.OPERATIONS,
    ),
    recipes=(
        Recipe(
            model=keeping.MODEL,
            summary="Does a device fail within 14 days? Ranked under an alert budget",
            columns=(
                Field(name="device_id", kind="text", nullable=True),
                Field(name="timestamp", kind="number", unit="s since 1970", nullable=True),
                Field(name="failure", kind="number", low=0, high=1, nullable=True),
            ),
            prepare="modelkeep.workloads.devices.training:prepare",
            policy=planning.POLICY,
            simulate="modelkeep.workloads.devices.simulator:simulate",
            forms=tuple((*_REPLAY, metric) for metric in ("error_rate", "battery_level", "attribute4")),
        ),
    ),
    policies=(planning.POLICY,),
    rules=watching.RULES,
    probes=(watching.fleet_health, watching.silence),
    tasks={
        "devices_weekly": planning.weekly,
        "devices_monthly": planning.monthly,
        "devices_daily": planning.daily,
    },
    schedules={
        "devices_weekly": planning.WEEKLY,
        "devices_monthly": planning.MONTHLY,
        "devices_daily": Schedule(task="devices_daily", when="30 5 * * *"),
    },
    panel=panel.panel,
    play="modelkeep.workloads.devices.playing:play",
)
