"""Health, remaining life, anomalies and predictive alerts of machines that send telemetry."""

from modelkeep import Workload

WORKLOAD = Workload(name="drilling", summary="Machine health, remaining life and predictive alerts from telemetry")
