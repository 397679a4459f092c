"""``/metrics`` for Prometheus: what the doors counted and what the readings say, gathered at each scrape.

Names and labels that start with ``ml_`` are those that the outside world already scrapes: ``model_type`` is the
model's name, ``restaurant_id`` the entity (the request's key).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from anyio import to_thread
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from modelkeep.edge.gauges import Gated
from modelkeep.edge.tallies import tally_of
from modelkeep.edge.traffic import Durations, Tally, Traffic
from modelkeep.errors import StoreUnavailable
from modelkeep.nouns import LEVELS
from modelkeep.store.repeating import repeated

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.nouns import Reading, Rollout, Version

K = TypeVar("K", bound=tuple[str, ...])
_ENTITY = ["model_type", "restaurant_id"]


def endpoint(app: App, traffic: Traffic) -> Callable[[Request], Awaitable[Response]]:
    """The route ``/metrics``, over a registry of its own."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Counted(traffic))
    registry.register(Known(app, traffic))
    registry.register(Gated(app))
    ProcessCollector(registry=registry)

    async def scrape(_: Request) -> Response:
        content = await to_thread.run_sync(generate_latest, registry)
        return Response(content, headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    return scrape


def kind_of(model: str) -> str:
    """The kind of a model that there is one of for each entity: its name without the entity.

    >>> kind_of("demand/17"), kind_of("churn")
    ('demand', 'churn')
    """
    return model.rpartition("/")[0] or model


class Counted(Collector):
    """What the doors counted, in every process that answers on these ports."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def collect(self) -> Iterator[Metric]:
        """The counters and histograms as they are now (copies: the event loop goes on counting)."""
        traffic = self._traffic.whole(self._traffic.others())
        requests = CounterMetricFamily("ml_api_requests", "Requests answered", labels=["method", "endpoint", "status"])
        for (method, route, status), count in list(traffic.requests.items()):
            requests.add_metric([method, route, str(status)], count)
        yield requests
        durations = {(method, route): found for (method, route), found in list(traffic.durations.items())}
        yield _histogram(
            "ml_api_request_duration_seconds", "Seconds to answer", labels=["method", "endpoint"], found=durations
        )
        running = max(traffic.running - 1, 0)  # the scrape itself is no work
        yield GaugeMetricFamily("ml_api_concurrent_requests", "Requests being answered", value=running)
        predictions = CounterMetricFamily("ml_predictions", "Predictions answered", labels=_ENTITY)
        for model, entities in list(traffic.predictions.items()):
            for key, count in list(entities.items()):
                predictions.add_metric([model, key], count)
        yield predictions
        models = {(model,): found for model, found in list(traffic.models.items())}
        yield _histogram(
            "model_prediction_duration_seconds", "Seconds of a model's call", labels=["model_name"], found=models
        )


class Known(Collector):
    """What the server knows: loaded models, and the newest readings."""

    def __init__(self, app: App, traffic: Traffic) -> None:
        self._app, self._traffic = app, traffic

    def collect(self) -> Iterator[Metric]:
        """The gauges as they are now; without the store, those that need it are absent rather than wrong."""
        tallies = (tally_of(self._app, self._traffic), *self._traffic.others())
        yield self._loaded()
        yield self._fallbacks(tallies)
        held, spooled = sum(one.held for one in tallies), sum(one.spooled for one in tallies)
        yield GaugeMetricFamily("modelkeep_records_held", "Records waiting in memory", value=held)
        yield GaugeMetricFamily("modelkeep_records_spooled", "Records waiting on disk", value=spooled)
        dropped = sum(one.dropped for one in tallies)
        yield CounterMetricFamily("modelkeep_records_dropped", "Records lost", value=dropped)
        try:
            readings, rollouts, champions = repeated(self._kept)
        except StoreUnavailable:
            return
        yield from _readings(readings)
        yield from _errors(readings, rollouts=rollouts, champions=champions)

    def _kept(self) -> tuple[list[Reading], list[Rollout], list[Version]]:
        with self._app.rooms.store.read() as ledger:
            rollouts = ledger.rollouts.all()
            champions = [ledger.versions.get(rollout.model, rollout.champion) for rollout in rollouts]
            return ledger.readings.newest(), rollouts, champions

    def _loaded(self) -> Metric:
        family = GaugeMetricFamily("ml_active_models", "Models in memory", labels=["model_type"])
        for kind, count in Counter(map(kind_of, self._app.rooms.router.shelf.models)).items():
            family.add_metric([kind], count)
        return family

    def _fallbacks(self, tallies: Iterable[Tally]) -> Metric:
        family = CounterMetricFamily("ml_fallback", "Answers by a stand-in", labels=["model", "reason"])
        counts: Counter[tuple[str, str]] = Counter()
        for tally in tallies:
            counts.update(dict(tally.fallbacks))
        for (model, reason), count in counts.items():
            family.add_metric([model, reason], count)
        return family


def _readings(readings: list[Reading]) -> Iterator[Metric]:
    values = GaugeMetricFamily("modelkeep_reading", "Newest value of a reading", labels=["name", "subject"])
    levels = GaugeMetricFamily(
        "modelkeep_reading_level", "Its level: 0 ok, 1 unknown, 2 warning, 3 critical", labels=["name", "subject"]
    )
    for reading in readings:
        labels = [reading.name, reading.subject]
        if reading.value is not None:
            values.add_metric(labels, reading.value)
        levels.add_metric(labels, LEVELS.index(reading.level))
    yield values
    yield levels


def _errors(readings: list[Reading], *, rollouts: list[Rollout], champions: list[Version]) -> Iterator[Metric]:
    """The champions' error now and in training, and whether it has risen."""
    newest = {(reading.name, reading.subject): reading for reading in readings}
    now = GaugeMetricFamily("ml_model_mae", "Mean absolute error of the champion now", labels=_ENTITY)
    then = GaugeMetricFamily("ml_model_training_mae", "The same on its held-out data", labels=_ENTITY)
    risen = GaugeMetricFamily("ml_model_drift_detected", "1 when the champion's error has risen", labels=_ENTITY)
    accuracy = GaugeMetricFamily("model_accuracy", "Accuracy of the champion now", labels=["model_name", "version"])
    promised = GaugeMetricFamily(
        "model_training_accuracy", "The same on its held-out data", labels=["model_name", "version"]
    )
    for rollout, version in zip(rollouts, champions, strict=True):
        labels = [rollout.model, ""]
        exact = [rollout.model, str(version.number)]
        right = newest.get(("accuracy", version.name))
        if right is not None and right.value is not None:
            accuracy.add_metric(exact, right.value)
        if "accuracy" in version.baseline.metrics:
            promised.add_metric(exact, version.baseline.metrics["accuracy"])
        mae = newest.get(("mae", version.name))
        if mae is not None and mae.value is not None:
            now.add_metric(labels, mae.value)
        if "mae" in version.baseline.metrics:
            then.add_metric(labels, version.baseline.metrics["mae"])
        drift = newest.get(("error_drift", version.name))
        found = drift.facts.get("drift_detected") if drift is not None else None
        if found is not None:
            risen.add_metric(labels, float(bool(found)))
    yield now
    yield then
    yield risen
    yield accuracy
    yield promised


def _histogram(name: str, text: str, *, labels: list[str], found: Mapping[K, Durations]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, durations in found.items():
        family.add_metric(list(values), buckets=durations.buckets(), sum_value=durations.total)
    return family
