"""Messages of gRPC as what the protocol's logic knows (``Infer``, columns, metadata), and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import UNSET

from modelkeep.edge import tensors
from modelkeep.edge.protocol import ModelMetadata, ServerMetadata
from modelkeep.edge.rpc.defining import Message
from modelkeep.edge.rpc.messages import MESSAGES
from modelkeep.edge.tensors import Chosen, Columns, Infer, Parameters, Tensor, Wanted
from modelkeep.errors import BadInput
from modelkeep.nouns import Signature, Value

CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""Where the values of a type are; FP16 is sent as bytes only."""
_CHOICES: tuple[tuple[type, str], ...] = (
    (bool, "bool_param"), (int, "int64_param"), (float, "double_param"), (str, "string_param"),
)  # fmt: skip


def infer_of(message: Message) -> tuple[Infer, bytes]:
    """What a request asks, and the bytes of its tensors one behind the other. Raises BadInput naming the tensor."""
    raw: Sequence[bytes] = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        wanted = f"{len(message.inputs)}, one for each input"
        raise BadInput.of("raw_input_contents", expected=wanted, got=str(len(raw)))
    inputs = [_tensor(one, raw[place] if raw else None) for place, one in enumerate(message.inputs)]
    outputs = [Wanted(name=one.name, parameters=parameters_of(one.parameters)) for one in message.outputs]
    asked = Infer(inputs=inputs, id=message.id, parameters=parameters_of(message.parameters), outputs=outputs or UNSET)
    return asked, b"".join(raw)


def _tensor(one: Message, raw: bytes | None) -> Tensor:
    shape, parameters = list(one.shape), parameters_of(one.parameters)
    parameters.pop("binary_data_size", None)  # KServe's client says it here too; what is there counts
    given = [field.name for field, _ in one.contents.ListFields()]
    if raw is not None:
        if given:
            raise BadInput.of(f"inputs.{one.name}.contents", expected="none beside raw_input_contents", got=given[0])
        parameters["binary_data_size"] = len(raw)
        return Tensor(name=one.name, shape=shape, datatype=one.datatype, parameters=parameters)
    place = CONTENTS.get(one.datatype)
    if place is None:
        expected = f"one of {', '.join(CONTENTS)} (FP16 in raw_input_contents)"
        raise BadInput.of(f"inputs.{one.name}.datatype", expected=expected, got=repr(one.datatype)[:80])
    if given not in ([], [place]):
        expected = f"{place}, as the datatype is {one.datatype}"
        raise BadInput.of(f"inputs.{one.name}.contents", expected=expected, got=", ".join(given))
    values: Iterable[Any] = getattr(one.contents, place)
    data = list(_texts(one.name, values)) if one.datatype == "BYTES" else list(values)
    return Tensor(name=one.name, shape=shape, datatype=one.datatype, parameters=parameters, data=data)


def _texts(name: str, values: Iterable[bytes]) -> Iterable[Value]:
    for value in values:
        try:
            yield value.decode()
        except UnicodeDecodeError:
            raise BadInput.of(f"inputs.{name}.contents", expected="texts in UTF-8", got=repr(value[:40])) from None


def parameters_of(given: Mapping[str, Message]) -> Parameters:
    """Parameters as plain values; one without a value is left out."""
    found: Parameters = {}
    for name, one in given.items():
        choice = one.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(one, choice)
    return found


def response(message: Message, asked: Infer, *, found: Columns, signature: Signature, told: Parameters) -> Message:
    """The response: its tensors come as the request's did, or as ``binary_data_output`` says. Raises BadInput."""
    outputs = tensors.chosen(asked, found, signature=signature)
    said = {one.binary for one in outputs} - {None}
    if len(said) > 1:
        remedy = "say binary_data of all outputs, or of none"
        raise BadInput.of("outputs", expected="all as bytes, or none", got="some of each", remedy=remedy)
    raw = bool(said.pop()) if said else bool(message.raw_input_contents)
    answer = MESSAGES["ModelInferResponse"](model_name=found.model, model_version=found.version, id=asked.id)
    _tell(answer.parameters, told)
    for one in outputs:
        tensor = answer.outputs.add(name=one.name, datatype=one.kind, shape=one.shape)
        if raw:
            answer.raw_output_contents.append(tensors.packed(one.kind, one.values))
        else:
            getattr(tensor.contents, CONTENTS[one.kind]).extend(_values(one))
    return answer


def _values(one: Chosen) -> Iterable[Any]:
    if one.kind == "BYTES":
        return [str(value).encode() for value in one.values]
    if one.kind == "FP64":
        return [math.nan if value is None else value for value in one.values]
    return one.values


def _tell(parameters: Message, told: Parameters) -> None:
    for name, value in told.items():
        choice = next(choice for kind, choice in _CHOICES if isinstance(value, kind))
        setattr(parameters[name], choice, value)


def server_metadata(said: ServerMetadata) -> Message:
    """Who answers."""
    return MESSAGES["ServerMetadataResponse"](name=said.name, version=said.version, extensions=said.extensions)


def model_metadata(said: ModelMetadata) -> Message:
    """What a model takes and answers."""
    answer = MESSAGES["ModelMetadataResponse"](name=said.name, versions=said.versions, platform=said.platform)
    for place, described in ((answer.inputs, said.inputs), (answer.outputs, said.outputs)):
        for one in described:
            place.add(name=one.name, datatype=one.datatype, shape=one.shape)
    return answer
