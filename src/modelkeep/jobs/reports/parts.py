"""What a report says: seven parts, every number with what it stands on."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

Kind = Literal["daily", "weekly", "monthly", "performance"]
Better = Literal["less", "more", "neither"]


class Figure(Struct, frozen=True, kw_only=True):
    """One number of the time reported on, beside the same of as long a time before.

    ``value`` None is unknown, and ``detail`` says why. ``change`` is value - before; ``change_interval`` holds the true
    change with a confidence that all figures of the report share (95 % for all at once), None when it cannot be told.
    ``matters`` is the least change that anybody would care about. ``n`` is what it stands on, ``query`` the route that
    answers where it comes from, ``command`` the same as a command.
    """

    name: str
    subject: str
    value: float | None
    n: int
    unit: str = ""
    better: Better = "neither"
    before: float | None = None
    n_before: int = 0
    change: float | None = None
    change_interval: tuple[float, float] | None = None
    matters: float = 0.0
    detail: str = ""
    query: str = ""
    command: str = ""

    @property
    def supported(self) -> bool:
        """Whether the data says that it changed by more than does not matter."""
        ends = self.change_interval
        return ends is not None and (ends[0] > self.matters or ends[1] < -self.matters)

    @property
    def worse(self) -> bool:
        """Whether it certainly changed to the worse."""
        rose = (self.change or 0.0) > 0
        return self.supported and ((self.better == "less" and rose) or (self.better == "more" and not rose))


class Weights(Struct, frozen=True, kw_only=True):
    """With which weights an ensemble answered from a moment on."""

    at: datetime
    version: str
    weights: dict[str, float]


class ModelMetrics(Struct, frozen=True, kw_only=True):
    """How one model did; ``ensemble_weight_adjustments`` is empty where it is no ensemble, and ``note`` says so."""

    model: str
    version: str
    average_inference_time: Figure
    model_accuracy: Figure
    model_availability: Figure
    ensemble_weight_adjustments: tuple[Weights, ...]
    note: str = ""


class Failure(Struct, frozen=True, kw_only=True):
    """A prediction that failed, and why."""

    prediction_id: str
    model: str
    at: datetime
    error: str


class SystemMetrics(Struct, frozen=True, kw_only=True):
    """How the server did; of the last predictions of all models also the errors and the times (in ms)."""

    average_memory_usage: Figure
    cpu_utilization: Figure
    network_usage: Figure
    error_rate: Figure
    services: dict[str, str]
    last_errors: tuple[Failure, ...]
    last_processing_times_ms: tuple[float, ...]
    alerts: dict[str, int]


class UserMetrics(Struct, frozen=True, kw_only=True):
    """What those who ask got and said: predictions, feedback, mean rating (1 to 5), alerts that touched them.

    ``ratings`` counts the feedback by rating.
    """

    predictions: Figure
    feedback: Figure
    average_rating: Figure
    ratings: dict[str, int]
    user_alerts: Figure


class BusinessMetrics(Struct, frozen=True, kw_only=True):
    """What the owner of the service measures himself: every reading whose name begins with ``business_``."""

    figures: tuple[Figure, ...]
    note: str = ""


class Insight(Struct, frozen=True, kw_only=True):
    """A change that the data supports, in a sentence, with its evidence."""

    text: str
    worse: bool
    evidence: Figure


class Recommendation(Struct, frozen=True, kw_only=True):
    """What to do next, why, and the command that does or begins it."""

    text: str
    command: str
    why: str


class Delivery(Struct, frozen=True, kw_only=True):
    """Where the report is: its files in the data folder; the alert that tells of it, and to which channels."""

    files: tuple[str, ...]
    alert: str
    channels: tuple[str, ...]


class Report(Struct, frozen=True, kw_only=True):
    """A report on the time from ``start`` to ``end``, beside as long a time before."""

    id: str
    kind: Kind
    start: datetime
    end: datetime
    made: datetime
    model_metrics: tuple[ModelMetrics, ...]
    system_metrics: SystemMetrics
    user_metrics: UserMetrics
    business_metrics: BusinessMetrics
    insights: tuple[Insight, ...]
    insights_note: str
    recommendations: tuple[Recommendation, ...]
    recommendations_note: str
    delivery: Delivery
