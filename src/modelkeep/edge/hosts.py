"""Which names a server answers to, so that no page can reach it under a name of its own (DNS rebinding).

A page whose own name is made to mean this machine is of the same origin as the server, for the browser; but the name is
still the page's, and the browser sends it. Addresses cannot be made to mean another, so each of them is taken.
"""

from __future__ import annotations

from ipaddress import ip_address

from modelkeep.edge.refusals import Turned
from modelkeep.settings.sections import ServerSettings

ANY = "*"


class Hosts:
    """The names of a server: ``localhost`` and those that are set; any where another machine may ask, and none is."""

    def __init__(self, settings: ServerSettings) -> None:
        self._names = {"localhost", settings.host.lower(), *(name.lower() for name in settings.names)}
        self._open = ANY in settings.names or (settings.exposed and not settings.names)
        self._fine: set[bytes] = set()

    def check(self, host: bytes | None) -> None:
        """Raise Turned (421) for a Host header of another name; none at all is no browser's."""
        if self._open or host is None or host in self._fine:
            return
        name = _name(host.decode("latin-1").lower())
        if name not in self._names and not name.endswith(".localhost") and not _address(name):
            raise Turned(
                421,
                code="wrong_host",
                message=f"this server is not {name[:100]!r}",
                remedy="ask it by its address or as localhost, or add the name to server.names",
            )
        if len(self._fine) < 100:
            self._fine.add(host)


def _name(host: str) -> str:
    """The name without its port and the dot at its end."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
