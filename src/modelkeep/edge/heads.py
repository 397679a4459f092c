"""What the head of a request says that the hot road takes."""

from __future__ import annotations

from typing import NamedTuple

from modelkeep.edge import border, inference
from modelkeep.edge.doors import Door

PARTED = inference.LENGTH.lower().encode()
UNUSUAL = frozenset({b"expect", b"transfer-encoding", b"origin", b"upgrade", b"connection", b"content-encoding"})
RANKS = {b"critical": 0, b"normal": 1, b"batch": 2, b"low": 2}
"""The priorities as they are usually written; whoever writes another word is told so on the ordinary road."""


class Said(NamedTuple):
    """What headers say of a body: its length, the length of its JSON where bytes follow (-1: none do); and its name."""

    size: int
    parted: int
    request: str


class Head:
    """What a head says that the hot road takes: where it leads, what the body is, and how it was written."""

    __slots__ = ("begin", "door", "headers", "parted", "rank", "raw", "request", "size", "url", "whole")

    def __init__(self, url: bytes, headers: list[tuple[bytes, bytes]], *, door: Door, body: Said) -> None:
        self.url, self.headers, self.door = url, headers, door
        self.raw = b""
        """The bytes of a head that is remembered."""
        self.size, self.parted, self.request = body
        self.begin = self.whole = 0
        """Where the body begins, and where it ends, of a head that is remembered."""
        said = next((value for name, value in headers if name == b"x-priority"), b"")
        self.rank = RANKS.get(said, -1)


def said(headers: list[tuple[bytes, bytes]]) -> Said | None:
    """What headers say, or None where something unusual is among them."""
    size, parted, request = -1, -1, ""
    for name, value in headers:
        if name in UNUSUAL and (name != b"connection" or value.lower() != b"keep-alive"):
            return None
        if name == b"content-length":
            if size >= 0 or not value.isdigit() or len(value) > 9:
                return None
            size = int(value)
        elif name == PARTED:
            if parted >= 0 or not value.isdigit() or len(value) > 9:
                return None
            parted = int(value)
        elif name == b"x-request-id":
            if request:
                return None
            request = border.greet([(name, value)]).request_id
        elif name == b"x-priority" and value not in RANKS:
            return None
    return Said(size, parted, request)
