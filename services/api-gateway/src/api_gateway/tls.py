"""TLS on the registry's listener: a context as `http.tls` says, made anew when a file changes."""

from __future__ import annotations

import contextlib
import ssl
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any

from moorage.config import ConfigurationError
from moorage.config.tls import TLS
from moorage.tls import CertificateFiles, Pair, UnusableFileError, Watched

# Where nobody chose others: what Go's TLS calls secure of TLS 1.2, and distribution's default.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

# HTTP/2 is not spoken here, whatever a client would like best.
_PROTOCOLS = ["http/1.1"]

# What is said to a client that does not speak TLS, as Go says it.
_SENTENCE = b"Client sent an HTTP request to an HTTPS server.\n"
PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_SENTENCE), _SENTENCE)
)

# Bytes that are decrypted at a time.
_PIECE = 64 * 1024

LAST_WORDS: ContextVar[bytearray | None] = ContextVar("LAST_WORDS", default=None)
"""Where a handshake that fails leaves the alert that says why. Event loops drop it with the connection."""


class _Handshake(ssl.SSLObject):
    """One connection's TLS. `outgoing` is where its bytes for the client wait."""

    outgoing: ssl.MemoryBIO
    last_words: bytearray | None

    def do_handshake(self) -> None:
        """See `ssl.SSLObject`."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            if self.last_words is not None:
                self.last_words += self.outgoing.read()
            raise


class _Context(ssl.SSLContext):
    sslobject_class = _Handshake

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *more: Any, **named: Any) -> Any:
        made = super().wrap_bio(incoming, outgoing, *more, **named)
        made.outgoing, made.last_words = outgoing, LAST_WORDS.get()  # type: ignore[attr-defined]
        return made


def undelivered(connection: ssl.SSLObject) -> bytes:
    """What has come over a connection that has ended, and was not read: at most what a loop reads ahead."""
    pieces = []
    # At the end of what has come, OpenSSL wants more, or says that the client has said goodbye.
    with contextlib.suppress(ssl.SSLError):
        while piece := connection.read(_PIECE):
            pieces.append(piece)
    return b"".join(pieces)


class ListenerTLS:
    """What each new connection is secured with."""

    def __init__(self, tls: TLS) -> None:
        """Read the files. Raises ConfigurationError that names the key of the one that cannot be used."""
        assert tls.certificate is not None, "without a certificate there is no TLS"  # noqa: S101
        self._tls = tls
        files = CertificateFiles("http.tls", tls.certificate, tls.key or "", tls.clientcas)
        self._files = files
        try:
            self._watched: Watched[ssl.SSLContext] = Watched(files, self._make)
        except UnusableFileError as error:
            raise ConfigurationError(error.key, error.sentence) from error

    @classmethod
    def of(cls, tls: TLS) -> ListenerTLS | None:
        """What `http.tls` asks for; None if it asks for nothing."""
        return cls(tls) if tls.is_on else None

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection; those that are open keep theirs."""
        return self._watched.current

    def watching(self) -> AbstractAsyncContextManager[None]:
        """Look for changed files while the context is open."""
        return self._watched.watching()

    def _make(self, pair: Pair) -> ssl.SSLContext:
        tls = self._tls
        context = _Context(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        if tls.minimumtls == "tls1.3" or (tls.ciphersuites and not tls.openssl_ciphers):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        else:
            _choose(context, tls)
        context.set_alpn_protocols(_PROTOCOLS)
        self._files.load_into(context)
        wanted = tls.client_certificates
        if wanted != "none":
            # A file of certificates that OpenSSL cannot read was refused before.
            context.load_verify_locations(cadata=pair.authorities.decode("ascii"))
            context.verify_mode = ssl.CERT_REQUIRED if wanted == "required" else ssl.CERT_OPTIONAL
        return context


def _choose(context: ssl.SSLContext, tls: TLS) -> None:
    for number, suite in enumerate(tls.openssl_ciphers):
        try:
            context.set_ciphers(suite)
        except ssl.SSLError as error:
            raise UnusableFileError(
                f"http.tls.ciphersuites[{number}]", f"this version of OpenSSL does not have {suite}"
            ) from error
    context.set_ciphers(":".join(tls.openssl_ciphers) or _CIPHERS)
