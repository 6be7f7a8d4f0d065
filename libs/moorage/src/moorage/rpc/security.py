"""Mutual TLS for calls between services over TCP: who a service is, and who may call what.

A service's certificate says by a DNS name who it is: `blob.moorage` is the blob service, wherever it runs.
The caller takes an answer only from a server with the name of the service that it wants, and the server takes
a call only from those that `CALLERS` names. Both must have been issued by an authority of `services.tls.ca`.

On unix sockets, permissions and nothing else decide: only one host's own processes get there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

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

_REFUSED = Counter(
    "moorage_rpc_refused", "Calls over TCP whose caller's certificate does not allow them.", ["method"]
)


class ForbiddenCallError(Exception):
    """The caller's certificate does not allow the call."""


def identity(service: str) -> str:
    """The DNS name in the certificate of a service."""
    return f"{service}.{DOMAIN}"


class Security:
    """The certificate of one service for its calls and for those to it, as it is at the moment."""

    def __init__(self, files: CertificateFiles) -> None:
        """Read the files. Raises UnusableFileError."""
        self._pair: Watched[Pair] = Watched(files, lambda pair: pair)

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
        return self._pair.generation

    def watching(self) -> Any:
        """A context manager: look for changed files while it is open."""
        return self._pair.watching()

    def check(self) -> None:
        """Look for changed files now."""
        self._pair.check()

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """What a caller shows, and whom it believes."""
        pair = self._pair.current
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
        pair = self._pair.current
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
    names = {
        name.decode("utf-8", "replace") for name in auth_context.get("x509_subject_alternative_name", ())
    }
    if names.isdisjoint(identity(service) for service in allowed):
        _REFUSED.labels(method).inc()
        log.warning("a call is refused: its caller may not make it", method=method, caller=sorted(names))
        raise ForbiddenCallError(f"the caller's certificate does not allow {method}")
