"""Posting to a receiver over HTTP: what its answer means for the next attempt, and what of it may be told."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from modelkeep.errors import BadSettings, Refused, TimedOut, Unavailable

_LATER = frozenset({408, 425, 429})
"""Refusals that a later attempt may overcome."""


def place_of(url: str, *, channel: str) -> str:
    """The host of an address, which may be told where the rest may be secret. Raises BadSettings when not http(s)."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadSettings(f"channel {channel!r}: not an http(s) URL", remedy="write https://host/path")
    return parts.hostname


def post(url: str, content: bytes, *, headers: Mapping[str, str], timeout: float) -> None:
    """Post JSON; on return the receiver has taken it by answering 2xx within ``timeout`` seconds.

    Redirects are never followed: they could lead into the network of the server. Errors name the host alone.

    Raises Refused for an answer 3xx or 4xx (but 408, 425, 429), TimedOut after ``timeout``, else Unavailable.
    """
    place = urlsplit(url).hostname
    httpx: Any = importlib.import_module("httpx")  # heavy: a server starts without it, and most never post
    try:
        answer = httpx.post(
            url, content=content, headers={"Content-Type": "application/json", **headers}, timeout=timeout,
            follow_redirects=False,
        )  # fmt: skip
    except httpx.TimeoutException:
        raise TimedOut(f"{place} did not answer within {timeout:g} s") from None
    except httpx.HTTPError as error:
        raise Unavailable(f"{place} cannot be reached: {type(error).__name__}") from None
    if answer.is_success:
        return
    status = f"{place} answered {answer.status_code}"
    if answer.status_code >= 500 or answer.status_code in _LATER:
        raise Unavailable(status)
    raise Refused(status, remedy="redirects are not followed" if answer.is_redirect else "check URL and secret")


def revealed(secret: Callable[[], str]) -> str:
    """A secret as it is now. Raises Unavailable: it may be there at the next attempt."""
    try:
        return secret()
    except BadSettings as missing:
        raise Unavailable(str(missing)) from None
