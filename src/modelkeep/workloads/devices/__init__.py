"""Failures, anomalies, health and maintenance of devices that report metrics (docs/workloads/devices.md)."""

from modelkeep import Schedule, Workload
from modelkeep.workloads.devices import (
    health_acts,
    panel,
    personal,
    planning,
    prediction_acts,
    reading_acts,
    training_acts,
    watching,
)
from modelkeep.workloads.devices.sources import SOURCES

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
    recipes=(planning.RECIPE,),
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
    personal=(personal.PERSONAL,),
    panel=panel.panel,
    play="modelkeep.workloads.devices.playing:play",
)
