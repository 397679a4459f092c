"""Every act of the product, defined once: its request, its result, its words. REST, OpenAPI and the CLI follow from it.

The Python face is the same table: ``do(app, Release(model="churn", number=2))``, or the functions of each noun's file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from modelkeep.operations import (
    alerts,
    configuration,
    history,
    models,
    outcomes,
    policies,
    predictions,
    readings,
    registration,
    releases,
    status,
    work,
)
from modelkeep.operations.act import Operation

if TYPE_CHECKING:
    from modelkeep.app import App

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    *status.OPERATIONS,
    *models.OPERATIONS,
    *registration.OPERATIONS,
    *releases.OPERATIONS,
    *policies.OPERATIONS,
    *predictions.OPERATIONS,
    *outcomes.OPERATIONS,
    *readings.OPERATIONS,
    *alerts.OPERATIONS,
    *work.OPERATIONS,
    *history.OPERATIONS,
    *configuration.OPERATIONS,
)
"""Every act, in the order in which it is documented."""

_BY_REQUEST = {operation.request: operation for operation in OPERATIONS}


def do(app: App, request: Struct) -> Any:
    """Do the act that ``request`` asks for; the result is of that act's result type.

    Raises whatever the act refuses with; KeyError for a struct that is no request.
    """
    return _BY_REQUEST[type(request)].run(app, request)


def named(name: str) -> Operation[Any, Any]:
    """The act of that name. Raises KeyError."""
    return next(operation for operation in OPERATIONS if operation.name == name)


__all__ = ["OPERATIONS", "Operation", "do", "named"]
