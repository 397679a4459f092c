"""Failures, anomalies, health and maintenance of devices that report metrics."""

from modelkeep import Workload

WORKLOAD = Workload(name="devices", summary="Device failures, anomalies, health scores and maintenance")
