"""The channel ``webhook``: the message as JSON to any address."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from modelkeep.alerts.channels.messages import TIMEOUT, Message
from modelkeep.alerts.channels.posting import place_of, post, revealed


class WebhookChannel:
    """Posts a message as JSON; the receiver takes it by answering 2xx within ``timeout`` seconds.

    ``secret`` is asked at every send for what goes into the header ``header``; it is never stored or written to a log.
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
        place_of(url, channel=name)
        self.name = name
        self._url = url
        self._timeout = timeout
        self._header = header
        self._secret = secret

    def send(self, message: Message) -> None:
        """Post the message. Raises as ``posting.post`` does."""
        own = {} if self._secret is None else {self._header: revealed(self._secret)}
        headers = {"Idempotency-Key": message.key, **own}
        post(self._url, msgspec.json.encode(message), headers=headers, timeout=self._timeout)
