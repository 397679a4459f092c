"""The channel ``slack``: an attachment for one of Slack's incoming webhooks.

The form is that of https://docs.slack.dev/tools/legacy-attachments (title, text, fields, footer, ts, colour).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from modelkeep.alerts.channels.messages import TIMEOUT, Message
from modelkeep.alerts.channels.posting import place_of, post, revealed

COLOURS: Mapping[str, str] = {
    "info": "#36a64f",
    "warning": "#ff9900",
    "medium": "#ff9900",
    "error": "#ff9900",
    "high": "#ff0000",
    "critical": "#ff0000",
}
"""By severity; pages are red. Any other severity is grey."""
OTHER = "#808080"
LONGEST = 3000
"""Characters of text that Slack shows whole."""


class SlackChannel:
    """Posts to an incoming webhook of Slack; ``url`` is asked at every send, for the address itself is the secret."""

    def __init__(
        self, name: str, url: Callable[[], str], *, product: str = "Modelkeep", timeout: float = TIMEOUT
    ) -> None:
        self.name = name
        self._url = url
        self._product = product
        self._timeout = timeout

    def send(self, message: Message) -> None:
        """Post the message. Raises as ``posting.post`` does, and BadSettings for an address that is none."""
        url = revealed(self._url)
        place_of(url, channel=self.name)
        post(url, msgspec.json.encode(payload(message, product=self._product)), headers={}, timeout=self._timeout)


def payload(message: Message, *, product: str) -> dict[str, object]:
    """The body of the post: one attachment."""
    over = message.event == "resolve"
    again = {"open": "", "resolve": "Resolved: ", "escalate": "Not acknowledged: "}[message.event]
    title = f"{again}{product} Alert: {message.type}"
    text = _escaped(message.message[:LONGEST])
    fields = [
        {"title": "Severity", "value": message.severity, "short": True},
        {"title": "Timestamp", "value": message.since, "short": True},
        {"title": "Subject", "value": _escaped(message.subject), "short": True},
        {"title": "Alert", "value": message.key, "short": True},
    ]
    attachment = {
        "color": COLOURS["info"] if over else COLOURS.get(message.severity, OTHER),
        "title": _escaped(title),
        "fallback": f"{_escaped(title)}: {text.partition(chr(10))[0]}",
        "text": text,
        "fields": fields,
        "footer": product,
        "ts": int(datetime.fromisoformat(message.since).timestamp()),
    }
    return {"attachments": [attachment]}


def _escaped(text: str) -> str:
    """Text in which nothing is a mention, a link or an entity."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
