"""Every act of the product, defined once: its request, its result, its words. REST, OpenAPI and the CLI follow from it.

In Python an act is its function: ``releases.release(app, Release(model="churn", number=2))``.
"""

from __future__ import annotations

from typing import Any

from modelkeep.operations import (
    alerts,
    archiving,
    checking,
    collection,
    complying,
    compressing,
    configuration,
    consenting,
    database,
    diagnosing,
    erasing,
    explaining,
    history,
    jobs,
    keeping,
    maintenance,
    measuring,
    models,
    outcomes,
    overload,
    performing,
    policies,
    predictions,
    questions,
    readings,
    recording,
    registration,
    releases,
    reporting,
    rotating,
    saving,
    saying,
    scoring,
    status,
    training,
)
from modelkeep.operations.act import Operation

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    *status.OPERATIONS,
    *models.OPERATIONS,
    *keeping.OPERATIONS,
    *compressing.OPERATIONS,
    *registration.OPERATIONS,
    *releases.OPERATIONS,
    *policies.OPERATIONS,
    *training.OPERATIONS,
    *predictions.OPERATIONS,
    *recording.OPERATIONS,
    *explaining.OPERATIONS,
    *archiving.OPERATIONS,
    *questions.OPERATIONS,
    *outcomes.OPERATIONS,
    *measuring.OPERATIONS,
    *saying.OPERATIONS,
    *collection.OPERATIONS,
    *readings.OPERATIONS,
    *alerts.OPERATIONS,
    *checking.OPERATIONS,
    *jobs.OPERATIONS,
    *scoring.OPERATIONS,
    *maintenance.OPERATIONS,
    *saving.OPERATIONS,
    *history.OPERATIONS,
    *reporting.OPERATIONS,
    *diagnosing.OPERATIONS,
    *consenting.OPERATIONS,
    *erasing.OPERATIONS,
    *rotating.OPERATIONS,
    *complying.OPERATIONS,
    *overload.OPERATIONS,
    *performing.OPERATIONS,
    *configuration.OPERATIONS,
    *database.OPERATIONS,
)
"""Every act, in the order in which it is documented."""


def named(name: str) -> Operation[Any, Any]:
    """The act of that name. Raises KeyError."""
    return next(operation for operation in OPERATIONS if operation.name == name)


__all__ = ["OPERATIONS", "Operation", "named"]
