"""Server reflection of gRPC, v1 and v1alpha: tools such as grpcurl ask the server which services and messages it has.

Source: the gRPC server reflection protocol (grpc/grpc: doc/server-reflection.md, grpc/reflection/v1/reflection.proto).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import grpc
from msgspec import structs

from modelkeep.edge.rpc import defining
from modelkeep.edge.rpc.calling import Asker, heard
from modelkeep.edge.rpc.defining import POOL, STREAM, Definition, Message

V1 = Definition(
    file="grpc/reflection/v1/reflection.proto",
    service="grpc.reflection.v1.ServerReflection",
    messages={
        "ServerReflectionRequest": """
            string host = 1; one string file_by_filename = 3; one string file_containing_symbol = 4;
            one ExtensionRequest file_containing_extension = 5; one string all_extension_numbers_of_type = 6;
            one string list_services = 7
        """,
        "ExtensionRequest": "string containing_type = 1; int32 extension_number = 2",
        "ServerReflectionResponse": """
            string valid_host = 1; ServerReflectionRequest original_request = 2;
            one FileDescriptorResponse file_descriptor_response = 4;
            one ExtensionNumberResponse all_extension_numbers_response = 5;
            one ListServiceResponse list_services_response = 6; one ErrorResponse error_response = 7
        """,
        "FileDescriptorResponse": "repeated bytes file_descriptor_proto = 1",
        "ExtensionNumberResponse": "string base_type_name = 1; repeated int32 extension_number = 2",
        "ListServiceResponse": "repeated ServiceResponse service = 1",
        "ServiceResponse": "string name = 1",
        "ErrorResponse": "int32 error_code = 1; string error_message = 2",
    },
    methods={"ServerReflectionInfo": (f"{STREAM}ServerReflectionRequest", f"{STREAM}ServerReflectionResponse")},
    choices={"ServerReflectionRequest": "message_request", "ServerReflectionResponse": "message_response"},
)
V1ALPHA = structs.replace(
    V1, file="grpc/reflection/v1alpha/reflection.proto", service="grpc.reflection.v1alpha.ServerReflection"
)
MESSAGES = {definition.service: defining.made(definition) for definition in (V1, V1ALPHA)}
"""The messages of each version, by its service."""
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]


class Mirror:
    """Answers in the messages of one version of the protocol, until the server is ``leaving``.

    ``services`` are all that the port has.
    """

    def __init__(
        self, messages: Mapping[str, Message], services: Callable[[], list[str]], *, leaving: asyncio.Event
    ) -> None:
        self.messages = messages
        self._services, self._leaving = services, leaving

    async def info(self, requests: AsyncIterator[Message], _: Asker) -> AsyncIterator[Message]:
        """One answer for each request; what is not known is an error in the answer, not of the call."""
        async for request in heard(requests, leaving=self._leaving):
            answer = self.messages["ServerReflectionResponse"](valid_host=request.host, original_request=request)
            self._answer(request, answer)
            yield answer

    def _answer(self, request: Message, answer: Message) -> None:
        asked = request.WhichOneof("message_request")
        if asked == "list_services":
            for name in self._services():
                answer.list_services_response.service.add(name=name)
        elif asked in {"file_by_filename", "file_containing_symbol"}:
            find = POOL.FindFileByName if asked == "file_by_filename" else POOL.FindFileContainingSymbol
            name = getattr(request, asked)
            try:
                found = find(name)
            except KeyError:
                _fail(answer, NOT_FOUND, message=f"nothing here is called {name!r}")
            else:
                answer.file_descriptor_response.file_descriptor_proto.append(found.serialized_pb)
        elif asked == "all_extension_numbers_of_type":
            try:
                known = POOL.FindMessageTypeByName(request.all_extension_numbers_of_type)
            except KeyError:
                _fail(answer, NOT_FOUND, message=f"no message is called {request.all_extension_numbers_of_type!r}")
            else:
                answer.all_extension_numbers_response.base_type_name = known.full_name
        elif asked == "file_containing_extension":
            _fail(answer, NOT_FOUND, message="no message here has extensions")
        else:
            _fail(answer, INVALID, message="the request asks for nothing")


def _fail(answer: Message, code: int, *, message: str) -> None:
    answer.error_response.error_code = code
    answer.error_response.error_message = message[:500]
