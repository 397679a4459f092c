"""The body of an act: a JSON object, a file with the fields in the query, or a form with a file in it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from modelkeep.edge import decoding
from modelkeep.edge.bodies import read
from modelkeep.edge.refusals import Turned
from modelkeep.errors import BadInput

FIELDS = 100
"""A form has at most so many fields."""


async def given(request: Request, *, limit: int, upload: str, many: str = "") -> tuple[dict[str, Any], bool]:
    """The fields of a request's body and query, and whether their values are texts to be read as their type.

    ``upload`` names the field of a file; without one, a body is JSON, and the query stands for one that is empty. A
    JSON list is the field ``many``.
    Raises Turned (413) above ``limit`` bytes, Turned (400) for a body that cannot be read, BadInput for a field that
    comes twice.
    """
    content = await read(request.scope, request.receive, limit=limit)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if upload and kind == "multipart/form-data":
        return {**query(request), **await _form(request, content, upload=upload)}, True
    if upload and (kind.startswith("image/") or kind == "application/octet-stream"):
        if not content:
            raise BadInput.of(upload, expected="a file as the body", got="an empty body")
        return {**query(request), upload: content}, True
    if not content.strip() and request.query_params:
        return query(request), True
    return fields(content, many=many), False


def fields(content: bytes, *, many: str = "") -> dict[str, Any]:
    """The JSON object of a body; none at all counts as an empty one. Raises Turned, BadInput."""
    body: Any = {}
    if content.strip():
        body = _loaded(content)
        decoding.once(content)
    if many and isinstance(body, list):
        return {many: body}
    if not isinstance(body, dict):
        raise BadInput.of("body", expected="an object", got=type(body).__name__)
    return body


def _loaded(content: bytes) -> Any:
    """The JSON of a body. NaN and Infinity are no JSON, yet Python writes them: their fields are named."""
    try:
        return decoding.loads(content)
    except Turned:
        if b"NaN" not in content and b"Infinity" not in content:
            raise
        problems = decoding.endless(decoding.loads_loosely(content))
        if not problems:
            raise
        raise BadInput(str(problems[0]), problems=problems) from None


def query(request: Request) -> dict[str, str]:
    """The query string; a parameter given without a value counts as not given. Raises BadInput for one given twice."""
    return _once(request.query_params.multi_items())


async def _form(request: Request, content: bytes, *, upload: str) -> dict[str, Any]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield content

    try:
        form = await MultiPartParser(request.headers, stream(), max_files=1, max_fields=FIELDS).parse()
    except (MultiPartException, KeyError) as cause:
        raise Turned(
            400, code="unreadable", message=f"the form cannot be read: {cause}", remedy="send multipart/form-data"
        ) from None
    try:
        files = {name: await value.read() for name, value in form.multi_items() if isinstance(value, UploadFile)}
        texts = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    finally:
        await form.close()
    strange = next((name for name in files if name != upload), None)
    if strange is not None:
        raise BadInput.of(strange, expected=f"the file as {upload!r}", got="a file")
    return {**_once(texts), **files}


def _once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise BadInput.of(name, expected="one value", got="several")
        if value:
            found[name] = value
    return found


def unlike_path(body: Mapping[str, Any], path: Mapping[str, Any]) -> None:
    """Raise BadInput for a field of the body that says another thing than the path."""
    for name in path:
        if name in body and body[name] != path[name]:
            said = f"{body[name]!r}"[:80]
            raise BadInput.of(name, expected=repr(path[name]), got=said, remedy="leave it out: the path names it")
