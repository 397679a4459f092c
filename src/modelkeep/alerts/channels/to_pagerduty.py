"""The channel ``pagerduty``: events of PagerDuty's Events API v2 (https://developer.pagerduty.com/docs/events-api-v2).

An alert is one incident: opening, reminding and escalating trigger it, resolving resolves it, all with one
deduplication key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from modelkeep.alerts.channels.messages import TIMEOUT, Message
from modelkeep.alerts.channels.posting import place_of, post, revealed
from modelkeep.nouns import Severity, model_of

URL = "https://events.pagerduty.com/v2/enqueue"
LONGEST = 1024
"""Characters of a summary."""
_SEVERITIES: Mapping[Severity, str] = {
    "info": "info",
    "warning": "warning",
    "medium": "warning",
    "error": "error",
    "high": "error",
    "critical": "critical",
}


class PagerDutyChannel:
    """Enqueues events; ``routing_key`` (the integration key) is asked at every send and never stored or logged."""

    def __init__(
        self,
        name: str,
        routing_key: Callable[[], str],
        *,
        url: str = URL,
        product: str = "Modelkeep",
        timeout: float = TIMEOUT,
    ) -> None:
        """Raises BadSettings when the URL is not http(s)."""
        place_of(url, channel=name)
        self.name = name
        self._key = routing_key
        self._url = url
        self._product = product
        self._timeout = timeout

    def send(self, message: Message) -> None:
        """Enqueue the event. Raises as ``posting.post`` does."""
        body = payload(message, routing_key=revealed(self._key), product=self._product)
        post(self._url, msgspec.json.encode(body), headers={}, timeout=self._timeout)


def payload(message: Message, *, routing_key: str, product: str) -> dict[str, object]:
    """The event as PagerDuty takes it."""
    event: dict[str, object] = {
        "routing_key": routing_key,
        "event_action": "resolve" if message.event == "resolve" else "trigger",
        "dedup_key": message.alert,
    }
    if message.event == "resolve":
        return event
    first = message.message.partition("\n")[0]
    return event | {
        "client": product,
        "payload": {
            "summary": f"{product} {message.severity.capitalize()} Alert: {message.type}: {first}"[:LONGEST],
            "source": message.subject,
            "severity": _SEVERITIES[message.severity],
            "timestamp": message.opened,
            "component": model_of(message.subject),
            "class": message.type,
            "custom_details": msgspec.to_builtins(message),
        },
    }
