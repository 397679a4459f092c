"""The seam ``Channel``: how a message reaches people. Contract suite: ``tests/alerts/contract``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Literal, Protocol
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import Struct

from modelkeep.errors import BadSettings, Refused, TimedOut, Unavailable
from modelkeep.nouns import Alert, Delivery, Severity
from modelkeep.quantities import iso

TIMEOUT = 5.0
_LOG = logging.getLogger("modelkeep.alerts")
_LEVELS: Mapping[Severity, int] = {
    "info": logging.INFO,
    "warning": logging.WARNING,
    "medium": logging.WARNING,
    "error": logging.ERROR,
    "high": logging.ERROR,
    "critical": logging.CRITICAL,
}
_LATER = frozenset({408, 425, 429})
"""Refusals that a later attempt may overcome."""


class Message(Struct, frozen=True, kw_only=True):
    """What goes to a channel; times are ISO-8601 in UTC.

    ``key`` is the same at every attempt: a receiver that has seen it may drop the repeat (delivery is at least once).
    """

    key: str
    event: Literal["open", "resolve", "escalate"]
    alert: str
    rule: str
    subject: str
    type: str
    severity: Severity
    state: str
    message: str
    opened: str
    resolved: str | None = None
    value: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0
    advice: tuple[str, ...] = ()
    command: str = ""


class Channel(Protocol):
    """A way to tell people."""

    @property
    def name(self) -> str:
        """What rules call it."""

    def send(self, message: Message) -> None:
        """Hand a message over; on return it has been taken.

        Raises Refused when no repeat will help, Unavailable when a later one may.
        """


def message(alert: Alert, delivery: Delivery, *, count: int = 1) -> Message:
    """The message of one delivery; ``count`` is 2 for its first reminder."""
    reading = alert.readings[0] if alert.readings else None
    return Message(
        key=f"{alert.id}-{delivery.event}" + (f"-{count}" if count > 1 else ""),
        event=delivery.event,
        alert=alert.id,
        rule=alert.rule,
        subject=alert.subject,
        type=alert.kind,
        severity=alert.severity,
        state=alert.state,
        message=alert.message,
        opened=iso(alert.opened),
        resolved=None if alert.resolved is None else iso(alert.resolved),
        value=reading.value if reading else None,
        interval=reading.interval if reading else None,
        n=reading.n if reading else 0,
        advice=alert.advice,
        command=alert.command,
    )


class LogChannel:
    """Writes one line to the log (and so to stderr), at the level of the alert's severity."""

    def __init__(self, name: str = "log") -> None:
        self.name = name

    def send(self, message: Message) -> None:
        """Write the line; its fields are those of the message."""
        level = logging.INFO if message.event == "resolve" else _LEVELS[message.severity]
        fields = msgspec.to_builtins(message)
        said = " ".join(fields.pop("message").split())
        _LOG.log(level, "alert %s: %s", message.event, said, extra={f"alert_{key}": fields[key] for key in fields})


class WebhookChannel:
    """Posts a message as JSON; the receiver takes it by answering 2xx within ``timeout`` seconds.

    Redirects are never followed: they could lead into the network of the server. ``secret`` is asked at every send for
    what goes into the header ``header``; it is never stored or written to a log.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        timeout: float = TIMEOUT,
        header: str = "Authorization",
        secret: Callable[[], str] | None = None,
    ) -> None:
        """Raises BadSettings when the URL is not http(s)."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadSettings(f"channel {name!r}: not an http(s) URL", remedy="write https://host/path")
        self.name = name
        self._url = url
        self._place = parts.hostname
        self._timeout = timeout
        self._header = header
        self._secret = secret

    def send(self, message: Message) -> None:
        """Post the message.

        Raises Refused for an answer 3xx or 4xx (but 408, 425, 429), TimedOut after ``timeout``, else Unavailable.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.key, **self._credentials()}
        try:
            answer = httpx.post(
                self._url, content=msgspec.json.encode(message), headers=headers, timeout=self._timeout,
                follow_redirects=False,
            )  # fmt: skip
        except httpx.TimeoutException:
            raise TimedOut(f"{self._place} did not answer within {self._timeout:g} s") from None
        except httpx.HTTPError as error:
            raise Unavailable(f"{self._place} cannot be reached: {type(error).__name__}") from None
        if answer.is_success:
            return
        status = f"{self._place} answered {answer.status_code}"
        if answer.status_code >= 500 or answer.status_code in _LATER:
            raise Unavailable(status)
        raise Refused(status, remedy="redirects are not followed" if answer.is_redirect else "check URL and secret")

    def _credentials(self) -> dict[str, str]:
        if self._secret is None:
            return {}
        try:
            return {self._header: self._secret()}
        except BadSettings as missing:
            raise Unavailable(str(missing)) from None  # it may be there at the next attempt
