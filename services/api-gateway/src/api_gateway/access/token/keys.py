"""The keys that tokens may be signed with, from the operator's files; and which algorithms each is for.

A key and its algorithms are one thing: what a token's header says only chooses among them. So an RSA key's
text is never the secret of an HMAC, and no token is unsigned. Source: RFC 8725, sections 2.1 and 3.1.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import jwt
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from api_gateway.access.token.chains import Roots
from moorage.config import ConfigurationError
from moorage.config.auth import Token

log = structlog.get_logger("api_gateway.access")

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_BUNDLE = "auth.token.rootcertbundle"
_JWKS = "auth.token.jwks"

# Bits. A shorter RSA key can be factored, a longer one makes each new token a burden.
_RSA_BITS = range(2048, 8193)

_RSA = frozenset(f"{family}{bits}" for family in ("RS", "PS") for bits in (256, 384, 512))
_CURVES = {SECP256R1.name: "ES256", SECP384R1.name: "ES384", SECP521R1.name: "ES512"}

# The members that a key's thumbprint is of. Source: RFC 7638, section 3.2; RFC 8037, appendix A.3.
_MEMBERS = {
    "RSA": ("e", "kty", "n"),
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "oct": ("k", "kty"),
}


class UnsuitableKeyError(ValueError):
    """A key that no token can be signed with. `str()` holds nothing of the key."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key, and the algorithms that it verifies."""

    key: PublicKey | bytes = field(repr=False)
    algorithms: frozenset[str]

    @classmethod
    def of(cls, key: object) -> SigningKey:
        """A public key, or the bytes of a secret one. Raises UnsuitableKeyError."""
        if isinstance(key, RSAPublicKey):
            if key.key_size not in _RSA_BITS:
                raise UnsuitableKeyError(f"an RSA key of {key.key_size} bits; it must have 2048 to 8192")
            return cls(key, _RSA)
        if isinstance(key, EllipticCurvePublicKey) and key.curve.name in _CURVES:
            return cls(key, frozenset({_CURVES[key.curve.name]}))
        if isinstance(key, Ed25519PublicKey):
            return cls(key, frozenset({"EdDSA"}))
        if isinstance(key, bytes):
            # RFC 7518, section 3.2: at least as long as the hash.
            fitting = frozenset(f"HS{bits}" for bits in (256, 384, 512) if len(key) * 8 >= bits)
            if not fitting:
                raise UnsuitableKeyError(f"a secret of {len(key)} bytes; HS256 needs 32")
            return cls(key, fitting)
        raise UnsuitableKeyError("a key of a type that is not supported")

    def only(self, algorithms: Iterable[str]) -> SigningKey:
        """The same key for those of its algorithms that are among these."""
        return SigningKey(self.key, self.algorithms & frozenset(algorithms))


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Whom tokens are believed from."""

    by_id: Mapping[str, SigningKey]
    """Each key under what a token's `kid` may call it."""

    roots: Roots | None
    """What the certificates in a token must lead to; None where no token may bring certificates."""

    algorithms: frozenset[str]
    """What may be used at all."""


def load_keys(config: Token) -> TrustedKeys:
    """Read the files that the configuration names. Raises ConfigurationError."""
    by_id: dict[str, SigningKey] = {}
    certificates: list[x509.Certificate] = []
    if config.rootcertbundle:
        certificates = _certificates(config.rootcertbundle)
        by_id.update(_certificate_keys(config.rootcertbundle, certificates))
    if config.jwks:
        for key_id, key in _jwks_keys(config.jwks):
            known = by_id.setdefault(key_id, key)
            if known.key != key.key:
                raise ConfigurationError(_JWKS, f"{config.jwks}: two keys have the id {key_id[:100]!r}")
    algorithms = frozenset(config.signingalgorithms)
    usable = {key_id: key.only(algorithms) for key_id, key in by_id.items()}
    if not any(key.algorithms for key in usable.values()):
        raise ConfigurationError(
            "auth.token.signingalgorithms", "none of the keys can be used with any of these algorithms"
        )
    return TrustedKeys(usable, Roots(certificates) if certificates else None, algorithms)


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """A key's thumbprint as RFC 7638 has it: SHA-256 of its members, base64url."""
    members = {name: jwk[name] for name in _MEMBERS[jwk["kty"]]}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode("ascii")


def fingerprint(key: PublicKey) -> str:
    """A key's id in libtrust, which token servers of the time of distribution 2 use.

    240 bits of the SHA-256 of its SubjectPublicKeyInfo in base32, in groups of four.
    """
    info = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(info).digest()[:30]).decode("ascii")
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))


def as_jwk(key: PublicKey) -> dict[str, Any]:
    """A public key as a JWK."""
    if isinstance(key, RSAPublicKey):
        return RSAAlgorithm.to_jwk(key, as_dict=True)
    if isinstance(key, EllipticCurvePublicKey):
        return ECAlgorithm.to_jwk(key, as_dict=True)
    return OKPAlgorithm.to_jwk(key, as_dict=True)


def _read(key: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(key, f"{path}: {error.strerror}") from error


# Certificates


def _certificates(path: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(_read(_BUNDLE, path))
    except ValueError as error:
        raise ConfigurationError(_BUNDLE, f"{path}: no certificates in PEM that can be read") from error
    now = datetime.now(UTC)
    for certificate in found:
        if certificate.not_valid_after_utc < now:
            log.warning(
                "a certificate of auth.token.rootcertbundle has expired: tokens with certificates of it fail",
                subject=certificate.subject.rfc4514_string(),
                expired=certificate.not_valid_after_utc.isoformat(),
            )
    return found


def _certificate_keys(
    path: str, certificates: Iterable[x509.Certificate]
) -> Iterator[tuple[str, SigningKey]]:
    for certificate in certificates:
        subject = certificate.subject.rfc4514_string()
        try:
            signing = SigningKey.of(certificate.public_key())
        except ValueError as error:
            raise ConfigurationError(_BUNDLE, f"{path}: {subject}: {error}") from error
        key = cast(PublicKey, signing.key)
        yield thumbprint(as_jwk(key)), signing
        yield fingerprint(key), signing


# Key sets


def _jwks_keys(path: str) -> Iterator[tuple[str, SigningKey]]:
    """The keys of a JWK Set. Source: RFC 7517, section 5."""
    try:
        document = json.loads(_read(_JWKS, path))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(_JWKS, f"{path}: not JSON") from error
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not listed:
        raise ConfigurationError(_JWKS, f"{path}: holds no 'keys'")
    any_key = False
    seen: set[str] = set()
    for number, jwk in enumerate(listed):
        try:
            found = _jwk(jwk)
        except UnsuitableKeyError as error:
            raise ConfigurationError(_JWKS, f"{path}: keys[{number}]: {error}") from error
        if found is None:
            continue
        if found[0] in seen:
            raise ConfigurationError(_JWKS, f"{path}: two keys have the id {found[0][:100]!r}")
        seen.add(found[0])
        any_key = True
        yield found
    if not any_key:
        raise ConfigurationError(_JWKS, f"{path}: holds no key for signatures")


def _jwk(jwk: Any) -> tuple[str, SigningKey] | None:
    """The key of one entry and its id; None for what is not for signatures. Raises UnsuitableKeyError."""
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kty"), str):
        raise UnsuitableKeyError("not a key")
    operations = jwk.get("key_ops")
    if jwk["kty"] not in _MEMBERS or jwk.get("use", "sig") != "sig":
        # RFC 7517, section 5: what is not understood is left aside.
        return None
    if isinstance(operations, list) and not {"verify", "sign"} & {str(each) for each in operations}:
        return None
    algorithm = jwk.get("alg")
    try:
        key = jwt.PyJWK(jwk).key
    except Exception as error:  # malformed members raise whatever the conversion meets
        raise UnsuitableKeyError("a key that cannot be read") from error
    if hasattr(key, "public_key"):
        key = key.public_key()
    signing = SigningKey.of(key)
    if algorithm is not None:
        signing = signing.only([algorithm] if isinstance(algorithm, str) else [])
        if not signing.algorithms:
            raise UnsuitableKeyError("its 'alg' is not one that its type of key is for")
    key_id = jwk.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise UnsuitableKeyError("its 'kid' is not a text")
    return key_id or thumbprint(jwk), signing
