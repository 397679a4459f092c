"""The channel ``email``: a mail over SMTP, encrypted unless the server is on this machine."""

from __future__ import annotations

import json
import logging
import smtplib
import ssl
from collections.abc import Callable
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from ipaddress import ip_address
from typing import Literal

import msgspec
from msgspec import Struct

from modelkeep.alerts.channels.messages import TIMEOUT, Message
from modelkeep.alerts.channels.posting import revealed
from modelkeep.errors import BadSettings, Refused, TimedOut, Unavailable

Encryption = Literal["starttls", "tls", "none"]
_LOG = logging.getLogger("modelkeep.alerts")
_ALERT = ("type", "severity", "message", "opened")
"""Fields that have their own line in a mail; the others are its metadata."""


class Relay(Struct, frozen=True, kw_only=True):
    """The mail server: ``starttls`` (port 587) encrypts before anything is said, ``tls`` (465) from the first byte.

    ``authority`` is a file of certificates to trust in place of the machine's; ``secret`` is asked at every send.
    """

    host: str
    port: int = 587
    encryption: Encryption = "starttls"
    authority: str = ""
    username: str = ""
    secret: Callable[[], str] | None = None


class EmailChannel:
    """Sends each message as a mail from ``sender`` to every address of ``to``.

    What cannot be encrypted is not sent: there is no falling back to plain text. A name and password go to a server
    without encryption only on this machine.
    """

    def __init__(
        self,
        name: str,
        relay: Relay,
        *,
        sender: str,
        to: tuple[str, ...],
        product: str = "Modelkeep",
        timeout: float = TIMEOUT,
    ) -> None:
        """Raises BadSettings for addresses that are none, and for a password that would travel in the clear."""
        for address in (sender, *to):
            if "@" not in parseaddr(address)[1] or "\n" in address or "\r" in address:
                raise BadSettings(f"channel {name!r}: {address!r} is no mail address", remedy="write name@host")
        if not to:
            raise BadSettings(f"channel {name!r} has nobody to write to", remedy='set to = ["ops@example.org"]')
        if relay.encryption == "none" and relay.username and not _near(relay.host):
            raise BadSettings(
                f"channel {name!r}: the password would go to {relay.host} in the clear",
                remedy='set encryption = "starttls" or "tls"',
            )
        self.name = name
        self._relay = relay
        self._sender = sender
        self._to = to
        self._product = product
        self._timeout = timeout

    def send(self, message: Message) -> None:
        """Send the mail; on return the server has taken it for at least one receiver.

        Raises Refused when the server refuses for good (5xx, or no encryption), TimedOut after ``timeout`` seconds of
        silence, else Unavailable.
        """
        mail = written(message, sender=self._sender, to=self._to, product=self._product)
        place = f"mail server {self._relay.host}:{self._relay.port}"
        try:
            with self._connected() as server:
                refused = server.send_message(mail)
        except smtplib.SMTPNotSupportedError as error:
            raise Refused(f"{place}: {error}", remedy="see encryption, username and secret of the channel") from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise _answered(place, max(codes, default=0), remedy="check the addresses in to") from None
        except smtplib.SMTPResponseException as error:
            raise _answered(place, error.smtp_code, remedy="check username, secret and sender") from None
        except ssl.SSLError as error:
            raise Unavailable(f"{place} cannot be trusted: {error.reason or type(error).__name__}") from None
        except (smtplib.SMTPException, OSError) as error:
            if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
                raise TimedOut(f"{place} did not answer within {self._timeout:g} s") from None
            raise Unavailable(f"{place} cannot be reached: {type(error).__name__}") from None
        if refused:
            _LOG.warning("some addresses were refused", extra={"channel": self.name, "refused": len(refused)})

    def _connected(self) -> smtplib.SMTP:
        """A connection that is encrypted and logged in, as far as asked for."""
        relay = self._relay
        password = revealed(relay.secret) if relay.username and relay.secret else ""
        if relay.encryption == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                relay.host, relay.port, timeout=self._timeout, context=_trusting(relay.authority)
            )
        else:
            server = smtplib.SMTP(relay.host, relay.port, timeout=self._timeout)
        try:
            if relay.encryption == "starttls":
                server.starttls(context=_trusting(relay.authority))
            if relay.username:
                server.login(relay.username, password)
        except BaseException:
            server.close()
            raise
        return server


def written(message: Message, *, sender: str, to: tuple[str, ...], product: str) -> EmailMessage:
    """The mail: subject ``[SEVERITY] <product> Alert: <type>``, in its body the alert and the rest as JSON.

    Repeats carry the same Message-ID, and what follows answers to the mail that opened the alert.
    """
    again = {"open": message.severity, "resolve": "resolved", "escalate": f"{message.severity}, not acknowledged"}
    domain = parseaddr(sender)[1].rpartition("@")[2]
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Subject"] = " ".join(f"[{again[message.event].upper()}] {product} Alert: {message.type}".split())
    mail["Date"] = format_datetime(datetime.fromisoformat(message.told or message.since))
    mail["Message-ID"] = f"<{message.key}@{domain}>"
    if message.event != "open":
        mail["In-Reply-To"] = mail["References"] = f"<{message.alert}-open@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(_body(message))
    return mail


def _body(message: Message) -> str:
    rest = {key: value for key, value in msgspec.to_builtins(message).items() if key not in _ALERT}
    return (
        f"Alert Type: {message.type}\nSeverity: {message.severity}\nMessage: {message.message}\n"
        f"Timestamp: {message.since}\n\nMetadata: {json.dumps(rest, indent=2, ensure_ascii=False)}\n"
    )


def _answered(place: str, code: int, *, remedy: str) -> Refused | Unavailable:
    """What a server's refusal means for the next attempt: 5xx is for good. Its words may quote what was sent."""
    status = f"{place} answered {code}"
    return Refused(status, remedy=remedy) if code >= 500 else Unavailable(status)


def _trusting(authority: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority or None)


def _near(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
