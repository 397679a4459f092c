"""The messages of the Open Inference Protocol for gRPC (package ``inference``), made from the specification's words.

No file is generated and no compiler is needed. The messages live in a pool of their own, so that a client's generated
module of the same package may be imported beside them.

Source: the Open Inference Protocol's specification, "gRPC" (kserve/open-inference-protocol).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

Message: TypeAlias = Any
"""A message; its fields are known when it is made."""
PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
_TENSOR = """
    string name = 1; string datatype = 2; repeated int64 shape = 3; map parameters = 4; InferTensorContents contents = 5
"""
_TOLD = "string name = 1; string datatype = 2; repeated int64 shape = 3"
SPECIFIED: Mapping[str, str] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live = 1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready = 1",
    "ModelReadyRequest": "string name = 1; string version = 2",
    "ModelReadyResponse": "bool ready = 1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "string name = 1; string version = 2; repeated string extensions = 3",
    "ModelMetadataRequest": "string name = 1; string version = 2",
    "ModelMetadataResponse": """
        string name = 1; repeated string versions = 2; string platform = 3;
        repeated ModelMetadataResponse.TensorMetadata inputs = 4;
        repeated ModelMetadataResponse.TensorMetadata outputs = 5
    """,
    "ModelMetadataResponse.TensorMetadata": _TOLD,
    "ModelInferRequest": """
        string model_name = 1; string model_version = 2; string id = 3; map parameters = 4;
        repeated ModelInferRequest.InferInputTensor inputs = 5;
        repeated ModelInferRequest.InferRequestedOutputTensor outputs = 6;
        repeated bytes raw_input_contents = 7
    """,
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": "string name = 1; map parameters = 2",
    "ModelInferResponse": """
        string model_name = 1; string model_version = 2; string id = 3; map parameters = 4;
        repeated ModelInferResponse.InferOutputTensor outputs = 5;
        repeated bytes raw_output_contents = 6
    """,
    "ModelInferResponse.InferOutputTensor": _TENSOR,
    "InferParameter": """
        one bool bool_param = 1; one int64 int64_param = 2; one string string_param = 3; one double double_param = 4;
        one uint64 uint64_param = 5
    """,
    "InferTensorContents": """
        repeated bool bool_contents = 1; repeated int32 int_contents = 2; repeated int64 int64_contents = 3;
        repeated uint32 uint_contents = 4; repeated uint64 uint64_contents = 5; repeated float fp32_contents = 6;
        repeated double fp64_contents = 7; repeated bytes bytes_contents = 8
    """,
}
"""Messages and their fields; ``map`` is ``map<string, InferParameter>``, ``one`` a field of ``parameter_choice``."""

_FIELD = re.compile(r"(?:(repeated|one) )?(\S+) (\w+) = (\d+)")
_CHOICE = "parameter_choice"


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="open_inference_grpc.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, DescriptorProto] = {}
    for name, fields in SPECIFIED.items():
        outer, _, inner = name.rpartition(".")
        made[name] = message = made[outer].nested_type.add() if outer else file.message_type.add()
        message.name = inner
        for label, kind, field, number in _FIELD.findall(fields):
            _add(message, f"{label} {kind}".strip(), name=field, number=int(number), within=name)
    return file


def _add(message: DescriptorProto, kind: str, *, name: str, number: int, within: str) -> None:
    label, _, kind = kind.rpartition(" ")
    field = message.field.add(name=name, number=number)
    many = label == "repeated" or kind == "map"
    field.label = FieldDescriptorProto.LABEL_REPEATED if many else FieldDescriptorProto.LABEL_OPTIONAL
    if label == "one":
        if not message.oneof_decl:
            message.oneof_decl.add(name=_CHOICE)
        field.oneof_index = 0
    if kind == "map":
        entry = message.nested_type.add(name="ParametersEntry")
        entry.options.map_entry = True
        _add(entry, "string", name="key", number=1, within=within)
        _add(entry, "InferParameter", name="value", number=2, within=within)
        kind = f"{within}.ParametersEntry"
    if kind in SPECIFIED or kind.endswith("Entry"):
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")


def _made() -> Mapping[str, Message]:
    pool = DescriptorPool()
    pool.AddSerializedFile(_file().SerializeToString())
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in SPECIFIED}


MESSAGES = _made()
"""The class of every message, by its name."""
