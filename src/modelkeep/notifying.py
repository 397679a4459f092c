"""The ways to tell people that the configuration asks for."""

from __future__ import annotations

from modelkeep.alerts.channels import (
    Channel,
    EmailChannel,
    LogChannel,
    Narrowed,
    PagerDutyChannel,
    SlackChannel,
    SwitchedOff,
    Taking,
    WebhookChannel,
)
from modelkeep.alerts.channels.to_email import Relay
from modelkeep.alerts.channels.to_pagerduty import URL
from modelkeep.errors import BadSettings
from modelkeep.settings.secrets import Secret
from modelkeep.settings.sections import ChannelSettings, Settings


def channels(settings: Settings) -> dict[str, Channel]:
    """The channels of the configuration by name.

    The log is told of what would otherwise reach nobody: it joins them when none of them takes every alert.
    Raises BadSettings for what cannot work (an address that is none, a variable that is not set).
    """
    built: dict[str, Channel] = {}
    every = False
    for name, wanted in settings.alerts.channels.items():
        if not wanted.enabled:
            built[name] = SwitchedOff(name=name)
            continue
        least = wanted.least or ("critical" if wanted.kind == "pagerduty" else "info")
        taking = Taking(types=wanted.types, least=least)
        every = every or taking == Taking()
        built[name] = Narrowed(channel=_built(name, wanted), taking=taking)
    if not every:
        spare = next(name for name in ("log", "log-of-the-rest") if name not in built)
        built[spare] = LogChannel(spare)
    return built


def _built(name: str, wanted: ChannelSettings) -> Channel:
    product, timeout = wanted.product, wanted.timeout
    secret = wanted.secret.reveal if wanted.secret else None
    match wanted.kind:
        case "log":
            return LogChannel(name)
        case "webhook":
            address = _address(name, wanted).reveal()
            return WebhookChannel(name, address, timeout=timeout, header=wanted.header, secret=secret)
        case "slack":
            where = _address(name, wanted)
            where.reveal()  # a variable that is not set is told at the start, not at the first alert
            return SlackChannel(name, where.reveal, product=product, timeout=timeout)
        case "pagerduty":
            if secret is None:
                raise BadSettings(f"alerts.channels.{name}: pagerduty without secret", remedy="add its secret")
            url = wanted.url.reveal() if wanted.url else URL
            return PagerDutyChannel(name, secret, url=url, product=product, timeout=timeout)
        case "email":
            return _mailed(name, wanted)


def _mailed(name: str, wanted: ChannelSettings) -> EmailChannel:
    relay = Relay(
        host=wanted.host,
        port=wanted.port,
        encryption=wanted.encryption,
        authority=wanted.authority,
        username=wanted.username,
        secret=wanted.secret.reveal if wanted.secret else None,
    )
    return EmailChannel(name, relay, sender=wanted.sender, to=wanted.to, product=wanted.product, timeout=wanted.timeout)


def _address(name: str, wanted: ChannelSettings) -> Secret:
    if wanted.url is None:
        raise BadSettings(f"alerts.channels.{name}: {wanted.kind} without url", remedy="add its url")
    return wanted.url
