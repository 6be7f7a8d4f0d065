"""`http.tls`, as distribution reads it, and `services.tls` (Moorage's own).

Source: distribution's `registry/registry.go`, version 3: which cipher suites, versions and ways to ask for a
client's certificate have a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from moorage.config.section import Section
from moorage.config.values import Lines, Text, empty_is_none, one_of, warn

SERVICES = ("gateway", "blob", "metadata", "notifier")

# What stands in a path of `services.tls` for the service that reads it.
SERVICE = "{service}"

CIPHER_SUITES: Mapping[str, str | None] = {
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA": "DES-CBC3-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA": "ECDHE-RSA-DES-CBC3-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_AES_128_GCM_SHA256": None,
    "TLS_AES_256_GCM_SHA384": None,
    "TLS_CHACHA20_POLY1305_SHA256": None,
}
"""Go's names, with OpenSSL's; None for a suite of TLS 1.3, all of which are always there, as in Go."""

REQUIRE = "require-and-verify-client-cert"
IF_GIVEN = "verify-client-cert-if-given"
REQUEST = "request-client-cert"
_ANY = "require-any-client-cert"


def _client_auth(value: str, info: ValidationInfo) -> str:
    if value == _ANY:
        raise ValueError(
            f"{value!r} requires certificates that nobody verifies, which prove nothing: it is not "
            f"supported; write {REQUIRE}, or {IF_GIVEN}"
        )
    if value == REQUEST:
        warn(info, "http.tls.clientauth: clients are not asked for a certificate, as nobody would verify it")
    return one_of(REQUIRE, IF_GIVEN, REQUEST)(value)


def _minimum(value: str) -> str:
    if value in ("tls1.0", "tls1.1"):
        raise ValueError(f"{value} is no longer safe: write tls1.2 or tls1.3")
    return one_of("tls1.2", "tls1.3")(value)


def _suites(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    for name in value:
        if name not in CIPHER_SUITES:
            raise ValueError(f"unknown cipher suite {name!r}")
    if value and info.data.get("minimumtls") == "tls1.3":
        warn(info, "http.tls.ciphersuites: not used, as TLS 1.3 has suites of its own")
    return value


class LetsEncrypt(Section):
    """`http.tls.letsencrypt`."""

    cachefile: Text | None = None
    email: Text | None = None
    hosts: Lines = ()
    directoryurl: Text | None = None


class TLS(Section):
    """`http.tls`: on when there is a certificate. `clientauth` is None where nobody said how to ask."""

    certificate: Annotated[Text | None, BeforeValidator(empty_is_none)] = None
    key: Annotated[Text | None, BeforeValidator(empty_is_none)] = None
    clientcas: Lines = ()
    clientauth: Annotated[
        Annotated[Text, AfterValidator(_client_auth)] | None, BeforeValidator(empty_is_none)
    ] = None
    minimumtls: Annotated[
        Annotated[Text, AfterValidator(_minimum)] | None, BeforeValidator(empty_is_none)
    ] = None
    ciphersuites: Annotated[Lines, AfterValidator(_suites)] = ()
    letsencrypt: LetsEncrypt = Field(default_factory=LetsEncrypt)

    @property
    def is_on(self) -> bool:
        """Whether clients are served over TLS."""
        return self.certificate is not None

    @property
    def client_certificates(self) -> Literal["none", "if given", "required"]:
        """Whether clients must have a certificate of `clientcas`."""
        if not self.clientcas or self.clientauth == REQUEST:
            return "none"
        return "if given" if self.clientauth == IF_GIVEN else "required"

    @property
    def openssl_ciphers(self) -> tuple[str, ...]:
        """The suites for TLS 1.2 as OpenSSL names them; none where only those of TLS 1.3 are wanted."""
        return tuple(name for suite in self.ciphersuites if (name := CIPHER_SUITES[suite]) is not None)

    def problems(self) -> Iterator[tuple[str, str]]:
        """What does not go together: a key of this section each, and a sentence."""
        asks = self.key or self.clientcas or self.clientauth or self.minimumtls or self.ciphersuites
        if self.certificate is None and asks:
            yield "certificate", "is required, as other keys of http.tls ask for TLS"
        if self.certificate is not None and self.key is None:
            yield "key", "is required: http.tls.certificate and http.tls.key go together"
        if self.clientauth not in (None, REQUEST) and not self.clientcas:
            yield "clientcas", "is required: http.tls.clientauth verifies certificates with it"


class ServicesTLS(Section):
    """`services.tls`: mutual TLS for calls between services over TCP. All three keys, or none."""

    certificate: Annotated[Text | None, BeforeValidator(empty_is_none)] = None
    key: Annotated[Text | None, BeforeValidator(empty_is_none)] = None
    ca: Lines = ()

    @property
    def is_on(self) -> bool:
        """Whether calls over TCP are encrypted and authenticated."""
        return self.certificate is not None

    def of_service(self, service: str) -> tuple[str, str]:
        """The certificate's file and the key's of one service."""
        return tuple(str(path).replace(SERVICE, service) for path in (self.certificate, self.key))  # type: ignore[return-value]

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is missing: a key of this section each, and a sentence."""
        if any(getattr(self, key) for key in ("certificate", "key", "ca")):
            for key in ("certificate", "key", "ca"):
                if not getattr(self, key):
                    yield key, "is required: services.tls needs certificate, key and ca"
