"""Mutual TLS between services, on gRPC and the data port: who a service is, and who may call what.

A service's certificate says by a DNS name who it is: `blob.moorage` is the blob service, wherever it runs.
The caller takes an answer only from a server with the name of the service that it wants, and the server takes
a call only from those that `CALLERS` names. Both must have been issued by an authority of `services.tls.ca`.

On unix sockets, permissions and nothing else decide: only one host's own processes get there.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import grpc
import structlog
from prometheus_client import Counter

from moorage.config import Configuration, ConfigurationError
from moorage.tls import CertificateFiles, Pair, UnusableFileError, Watched

log = structlog.get_logger("moorage.rpc")

DOMAIN = "moorage"

CALLERS: Mapping[str, frozenset[str]] = {
    "moorage.v1.BlobStore": frozenset({"gateway", "metadata"}),
    "moorage.v1.Uploads": frozenset({"gateway"}),
    "moorage.v1.ObjectStore": frozenset({"metadata"}),
    "moorage.v1.Metadata": frozenset({"gateway"}),
    "moorage.v1.Notifier": frozenset({"gateway", "operator"}),
}
"""Which services may call which part of the contract. What is not listed here nobody may call."""

DATA_PORT = "the data port"

DATA_PORT_CALLERS = frozenset({"gateway"})
"""Which services may connect to a blob service's data port."""

_REFUSED = Counter(
    "moorage_rpc_refused", "Calls over TCP whose caller's certificate does not allow them.", ["method"]
)


class ForbiddenCallError(Exception):
    """The caller's certificate does not allow the call."""


def identity(service: str) -> str:
    """The DNS name in the certificate of a service."""
    return f"{service}.{DOMAIN}"


@dataclass(frozen=True, slots=True)
class _Credentials:
    """What is made of the files: for gRPC as they are, for the data port a context for each side."""

    pair: Pair
    client: ssl.SSLContext
    server: ssl.SSLContext


class Security:
    """The certificate of one service for its calls and for those to it, as it is at the moment."""

    def __init__(self, files: CertificateFiles) -> None:
        """Read the files. Raises UnusableFileError."""

        def make(pair: Pair) -> _Credentials:
            contexts = [ssl.SSLContext(side) for side in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER)]
            for context in contexts:
                # Both ends are this software's.
                context.minimum_version = ssl.TLSVersion.TLSv1_3
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(cadata=pair.authorities.decode("ascii"))
                files.load_into(context)
            return _Credentials(pair, *contexts)

        self._credentials: Watched[_Credentials] = Watched(files, make)

    @classmethod
    def of(cls, config: Configuration, service: str) -> Security | None:
        """What `services.tls` says for a service; None where it says nothing. Raises ConfigurationError."""
        tls = config.services.tls
        if not tls.is_on:
            return None
        certificate, key = tls.of_service(service)
        try:
            return cls(CertificateFiles("services.tls", certificate, key, tls.ca, "ca"))
        except UnusableFileError as error:
            raise ConfigurationError(error.key, error.sentence) from error

    @property
    def generation(self) -> int:
        """Grows when the certificate changes."""
        return self._credentials.generation

    def watching(self) -> AbstractAsyncContextManager[None]:
        """Look for changed files while the context is open."""
        return self._credentials.watching()

    def check(self) -> None:
        """Look for changed files now."""
        self._credentials.check()

    @property
    def client_context(self) -> ssl.SSLContext:
        """What the next connection to a data port is secured with."""
        return self._credentials.current.client

    @property
    def server_context(self) -> ssl.SSLContext:
        """What the next connection that a data port takes is secured with."""
        return self._credentials.current.server

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """What a caller shows, and whom it believes."""
        pair = self._credentials.current.pair
        return grpc.ssl_channel_credentials(pair.authorities, pair.key, pair.chain)

    def server_credentials(self) -> grpc.ServerCredentials:
        """What a server shows, and whom it believes: at each handshake, what holds then."""
        told = self.generation

        def changed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal told
            if told == self.generation:
                return None
            told = self.generation
            return self._configuration()

        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            changed,  # type: ignore[arg-type]  # None is no change, which the stubs do not know
            require_client_authentication=True,
        )

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = self._credentials.current.pair
        return grpc.ssl_server_certificate_configuration(
            [(pair.key, pair.chain)],
            pair.authorities,
        )


@asynccontextmanager
async def kept_up_to_date(security: Security | None) -> AsyncIterator[None]:
    """Look for changed files while the context is open, if there is anything to look at."""
    if security is None:
        yield
        return
    async with security.watching():
        yield


def check_caller(method: str, auth_context: Mapping[str, Iterable[bytes]]) -> None:
    """Raise ForbiddenCallError unless the certificate in a call's context allows `/package.Service/Call`."""
    allowed = CALLERS.get(method.strip("/").partition("/")[0], frozenset())
    names = auth_context.get("x509_subject_alternative_name", ())
    _check(method, (name.decode("utf-8", "replace") for name in names), allowed)


def check_data_port_caller(names: Iterable[str]) -> None:
    """Raise ForbiddenCallError unless a certificate with these DNS names may connect to a data port."""
    _check(DATA_PORT, names, DATA_PORT_CALLERS)


def _check(what: str, names: Iterable[str], allowed: frozenset[str]) -> None:
    found = frozenset(names)
    if found.isdisjoint(identity(service) for service in allowed):
        _REFUSED.labels(what).inc()
        log.warning("a call is refused: its caller may not make it", method=what, caller=sorted(found))
        raise ForbiddenCallError(f"the caller's certificate does not allow {what}")
