"""TLS on the gRPC port: the certificate and its key, read again when they have changed; and who may knock at all."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import grpc

from modelkeep.errors import BadSettings

if TYPE_CHECKING:
    from modelkeep.settings import Settings

log = logging.getLogger("modelkeep.edge")
Stamps: TypeAlias = tuple[tuple[int, int], ...]


def credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What the port shows and asks for; None when it speaks no TLS. Raises BadSettings naming the file."""
    server = settings.server
    if not server.grpc_certificate:
        return None
    clients = settings.folder / server.grpc_clients if server.grpc_clients else None
    files = _Files(settings.folder / server.grpc_certificate, settings.folder / server.grpc_key, clients=clients)
    first = files.configuration()
    return grpc.dynamic_ssl_server_credentials(
        first, files.changed, require_client_authentication=bool(server.grpc_clients)
    )


class _Files:
    """The files of the certificate (with its chain), of its key, and of the authority of clients, if any."""

    def __init__(self, certificate: Path, key: Path, *, clients: Path | None) -> None:
        self._certificate, self._key, self._clients = certificate, key, clients
        self._seen: Stamps = ()
        self._fault = ""

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """What is in them. Raises BadSettings."""
        self._seen = self._stamps()
        key, certificate = (_read(path) for path in (self._key, self._certificate))
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key, password="")
        except (ssl.SSLError, ValueError, OSError) as cause:
            raise BadSettings(
                f"TLS of the gRPC port: {self._certificate} and {self._key} do not go together: {cause}",
                remedy="give the PEM files of one certificate (with its chain) and of its key, without a password",
            ) from None
        if self._clients is None:
            return grpc.ssl_server_certificate_configuration([(key, certificate)])
        clients = _read(self._clients)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(self._clients)
        except (ssl.SSLError, OSError) as cause:
            raise BadSettings(
                f"server.grpc_clients: {self._clients} holds no certificate: {cause}", remedy="give a PEM file"
            ) from None
        return grpc.ssl_server_certificate_configuration([(key, certificate)], clients)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new ones, when the files have changed; None: those that are shown stay. Asked at every handshake."""
        try:
            if self._stamps() == self._seen:
                return None
            found = self.configuration()
        except BadSettings as fault:
            if str(fault) != self._fault:
                log.warning("the certificate of the gRPC port stays as it is: %s", fault)
            self._fault = str(fault)
            return None
        self._fault = ""
        log.info("the gRPC port shows its new certificate", extra={"file": str(self._certificate)})
        return found

    def _stamps(self) -> Stamps:
        paths = [path for path in (self._certificate, self._key, self._clients) if path is not None]
        try:
            states = [path.stat() for path in paths]
        except OSError as cause:
            raise BadSettings(f"TLS of the gRPC port: {cause}", remedy="see that the server may read it") from None
        return tuple((state.st_mtime_ns, state.st_size) for state in states)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise BadSettings(f"TLS of the gRPC port: {cause}", remedy="see that the server may read it") from None
