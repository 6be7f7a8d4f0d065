"""The certificates that a token brings: who signed it, if they lead to one of the operator's.

Source: RFC 7515, section 4.1.6; RFC 5280, section 6, by the verifier of `cryptography`.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from api_gateway.access.token.errors import InvalidTokenError

# Certificates that a token may bring; of RSA keys, the most bits and the greatest exponent: anybody can send
# some, and each costs a verification.
_MOST = 5
_RSA_BITS = 4096
_RSA_EXPONENT = 2**32

# Chains that led to a root before, at most.
_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Signer:
    """The certificate that a token is signed with, and until when its chain is good (seconds since 1970)."""

    certificate: x509.Certificate = field(repr=False)
    expires: float


class Roots:
    """The certificates that chains must lead to."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        """At least one."""
        self._certificates = frozenset(certificates)
        self._store = Store(list(certificates))
        self._remembered: OrderedDict[tuple[str, ...], Signer] = OrderedDict()

    def signer(self, x5c: object, now: float) -> Signer:
        """Who signed a token with this `x5c`, at a time in seconds since 1970. Raises InvalidTokenError."""
        chain = _texts(x5c)
        known = self._remembered.get(chain)
        if known is None:
            known = self._verified([_certificate(text) for text in chain], now)
            self._remembered[chain] = known
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        if now > known.expires:
            raise InvalidTokenError("a certificate of x5c has expired")
        return known

    def _verified(self, chain: list[x509.Certificate], now: float) -> Signer:
        leaf = chain[0]
        if leaf in self._certificates:
            # The operator trusts this very certificate, whoever issued it, and whatever for.
            path = [leaf]
            if not leaf.not_valid_before_utc.timestamp() <= now <= _end(leaf):
                raise InvalidTokenError("the certificate of x5c is not valid at this time")
        else:
            path = self._path(leaf, chain[1:], now)
            _check_usage(leaf)
        return Signer(leaf, min(map(_end, path)))

    def _path(
        self, leaf: x509.Certificate, others: list[x509.Certificate], now: float
    ) -> list[x509.Certificate]:
        verifier = (
            PolicyBuilder()
            .store(self._store)
            .time(datetime.fromtimestamp(now, UTC).replace(tzinfo=None))
            .max_chain_depth(_MOST)
            .extension_policies(ee_policy=ExtensionPolicy.permit_all(), ca_policy=_AUTHORITIES)
            .build_client_verifier()
        )
        try:
            return verifier.verify(leaf, others).chain
        except (VerificationError, x509.UnsupportedGeneralNameType, ValueError) as error:
            raise InvalidTokenError("the certificates of x5c do not lead to a trusted one") from error


def _end(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def _texts(x5c: object) -> tuple[str, ...]:
    if (
        not isinstance(x5c, list)
        or not 0 < len(x5c) <= _MOST
        or not all(isinstance(each, str) for each in x5c)
    ):
        raise InvalidTokenError(f"x5c is not a list of 1 to {_MOST} certificates")
    return tuple(x5c)


def _certificate(text: str) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
        key = certificate.public_key()
        # Read here, that what cannot be read is found here.
        _ = certificate.extensions
    except Exception as error:  # malformed content raises whatever the parser meets
        raise InvalidTokenError("a certificate of x5c cannot be read") from error
    if isinstance(key, RSAPublicKey) and (key.key_size > _RSA_BITS or key.public_numbers().e > _RSA_EXPONENT):
        raise InvalidTokenError("a certificate of x5c has too large a key")
    return certificate


def _check_usage(leaf: x509.Certificate) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not usage.digital_signature:
        raise InvalidTokenError("the certificate of x5c is not for signatures")


def _is_authority(
    _policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints
) -> None:
    if not constraints.ca:
        raise ValueError("not a certificate authority")


def _may_sign(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("may not sign certificates")


# Of an authority the profile of the web is not asked for (key identifiers, name rules), only what makes it
# one: token servers have certificates of their own making.
_AUTHORITIES = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
)
