"""Requests as controllers see them, and certificates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from api_gateway.record import RECORD_KEY, RequestRecord
from api_gateway.request import Request
from api_gateway.urls import Origins

RequestWith = Callable[..., Request]


@pytest.fixture
def request_with() -> RequestWith:
    """Makes a request with these header fields, from this address."""

    def make(*headers: tuple[str, str], client: str = "192.0.2.1") -> Request:
        async def receive() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            raise AssertionError("a controller answers nothing")

        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
            "query_string": b"",
            "extensions": {},
            RECORD_KEY: RequestRecord(peer=client, client=client),
        }
        origins = Origins(host=None, relative=True, prefix="/", trusts=lambda peer: False)
        return Request(scope, receive, send, origins=origins, stall=5)

    return make


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


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)
