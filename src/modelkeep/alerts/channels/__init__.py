"""The seam ``Channel``: how a message reaches people, one module a way. Contract suite: ``tests/alerts/contract``."""

from modelkeep.alerts.channels.messages import (
    EVERYTHING,
    TIMEOUT,
    Channel,
    Message,
    Narrowed,
    SwitchedOff,
    Taking,
    message,
    takes,
)
from modelkeep.alerts.channels.to_email import EmailChannel
from modelkeep.alerts.channels.to_log import LogChannel
from modelkeep.alerts.channels.to_pagerduty import PagerDutyChannel
from modelkeep.alerts.channels.to_slack import SlackChannel
from modelkeep.alerts.channels.to_webhook import WebhookChannel

__all__ = [
    "EVERYTHING",
    "TIMEOUT",
    "Channel",
    "EmailChannel",
    "LogChannel",
    "Message",
    "Narrowed",
    "PagerDutyChannel",
    "SlackChannel",
    "SwitchedOff",
    "Taking",
    "WebhookChannel",
    "message",
    "takes",
]
