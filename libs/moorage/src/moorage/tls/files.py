"""A certificate, its key and the authorities that others' certificates must lead to, in PEM files."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

# A file of certificates or of a key, at most; more is some other file.
_MOST_BYTES = 4 * 2**20


class UnusableFileError(Exception):
    """A file cannot be used. `key` is what names it in the configuration, and `sentence` says why."""

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(key, sentence)
        self.key = key
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.key}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Pair:
    """What the files held at one moment: a certificate's chain and its key, which belong together."""

    chain: bytes
    key: bytes = field(repr=False)
    authorities: bytes
    expires: datetime
    """When the first certificate of the chain ends; with a time zone."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where they are. The names are those of the configuration's keys, for errors: `section` comes first."""

    section: str
    certificate: str
    key: str
    authorities: tuple[str, ...] = ()
    authorities_key: str = "clientcas"

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Changes when a file does, or is replaced; raises OSError when one is not there."""
        found = [os.stat(path) for path in (self.certificate, self.key, *self.authorities)]
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)

    def read(self) -> Pair:
        """Read and check all of them. Raises UnusableFileError."""
        # Only here: most services have no certificates.
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        certificate_key, key_key = f"{self.section}.certificate", f"{self.section}.key"
        chain, key = _content(certificate_key, self.certificate), _content(key_key, self.key)
        try:
            first = x509.load_pem_x509_certificates(chain)[0]
        except ValueError as error:
            raise UnusableFileError(certificate_key, "holds no PEM certificate") from error
        authorities = []
        for number, path in enumerate(self.authorities):
            name = f"{self.section}.{self.authorities_key}[{number}]"
            try:
                found = x509.load_pem_x509_certificates(_content(name, path))
            except ValueError as error:
                raise UnusableFileError(name, "holds no PEM certificates") from error
            # Without what stands between them, which may be in any encoding.
            authorities += [each.public_bytes(Encoding.PEM) for each in found]
        self.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        return Pair(chain, key, b"".join(authorities), first.not_valid_after_utc)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Have a context show the certificate. Raises UnusableFileError."""
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except ssl.SSLError as error:
            raise UnusableFileError(
                f"{self.section}.key", _why(error, f"{self.section}.certificate")
            ) from error
        except OSError as error:
            raise UnusableFileError(f"{self.section}.key", f"cannot be read: {error.strerror}") from error


def _content(name: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UnusableFileError(name, f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise UnusableFileError(name, f"{path} is too large for a PEM file")
    return content


def _no_password() -> str:
    # Without this, OpenSSL would ask the terminal.
    return ""


def _why(error: ssl.SSLError, certificate_key: str) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"does not belong to the certificate in {certificate_key}"
    if error.reason in {"EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"}:
        return f"or {certificate_key} is too weak for this version of OpenSSL"
    return "is not an unencrypted PEM key for " + certificate_key
