"""The messages of the Open Inference Protocol for gRPC (package ``inference``), made from the specification's words.

Source: the Open Inference Protocol's specification, "gRPC" (kserve/open-inference-protocol).
"""

from __future__ import annotations

from collections.abc import Mapping

from modelkeep.edge.rpc import defining
from modelkeep.edge.rpc.defining import Definition

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
METHODS = ("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer")
_TENSOR = """
    string name = 1; string datatype = 2; repeated int64 shape = 3; map:InferParameter parameters = 4;
    InferTensorContents contents = 5
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
        string model_name = 1; string model_version = 2; string id = 3; map:InferParameter parameters = 4;
        repeated ModelInferRequest.InferInputTensor inputs = 5;
        repeated ModelInferRequest.InferRequestedOutputTensor outputs = 6;
        repeated bytes raw_input_contents = 7
    """,
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": "string name = 1; map:InferParameter parameters = 2",
    "ModelInferResponse": """
        string model_name = 1; string model_version = 2; string id = 3; map:InferParameter parameters = 4;
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

MESSAGES = defining.made(
    Definition(
        file="open_inference_grpc.proto",
        service=SERVICE,
        messages=SPECIFIED,
        methods={name: (f"{name}Request", f"{name}Response") for name in METHODS},
        choices={"InferParameter": "parameter_choice"},
    )
)
"""The class of every message, by its name."""
