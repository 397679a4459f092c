"""What the Open Inference Protocol asks and answers, whatever wire it comes over: REST (``inference``), gRPC (``rpc``).

Both wires turn what they read into the same ``Infer``, ask the same gateway here, and write out the same columns.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from modelkeep.edge import tensors
from modelkeep.edge.tensors import Described, Infer
from modelkeep.edge.traffic import Traffic
from modelkeep.errors import ModelFailed, NotFound, StoreUnavailable
from modelkeep.nouns import Prediction
from modelkeep.operations.act import moment
from modelkeep.operations.predictions import stand_in
from modelkeep.serving.admission.gates import Priority
from modelkeep.serving.gateway import Answer, Ask
from modelkeep.serving.routes import Route

if TYPE_CHECKING:
    from modelkeep.app import App

EXTENSIONS = ("binary_tensor_data",)


@cache
def _release() -> str:
    return installed("modelkeep")  # reads files: for whoever asks, not at every start


class ServerMetadata(Struct, frozen=True, kw_only=True):
    """Who answers, and which extensions of the protocol it has."""

    name: str = "modelkeep"
    version: str = field(default_factory=_release)
    extensions: tuple[str, ...] = EXTENSIONS


class ModelMetadata(Struct, frozen=True, kw_only=True):
    """What a model takes and answers; ``versions`` are those that are loaded."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[Described, ...]
    outputs: tuple[Described, ...]


class Served(Struct, frozen=True, kw_only=True):
    """The route of the model that a request names, and whether it names the version too."""

    route: Route
    pinned: bool

    @property
    def ready(self) -> bool:
        """Whether it can be asked."""
        rollout = self.route.rollout
        return not rollout.disabled and rollout.champion in self.route.loaded

    @property
    def metadata(self) -> ModelMetadata:
        """What it takes and answers."""
        route = self.route
        loaded = route.loaded.get(route.rollout.champion)
        return ModelMetadata(
            name=route.rollout.model,
            versions=tuple(map(str, sorted(route.loaded))),
            platform=loaded.version.runtime if loaded else "",
            inputs=tensors.inputs_of(route.signature),
            outputs=tensors.outputs_of(route.signature),
        )


class Inference(Struct, frozen=True, kw_only=True):
    """A request for inference as it was read: what is asked, the bytes behind it, its name and its urgency."""

    asked: Infer
    binary: bytes
    request: str
    priority: Priority | Literal[""] = ""


def served(app: App, name: str, *, version: str = "") -> Served:
    """The model that a request names, perhaps with the version that answers. Raises NotFound."""
    route = app.rooms.gateway.routes.get(name)
    if route is None:
        try:
            raise app.rooms.client.unreleased(name)
        except StoreUnavailable:
            raise NotFound("model", name, known=app.rooms.gateway.routes) from None
    if version and version != str(route.rollout.champion):
        raise NotFound("answering version of the model", version, known=[str(route.rollout.champion)])
    return Served(route=route, pinned=bool(version))


async def infer(app: App, traffic: Traffic, *, model: Served, inference: Inference) -> Answer:
    """Ask the gateway, and count what it answered. Raises what ``Gateway.predict`` raises, BadInput and ModelFailed."""
    asked = inference.asked
    rows, keys = tensors.rows_of(asked, model.route.signature, binary=inference.binary)
    about = moment(str(asked.parameters["for"]), "parameters.for") if "for" in asked.parameters else None
    found = await app.rooms.gateway.predict(
        Ask(
            model=model.route.rollout.model,
            rows=rows,
            keys=keys,
            targets=None if about is None else [about] * len(rows),
            subject=str(asked.parameters.get("subject", "")) or None,
            request=inference.request,
            priority=inference.priority,
            pinned=model.pinned,
        )
    )
    count(traffic, found)
    whole(found)
    return found


def whole(found: Answer) -> tuple[Prediction, ...]:
    """The predictions, when every row has one: these protocols have no word for a row without. Raises ModelFailed."""
    lacking = [place for place, prediction in enumerate(found.predictions) if prediction.output is None]
    if lacking:
        why = found.predictions[lacking[0]].error
        raise ModelFailed(
            f"{len(lacking)} of {len(found.predictions)} rows were answered by nobody: row {lacking[0]}: {why}",
            remedy=f"POST /v1/models/{found.model}/predict answers the others",
        )
    return found.predictions


def marks(found: Answer, *, request: str) -> tensors.Parameters:
    """What a response says beside its tensors."""
    said: tensors.Parameters = {"request_id": request}
    stood_in = next((p for p in found.predictions if p.stand_in is not None), None)
    if stood_in is not None:
        said |= {"fallback": stand_in(stood_in), "fallback_reason": stood_in.error or ""}
    return said


def count(traffic: Traffic, found: Answer) -> None:
    """Count the answers of a model."""
    for prediction in found.predictions:
        traffic.prediction(prediction.model, prediction.key, seconds=prediction.seconds)
