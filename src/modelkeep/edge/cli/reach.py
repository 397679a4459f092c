"""The way from a command to the act: over HTTP to a running server, else here, on the data folder itself."""

from __future__ import annotations

import http.client
import importlib
import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from modelkeep import settings
from modelkeep.claims import key_of, mark_of
from modelkeep.edge import KEY_HEADER
from modelkeep.edge.cli.options import Common
from modelkeep.edge.cli.usage import Refused, Wrongly
from modelkeep.edge.refusals import Failure, Refusal
from modelkeep.errors import BadSettings, Unavailable
from modelkeep.operations.act import Operation

if TYPE_CHECKING:
    from modelkeep.settings import Settings

PATIENCE = 60.0


class Reach:
    """Does acts: on ``--server``, on the server that runs on the data folder, or without one on the folder itself."""

    def __init__(self, common: Common) -> None:
        self._common = common

    @cached_property
    def settings(self) -> Settings:
        """The configuration of the data folder."""
        return settings.load(folder=self._common.folder)

    @cached_property
    def url(self) -> str:
        """The server's address, or "" when none runs."""
        return self._common.server.rstrip("/") or _running(self.settings.folder)

    def do(self, operation: Operation[Any, Any], values: Mapping[str, Any]) -> bytes:
        """Do an act; the JSON of its result. Raises Refused by the server, or what the act refuses with."""
        if self.url:
            return self._ask(operation, values)
        # The store and the runtimes come with local work, and asking a server must not wait for their import.
        local = importlib.import_module("modelkeep.edge.cli.local")
        return bytes(local.do(self.settings, operation, values=values))

    def send(self, source: Path | bytes) -> str:
        """Send a file, or put it where a local act finds it; the digest to register it by."""
        if not self.url:
            return str(importlib.import_module("modelkeep.edge.cli.local").receive(self.settings, source))
        if isinstance(source, bytes):
            answer = self._exchange("PUT", "/v1/files", body=source, size=len(source))
        else:
            with source.open("rb") as file:
                answer = self._exchange("PUT", "/v1/files", body=file, size=source.stat().st_size)
        return str(json.loads(answer)["digest"])

    @property
    def as_json(self) -> bool:
        """Whether results are wanted as JSON."""
        return self._common.json

    def stream(self, operation: Operation[Any, Any], values: Mapping[str, Any], *, body: bytes) -> bytes:
        """Send lines of JSON to a server's act; the JSON of its result. Raises Refused, Unavailable."""
        query = urlencode({name: _text(value) for name, value in values.items()})
        path = f"{operation.path}?{query}" if query else operation.path
        return self._exchange(operation.method, path, body=body, kind="application/x-ndjson")

    def _ask(self, operation: Operation[Any, Any], values: Mapping[str, Any]) -> bytes:
        path, rest = operation.path, dict(values)
        for name in values:
            if "{" + name + "}" in path:
                path = path.replace("{" + name + "}", quote(str(rest.pop(name)), safe=""))
        if operation.method in {"GET", "DELETE"}:
            query = urlencode({name: _text(value) for name, value in rest.items()})
            return self._exchange(operation.method, f"{path}?{query}" if query else path)
        body = json.dumps(rest).encode()
        return self._exchange(operation.method, path, body=body, patience=operation.patience)

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        size: int | None = None,
        kind: str = "application/json",
        patience: float = PATIENCE,
    ) -> bytes:
        address = urlsplit(self.url)
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise Wrongly(f"--server {self.url!r} is no address; write http://HOST:PORT")
        secure = address.scheme == "https"
        connection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)(
            address.hostname, address.port, timeout=patience
        )
        headers = {"content-type": kind, **self.token(), **self._key()}
        if size is not None:
            headers |= {"content-type": "application/octet-stream", "content-length": str(size)}
        try:
            connection.request(method, address.path + path, body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
        except OSError as cause:
            raise Unavailable(f"no server answers at {self.url}: {cause}", remedy="start one: modelkeep up") from None
        finally:
            connection.close()
        if answer.status >= 400:
            raise Refused(_failure(content, answer.status), answer.status)
        return content

    def _key(self) -> dict[str, str]:
        """What lets this user vouch for code: the key of the server on the folder, for that server alone."""
        key = "" if self._common.server else key_of(self.settings.folder)
        return {KEY_HEADER: key} if key else {}

    def token(self) -> dict[str, str]:
        """The header with the configuration's token, when there is one."""
        try:
            token = self.settings.server.token
        except BadSettings:
            if not self._common.server:
                raise
            return {}  # a server elsewhere is asked as it is, whatever the configuration here
        return {"authorization": f"Bearer {token.reveal()}"} if token else {}


def _running(folder: Path) -> str:
    """The address in the folder's mark, while its process lives."""
    mark = mark_of(folder)
    if mark is None:
        return ""
    try:
        os.kill(mark.pid, 0)
    except PermissionError:
        pass  # it lives, under another user
    except OSError:
        return ""
    return mark.url


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool | list | tuple | dict) else str(value)


def _failure(content: bytes, status: int) -> Failure:
    try:
        return msgspec.json.decode(content, type=Refusal).error
    except (msgspec.DecodeError, msgspec.ValidationError):
        return Failure(code="no_modelkeep", message=f"the answer ({status}) is not modelkeep's: {content[:200]!r}")
