"""The OpenAPI 3.1 description of every route, made from the operations' own types and sentences."""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Sequence
from importlib import metadata
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modelkeep.edge.refusals import Refusal
from modelkeep.operations import OPERATIONS
from modelkeep.operations.act import Operation
from modelkeep.operations.predictions import Answered, Predicted

Schema = dict[str, Any]
FILES = ("image/*", "application/octet-stream")
_REF = "#/components/schemas/{name}"
_REFUSALS = {
    "400": "The request cannot be read",
    "401": "The server asks for its token",
    "403": "Another site's page sent it, or it brings code for which the caller may not vouch",
    "404": "No such thing; near names are given",
    "409": "The present state forbids it",
    "413": "The body is too large",
    "422": "A field is wrong; each is named with what it takes and what it got",
    "502": "A model failed",
    "503": "It cannot be done now",
    "504": "It took longer than its limit",
}


def document(acts: Sequence[Operation[Any, Any]] = OPERATIONS) -> Schema:
    """The whole description, as JSON values."""
    kinds: list[type] = [Refusal, Answered]
    for operation in acts:
        kinds += [operation.request, operation.result, _refusal(operation)]
    unique = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    by_kind = dict(zip(unique, schemas, strict=True))
    paths: dict[str, Schema] = {}
    for operation in acts:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _act(operation, by_kind, components=components)
    paths["/v1/files"] = {"put": _upload()}
    paths["/health"] = {"get": _probe("Say that the process lives", {"200": "It lives"})}
    paths["/health/ready"] = {
        "get": _probe(
            "Say whether the server can do all of its work", {"200": "It can", "503": "It cannot; the cause is named"}
        )
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Modelkeep",
            "version": metadata.version("modelkeep"),
            "description": "Keeps models true in production.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def endpoint(acts: Sequence[Operation[Any, Any]]) -> Callable[[Request], Awaitable[Response]]:
    """The route ``/openapi.json``; the description is made when it is first asked for."""
    made: list[bytes] = []

    async def show(_: Request) -> Response:
        if not made:
            made.append(msgspec.json.encode(document(acts)))
        return Response(made[0], media_type="application/json")

    return show


def _act(operation: Operation[Any, Any], schemas: dict[type, Schema], *, components: dict[str, Schema]) -> Schema:
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    whole = _resolved(schemas[operation.request], components)
    fields: dict[str, Schema] = whole.get("properties", {})
    required = set(whole.get("required", ()))
    parameters = [_parameter(name, fields[name], place="path", required=True) for name in names]
    rest = {name: schema for name, schema in fields.items() if name not in names}
    described: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": operation.doc,
        "responses": _answers(operation, schemas),
    }
    if operation.method in {"GET", "DELETE"}:
        parameters += [_parameter(n, s, place="query", required=n in required) for n, s in rest.items()]
    else:
        body = {
            "type": "object",
            "description": whole.get("description", ""),
            "properties": rest,
            "required": sorted(required - set(names)),
            "additionalProperties": False,
        }
        described["requestBody"] = {
            "required": bool(body["required"]) or operation.hot,
            "content": {"application/json": {"schema": body}, **_files(operation, body)},
        }
    if parameters:
        described["parameters"] = parameters
    return described


def _files(operation: Operation[Any, Any], body: Schema) -> Schema:
    """The other forms of a body with a file: a form, or the file alone (the other fields then stand in the query)."""
    if not operation.upload:
        return {}
    binary = {"type": "string", "format": "binary"}
    form = {**body, "properties": {**body["properties"], operation.upload: binary}}
    return {"multipart/form-data": {"schema": form}, **{kind: {"schema": binary} for kind in FILES}}


def _answers(operation: Operation[Any, Any], schemas: dict[type, Schema]) -> Schema:
    good = schemas[operation.result]
    if operation.result is Predicted:
        good = {"anyOf": [schemas[Answered], good]}
    answers: Schema = {
        str(operation.status): {"description": operation.summary, "content": {"application/json": {"schema": good}}}
    }
    refusal = schemas[_refusal(operation)]
    for status, said in _REFUSALS.items():
        answers[status] = {"description": said, "content": {"application/json": {"schema": refusal}}}
    return answers


def _refusal(operation: Operation[Any, Any]) -> type:
    """The shape of an act's refusals: what its ``refusal`` says that it returns, else the product's."""
    shape = typing.get_type_hints(operation.refusal).get("return") if operation.refusal else None
    return shape if isinstance(shape, type) and issubclass(shape, msgspec.Struct) else Refusal


def _resolved(schema: Schema, components: dict[str, Schema]) -> Schema:
    reference: str = schema.get("$ref", "")
    return components[reference.rpartition("/")[2]] if reference else schema


def _parameter(name: str, schema: Schema, *, place: str, required: bool) -> Schema:
    kept = {key: value for key, value in schema.items() if key != "description"}
    said: Schema = {"name": name, "in": place, "required": required, "schema": kept}
    return {**said, "description": schema["description"]} if "description" in schema else said


def _upload() -> Schema:
    return {
        "operationId": "upload",
        "summary": "Send a file; the answer is the digest to register it by",
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        "responses": {
            "201": {"description": "The file is kept"},
            "400": {"description": "The body is empty"},
            "413": {"description": "The file is too large"},
        },
    }


def _probe(summary: str, answers: dict[str, str]) -> Schema:
    return {"summary": summary, "responses": {status: {"description": said} for status, said in answers.items()}}
