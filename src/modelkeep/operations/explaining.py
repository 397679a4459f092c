"""Explanations: what each input added to an answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep.errors import Conflict
from modelkeep.nouns import Value
from modelkeep.operations.act import ModelName, Operation
from modelkeep.operations.models import known
from modelkeep.runtimes import Loaded
from modelkeep.runtimes.explaining import Explanation

if TYPE_CHECKING:
    from modelkeep.app import App


class Explain(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of a model's inputs, to be explained by the version that answers (or by ``number``)."""

    model: ModelName
    features: Annotated[dict[str, Value], Meta(description="The model's inputs by name")]
    number: Annotated[int, Meta(description="Another version than the champion", ge=1, le=2**31)] | None = None


def explain(app: App, request: Explain) -> Explanation:
    """Tell what each input added to a model's answer; nothing is recorded.

    Raises NotFound for an unknown model or version, BadFeatures naming each field, and Refused with the reason when the
    version's runtime cannot tell.
    """
    with _loaded(app, request) as loaded:
        loaded.version.signature.check([request.features])
        return loaded.explain(request.features)


@contextmanager
def _loaded(app: App, request: Explain) -> Iterator[Loaded]:
    """The version as it answers, or loaded for this one call."""
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        rollout = ledger.rollouts.get(request.model)
        number = request.number or (rollout.champion if rollout else None)
        if number is None:
            raise app.rooms.client.unreleased(request.model)
        version = ledger.versions.get(request.model, number)
    route = app.rooms.gateway.routes.get(request.model)
    if route is not None and number in route.loaded:
        yield route.loaded[number]
        return
    if rollout is not None and rollout.disabled and request.number is None:
        raise Conflict(f"{request.model} is disabled: {rollout.disabled}", remedy=f"modelkeep enable {request.model}")
    with app.rooms.router.shelf.aside(version) as loaded:
        yield loaded


OPERATIONS = (
    Operation(
        name="explain", method="POST", path="/v1/models/{model}/explain", request=Explain, result=Explanation,
        run=explain,
    ),
)  # fmt: skip
