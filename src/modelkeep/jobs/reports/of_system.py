"""Parts two to four of a report: the system, those who ask, and what the owner measures himself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from msgspec import Struct

from modelkeep.errors import StoreUnavailable
from modelkeep.jobs.reports.of_models import Looked
from modelkeep.jobs.reports.parts import Better, BusinessMetrics, Failure, SystemMetrics, UserMetrics
from modelkeep.jobs.reports.spans import Asked, Draft, Span, counted, drafted, of_hours, of_series
from modelkeep.jobs.rooms import Rooms
from modelkeep.nouns import SEVERITIES, Alert, Prediction
from modelkeep.store.seams import Ledger

MANY = 10_000
OWN = "business_"
"""Readings of a name that begins so are what the owner of the service measures himself."""


def _asked(name: str, lacking: str, *, better: Better, query: str, command: str) -> Asked:
    return Asked(name=name, subject="server", lacking=lacking, better=better, query=query, command=command)


TOUCHING = "userExperienceImpact"
ERRORS = _asked("error_rate", "predictions", better="less", query="/v1/status", command="modelkeep status")
ASKED = _asked("predictions", "", better="neither", query="/v1/models", command="modelkeep models")
FEEDBACK = _asked("feedback", "", better="neither", query="/v1/feedback", command="modelkeep feedback list")
RATING = _asked("average_rating", "ratings", better="more", query="/v1/feedback", command="modelkeep feedback list")
TOUCHED = _asked(
    "user_alerts", "", better="less", query=f"/v1/alerts?type={TOUCHING}",
    command=f"modelkeep alerts list --type {TOUCHING}",
)  # fmt: skip


class Around(Struct, frozen=True, kw_only=True):
    """The figures of these parts that wait for the others, and what is only counted."""

    memory: Draft
    cpu: Draft
    network: Draft
    errors: Draft
    asked: Draft
    feedback: Draft
    rating: Draft
    touched: Draft
    own: tuple[Draft, ...]
    ratings: dict[str, int]
    services: dict[str, str]
    failures: tuple[Failure, ...]
    times: tuple[float, ...]
    alerts: dict[str, int]

    @property
    def drafts(self) -> tuple[Draft, ...]:
        """The figures that are compared."""
        system = (self.memory, self.cpu, self.network, self.errors)
        return (*system, self.asked, self.feedback, self.rating, self.touched, *self.own)

    def system(self, comparisons: int) -> SystemMetrics:
        """The part on the server."""
        return SystemMetrics(
            average_memory_usage=self.memory.settled(comparisons),
            cpu_utilization=self.cpu.settled(comparisons),
            network_usage=self.network.settled(comparisons),
            error_rate=self.errors.settled(comparisons),
            services=self.services,
            last_errors=self.failures,
            last_processing_times_ms=self.times,
            alerts=self.alerts,
        )

    def users(self, comparisons: int) -> UserMetrics:
        """The part on those who ask."""
        return UserMetrics(
            predictions=self.asked.settled(comparisons),
            feedback=self.feedback.settled(comparisons),
            average_rating=self.rating.settled(comparisons),
            ratings=self.ratings,
            user_alerts=self.touched.settled(comparisons),
        )

    def business(self, comparisons: int) -> BusinessMetrics:
        """The part on what the owner measures himself."""
        said = "" if self.own else f"unknown: no probe of a workload gives a reading whose name begins with {OWN!r}"
        return BusinessMetrics(figures=tuple(one.settled(comparisons) for one in self.own), note=said)


def around(rooms: Rooms, ledger: Ledger, *, models: Sequence[Looked], span: Span) -> Around:
    """Look at everything but the models themselves."""
    slices = [one for model in models for one in model.slices]
    since = min((version.created for version in ledger.versions.all()), default=span.end)
    alerts = [one for one in ledger.alerts.all(limit=MANY) if span.earlier <= one.opened < span.end]
    ratings, rated = _rated(ledger, span=span)
    newest = sorted(
        (one for model in models for one in ledger.records.latest(model.rollout.model, limit=50)),
        key=lambda one: one.at,
        reverse=True,
    )
    return Around(
        memory=of_series(ledger, _machine("memory_percent", "%", span=span), span=span),
        cpu=of_series(ledger, _machine("cpu_percent", "%", span=span), span=span),
        network=of_series(ledger, _machine("network_rate", "B/s", span=span), span=span),
        errors=drafted(
            ERRORS, span, dated=of_hours(slices, lambda one: (float(one.profile.failures), float(one.profile.n)))
        ),
        asked=counted(ASKED, [(one.start, float(one.profile.n)) for one in slices], span=span, since=since),
        feedback=counted(FEEDBACK, [(at, n) for at, _, n in rated], span=span, since=since),
        rating=drafted(RATING, span, dated=rated),
        touched=counted(
            TOUCHED, [(one.opened, 1.0) for one in alerts if one.kind == TOUCHING], span=span, since=since
        ),
        own=_own(ledger, span=span),
        ratings=ratings,
        services=_services(rooms),
        failures=tuple(_failure(one) for one in newest if one.error and one.at >= span.start)[:5],
        times=tuple(round(one.seconds * 1000, 3) for one in newest if one.seconds == one.seconds)[:10],
        alerts=_counts(alerts, span=span),
    )  # fmt: skip


def _machine(name: str, unit: str, *, span: Span) -> Asked:
    asked = urlencode({"name": name, "subject": "server", "window": span.window})
    return Asked(
        name=name, subject="server", lacking="readings (a running server takes them)", unit=unit,
        better="neither" if name == "network_rate" else "less",
        query=f"/v1/readings/series?{asked}", command=f"modelkeep readings series {name} server --window {span.window}",
    )  # fmt: skip


def _own(ledger: Ledger, *, span: Span) -> tuple[Draft, ...]:
    found = sorted({(r.name, r.subject, r.unit) for r in ledger.readings.newest() if r.name.startswith(OWN)})
    drafts = []
    for name, subject, unit in found:
        asked = urlencode({"name": name, "subject": subject, "window": span.window})
        whole = Asked(
            name=name, subject=subject, lacking="readings", unit=unit, least=1, query=f"/v1/readings/series?{asked}",
            command=f"modelkeep readings series {name} {subject} --window {span.window}",
        )  # fmt: skip
        drafts.append(of_series(ledger, whole, span=span))
    return tuple(drafts)


def _rated(ledger: Ledger, *, span: Span) -> tuple[dict[str, int], list[tuple[float, float, float]]]:
    """The feedback of the span by rating; and of both spans by block: moment, sum of the ratings, how many."""
    held = {}
    at, dated = span.earlier, []
    while at < span.end:
        found = ledger.said.ratings(None, start=at, end=min(at + span.block, span.end))
        dated.append((at, float(sum(rating * n for rating, n in found.items())), float(sum(found.values()))))
        held[at] = found
        at += span.block
    total = Counter[int]()
    for start, found in held.items():
        if start >= span.start:
            total.update(found)
    return {str(rating): total[rating] for rating in sorted(total)}, dated


def _failure(one: Prediction) -> Failure:
    return Failure(prediction_id=one.id, model=one.model, at=datetime.fromtimestamp(one.at, UTC), error=one.error or "")


def _counts(alerts: Sequence[Alert], *, span: Span) -> dict[str, int]:
    """How many alerts of each severity opened in the span."""
    counts = Counter(one.severity for one in alerts if one.opened >= span.start)
    return {severity: counts[severity] for severity in SEVERITIES if counts[severity]}


def _services(rooms: Rooms) -> dict[str, str]:
    """The parts of the server, each ``ready`` or ``error: ...``."""
    cause = ""
    try:
        rooms.store.ping()
    except StoreUnavailable as error:
        cause = str(error)
    found = {
        "models": "; ".join(rooms.router.failures.values()),
        "recording": rooms.recorder.state.cause or "",
        "store": cause,
    }
    return {name: f"error: {why}" if why else "ready" for name, why in found.items()}
