"""The channel ``log``: a line in the log, and so on standard error."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from modelkeep.alerts.channels.messages import Message
from modelkeep.nouns import Severity

_LOG = logging.getLogger("modelkeep.alerts")
_LEVELS: Mapping[Severity, int] = {
    "info": logging.INFO,
    "warning": logging.WARNING,
    "medium": logging.WARNING,
    "error": logging.ERROR,
    "high": logging.ERROR,
    "critical": logging.CRITICAL,
}


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
