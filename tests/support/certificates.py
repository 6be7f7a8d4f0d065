"""Certificates of a test's own making, good and bad."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A certificate with its key, which can issue others."""

    def __init__(self, certificate: x509.Certificate, key: Any) -> None:
        self.certificate = certificate
        self.key = key

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, name: str, **options: Any) -> Authority:
        return certified(name, issuer=self, **options)


def certified(
    name: str,
    *,
    issuer: Authority | None = None,
    authority: bool = True,
    days: tuple[float, float] = (-1, 1),
    key: Any = None,
    path_length: int | None = None,
    constraints: bool = True,
    usage: x509.KeyUsage | None = None,
    further: x509.ExtensionType | None = None,
) -> Authority:
    """A certificate, of itself or of an issuer, valid from so many days from now to so many."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
    if constraints:
        builder = builder.add_extension(x509.BasicConstraints(authority, path_length), critical=True)
    if usage is not None:
        builder = builder.add_extension(usage, critical=True)
    if further is not None:
        builder = builder.add_extension(further, critical=True)
    return Authority(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)
