"""``/metrics`` of overload and of what is remembered: what an autoscaler scales by, and what was turned away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelkeep.runtimes import remembering
from modelkeep.serving.admission.pressure import STATES

if TYPE_CHECKING:
    from modelkeep.app import App


class Gated(Collector):
    """The gates of versions that take a line, and the caches."""

    def __init__(self, app: App) -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now. ``modelkeep_load`` is 1 where demand is what can be answered."""
        labels = ["model", "version"]
        load = GaugeMetricFamily("modelkeep_load", "Asked for over what can be answered", labels=labels)
        state = GaugeMetricFamily("modelkeep_overload_state", "0 normal, 1 recovering, 2 shedding", labels=labels)
        limit = GaugeMetricFamily("modelkeep_concurrency_limit", "Calls that may be under way", labels=labels)
        open_ = GaugeMetricFamily("modelkeep_concurrency", "Calls under way", labels=labels)
        shed = CounterMetricFamily("modelkeep_shed", "Requests turned away", labels=[*labels, "priority"])
        lowered = CounterMetricFamily(
            "modelkeep_lowered", "Requests answered by the lighter version", labels=[*labels, "priority"]
        )
        for view in self._app.rooms.gateway.admission.views():
            values = [view.model, str(view.version)]
            if view.load is not None:
                load.add_metric(values, view.load)
            state.add_metric(values, STATES.index(view.state))
            limit.add_metric(values, view.limit)
            open_.add_metric(values, view.open)
            for family, counts in ((shed, view.shed), (lowered, view.lowered)):
                for priority, count in counts.items():
                    family.add_metric([*values, priority], count)
        yield from (load, state, limit, open_, shed, lowered)
        yield from self._caches()

    def _caches(self) -> Iterator[Metric]:
        caches = self._app.rooms.gateway.caches
        hits = CounterMetricFamily("ml_cache_hits", "Lookups that found something", labels=["cache_type"])
        lookups = CounterMetricFamily("ml_cache_lookups", "Lookups", labels=["cache_type"])
        hits.add_metric(["prediction"], caches.hits)
        lookups.add_metric(["prediction"], caches.lookups)
        hits.add_metric(["feature"], remembering.COUNTS.hits)
        lookups.add_metric(["feature"], remembering.COUNTS.lookups)
        yield hits
        yield lookups
