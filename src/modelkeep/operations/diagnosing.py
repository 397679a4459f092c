"""What is wrong, and what to do about it: of one model, of the machine; and the emergency of a model that fails."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Annotated, Literal

import psutil
from msgspec import Meta, Struct

from modelkeep.errors import Conflict, NotFound
from modelkeep.jobs import diagnosing
from modelkeep.jobs.diagnosing import Diagnosis
from modelkeep.nouns import Rollout
from modelkeep.operations import jobs
from modelkeep.operations.act import By, ModelName, Operation
from modelkeep.operations.models import known
from modelkeep.profile import merged
from modelkeep.quantities import DAY

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.store.seams import Ledger

MB = 2**20
NEEDED = 1.5
"""A model that takes longer than this times its threshold needs work."""
PRESSURE = 80.0
"""Per cent of memory in use from which something should be let go."""
Rating = Literal["excellent", "good", "slow", "poor", "unknown"]


class DiagnoseModel(Struct, frozen=True, kw_only=True):
    """Which model, and which version of it (0: the one that answers, or the newest)."""

    model: ModelName
    version: Annotated[int, Meta(description="Number of the version", ge=0, le=2**31)] = 0


class DiagnosePerformance(Struct, frozen=True, kw_only=True):
    """Nothing to say: the machine and all models."""


class DeclareEmergency(Struct, frozen=True, kw_only=True):
    """Which model fails, and why."""

    model: ModelName
    why: Annotated[str, Meta(description="The reason, kept in the audit chain", min_length=1, max_length=2000)]
    by: By = ""


class DeviceCapabilities(Struct, frozen=True, kw_only=True):
    """What the machine has."""

    cpu_cores: int
    memory_mb: float
    architecture: str


class Speed(Struct, frozen=True, kw_only=True):
    """How fast a model is: its mean time in ms over 24 h and ``n`` calls, beside the limit of its policy.

    ``performance_rating``: excellent up to half of the threshold, good up to it, slow up to 1.5 times, else poor.
    """

    average_inference_time: float | None
    n: int
    threshold: float
    within_threshold: bool | None
    performance_rating: Rating
    optimization_needed: bool | None


class MemoryUsage(Struct, frozen=True, kw_only=True):
    """Memory of the machine, and of this process."""

    percent: float
    available_mb: float
    process_mb: float


class NetworkConditions(Struct, frozen=True, kw_only=True):
    """What the server last measured of its doors: null where it measured nothing, or none runs."""

    rate_bytes_per_second: float | None
    api_latency_p95_ms: float | None
    api_error_rate: float | None


class Advice(Struct, frozen=True, kw_only=True):
    """What to do, and the command that does or begins it."""

    text: str
    command: str


class PerformanceAnalysis(Struct, frozen=True, kw_only=True):
    """The machine, every model's speed, memory, network, and what follows from it."""

    device_capabilities: DeviceCapabilities
    model_performance: dict[str, Speed]
    memory_usage: MemoryUsage
    network_conditions: NetworkConditions
    recommendations: tuple[Advice, ...]


def diagnose_model(app: App, request: DiagnoseModel) -> Diagnosis:
    """Find out what is wrong with a model: is its file there, whole and unchanged, does it load and answer in time?

    It is loaded beside the one that answers. Raises NotFound for an unknown model or version.
    """
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        rollout = ledger.rollouts.get(request.model)
        newest = ledger.versions.all(request.model)[-1].number
        number = request.version or (rollout.champion if rollout else newest)
        version = ledger.versions.get(request.model, number)
        policy = ledger.versions.policy(request.model, rollout.policy if rollout else None)
    return diagnosing.diagnose(app.rooms, version, policy=policy)


def diagnose_performance(app: App, _: DiagnosePerformance) -> PerformanceAnalysis:
    """Analyse how the machine and every model perform, and say what to do about it."""
    memory = psutil.virtual_memory()
    with app.rooms.store.read() as ledger:
        speeds = {one.model: _speed(ledger, one, now=app.rooms.clock.now()) for one in ledger.rollouts.all()}
        network = _network(ledger)
    usage = MemoryUsage(
        percent=memory.percent,
        available_mb=memory.available / MB,
        process_mb=psutil.Process().memory_info().rss / MB,
    )
    return PerformanceAnalysis(
        device_capabilities=DeviceCapabilities(
            cpu_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            memory_mb=memory.total / MB,
            architecture=platform.machine(),
        ),
        model_performance=speeds,
        memory_usage=usage,
        network_conditions=network,
        recommendations=_advised(speeds, usage),
    )


def declare_emergency(app: App, request: DeclareEmergency) -> jobs.JobView:
    """Take a failing model out: disable it, tell engineers and users, diagnose it, and bring back what is sound.

    Its fallback answers meanwhile. The work is a job: the restoration is tried every minute for a day. Raises NotFound
    for an unknown model, Conflict when it is disabled already.
    """
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        rollout = ledger.rollouts.get(request.model)
        if rollout is None:
            released = [one.model for one in ledger.rollouts.all()]
            raise NotFound("released model", request.model, known=released)
        if rollout.disabled:
            remedy = f"modelkeep jobs history emergency, or modelkeep enable {request.model}"
            raise Conflict(f"{request.model} is disabled already: {rollout.disabled}", remedy=remedy)
    arguments: dict[str, str | float | bool | None] = {"model": request.model, "why": request.why, "by": request.by}
    return jobs.run_task(app, jobs.RunTask(name="emergency", arguments=arguments, subject=request.model, by=request.by))


def _speed(ledger: Ledger, rollout: Rollout, *, now: float) -> Speed:
    policy = ledger.versions.policy(rollout.model, rollout.policy)
    slices = ledger.records.slices(rollout.model, rollout.champion, role="champion", start=now - DAY, end=now + 1)
    profile = merged(one.profile for one in slices)
    return rated(profile.mean_seconds, n=int(profile.latency.sum()), limit=policy.limit)


def rated(seconds: float | None, *, n: int, limit: float) -> Speed:
    """A mean time beside its limit.

    >>> rated(1.4, n=5, limit=1.0).optimization_needed, rated(1.6, n=5, limit=1.0).optimization_needed
    (False, True)
    """
    share = None if seconds is None else seconds / limit
    rating: Rating = "unknown"
    if share is not None:
        rating = "excellent" if share <= 0.5 else "good" if share <= 1 else "slow" if share <= NEEDED else "poor"
    return Speed(
        average_inference_time=None if seconds is None else 1000 * seconds,
        n=n,
        threshold=1000 * limit,
        within_threshold=None if share is None else share <= 1,
        performance_rating=rating,
        optimization_needed=None if share is None else share > NEEDED,
    )


def _network(ledger: Ledger) -> NetworkConditions:
    newest = {one.name: one.value for one in ledger.readings.newest("server")}
    latency = newest.get("api_latency_p95")
    return NetworkConditions(
        rate_bytes_per_second=newest.get("network_rate"),
        api_latency_p95_ms=None if latency is None else 1000 * latency,
        api_error_rate=newest.get("api_error_rate"),
    )


def _advised(speeds: dict[str, Speed], memory: MemoryUsage) -> tuple[Advice, ...]:
    found = [
        Advice(text=f"{model} takes {one.average_inference_time:.3g} ms, allowed are {one.threshold:.3g} ms",
               command=f"modelkeep diagnose model {model}")
        for model, one in speeds.items() if one.within_threshold is False
    ]  # fmt: skip
    if memory.percent > PRESSURE:
        said = f"{memory.percent:.0f} % of the memory is in use: let go of models that nobody asks"
        found.append(Advice(text=said, command="modelkeep models loaded"))
    return tuple(found)


def _finding(found: Diagnosis) -> str:
    return "\n".join(f"{one.question}: {one.detail}" for one in found.findings if one.fine is False)


OPERATIONS = (
    Operation(
        name="diagnose_model", method="GET", path="/v1/diagnosis/models/{model}", request=DiagnoseModel,
        result=Diagnosis, run=diagnose_model, words=("diagnose", "model"), plain=("model",), finding=_finding,
    ),
    Operation(
        name="diagnose_performance", method="GET", path="/v1/diagnosis/performance", request=DiagnosePerformance,
        result=PerformanceAnalysis, run=diagnose_performance, words=("diagnose", "performance"),
    ),
    Operation(
        name="emergency", method="POST", path="/v1/models/{model}/emergency", request=DeclareEmergency,
        result=jobs.JobView, run=declare_emergency, words=("emergency",), plain=("model",), status=202,
    ),
)  # fmt: skip
