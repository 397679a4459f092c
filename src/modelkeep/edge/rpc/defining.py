"""Messages and services of gRPC made from a specification's words: no file is generated, no compiler is needed.

They live in a pool of their own, so that a client's generated module of the same package may be imported beside them;
the pool is also what reflection tells of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from msgspec import Struct

Message: TypeAlias = Any
"""A message; its fields are known when it is made."""
POOL = DescriptorPool()
"""Whatever was made here."""
STREAM = "stream "
_FIELD = re.compile(r"(?:(repeated|one) )?(\S+) (\w+) = (\d+)")


class Definition(Struct, frozen=True, kw_only=True):
    """A file of the specification: its name, its service with the package's name before it, its messages.

    A message is ``label kind name = number; ...``: ``one`` is a field of the message's choice, which ``choices`` names;
    ``map:KIND`` is ``map<string, KIND>``; a kind that is among ``messages`` or ``enums`` is that one. An inner message
    or enumeration is named ``Outer.Inner``; an enumeration is told as its words, from 0 on. ``methods`` are what a
    method asks and answers, with ``stream`` before it when they are many.
    """

    file: str
    service: str
    messages: Mapping[str, str]
    methods: Mapping[str, tuple[str, str]]
    choices: Mapping[str, str] = {}
    enums: Mapping[str, tuple[str, ...]] = {}

    @property
    def package(self) -> str:
        """The package's name."""
        return self.service.rpartition(".")[0]


def made(definition: Definition) -> Mapping[str, Message]:
    """The class of every message, by its name; the file is in the pool from now on."""
    POOL.AddSerializedFile(_file(definition).SerializeToString())
    return {
        name: GetMessageClass(POOL.FindMessageTypeByName(f"{definition.package}.{name}"))
        for name in definition.messages
    }


def _file(definition: Definition) -> FileDescriptorProto:
    file = FileDescriptorProto(name=definition.file, package=definition.package, syntax="proto3")
    found: dict[str, DescriptorProto] = {}
    for name, fields in definition.messages.items():
        outer, _, inner = name.rpartition(".")
        found[name] = message = found[outer].nested_type.add() if outer else file.message_type.add()
        message.name = inner
        for label, kind, field, number in _FIELD.findall(fields):
            _add(message, f"{label} {kind}".strip(), name=field, number=int(number), within=(definition, name))
    for name, words in definition.enums.items():
        outer, _, inner = name.rpartition(".")
        enum = found[outer].enum_type.add(name=inner)
        for number, word in enumerate(words):
            enum.value.add(name=word, number=number)
    service = file.service.add(name=definition.service.rpartition(".")[2])
    for name, sides in definition.methods.items():
        asks, answers = (f".{definition.package}.{side.removeprefix(STREAM)}" for side in sides)
        streams = [side.startswith(STREAM) for side in sides]
        service.method.add(
            name=name, input_type=asks, output_type=answers, client_streaming=streams[0], server_streaming=streams[1]
        )
    return file


def _add(message: DescriptorProto, kind: str, *, name: str, number: int, within: tuple[Definition, str]) -> None:
    definition, outer = within
    label, _, kind = kind.rpartition(" ")
    field = message.field.add(name=name, number=number)
    mapped = kind.removeprefix("map:") if kind.startswith("map:") else ""
    many = label == "repeated" or mapped
    field.label = FieldDescriptorProto.LABEL_REPEATED if many else FieldDescriptorProto.LABEL_OPTIONAL
    if label == "one":
        if not message.oneof_decl:
            message.oneof_decl.add(name=definition.choices[outer])
        field.oneof_index = 0
    if mapped:
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add(entry, "string", name="key", number=1, within=within)
        _add(entry, mapped, name="value", number=2, within=within)
        kind = f"{outer}.{entry.name}"
    if kind in definition.messages or mapped:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{definition.package}.{kind}"
    elif kind in definition.enums:
        field.type, field.type_name = FieldDescriptorProto.TYPE_ENUM, f".{definition.package}.{kind}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
